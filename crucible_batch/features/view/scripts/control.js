const tokenFollowers = []; // called when the token was entered

function onToken(follow) {
  tokenFollowers.push(follow);
}

// Commands to the run, each with the token of this session.
async function command(...words) {
  let result;
  try {
    const answer = await fetch(`/control/${page.model.data.live.key}`, {
      method: 'POST', body: JSON.stringify({ words }), credentials: 'omit',
      headers: { 'content-type': 'application/json', 'x-crucible-control': session.token ?? '' },
    });
    if (answer.status === 403) session.token = null;
    const text = await answer.text();
    const found = answer.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : { message: text };
    result = [found.message, found.hint].filter(Boolean).join(' · ');
  } catch {
    result = 'The viewer does not respond. Is it still running?';
  }
  byId('answer').textContent = result;
  showControls();
}

function showControls() {
  const { live } = page.model.data;
  const parts = session.token === null ? tokenParts() : !live.running ? [] : [
    live.paused ? button('Resume', () => command('resume')) : button('Pause', () => command('pause')),
    valueForm('concurrency', 'Jobs in flight', { type: 'number', min: 1, max: 1000, size: 5 }),
    valueForm('deadline', 'Deadline from now', { placeholder: '2h', size: 6 }),
    button('Retry failed jobs', () => command('retry', '*')),
    button('Stop the run', () => { if (confirm('Stop the run? Jobs in flight are collected; the same command resumes it.')) command('stop'); }),
  ];
  const shown = `${live.running} ${Boolean(live.paused)} ${session.token === null}`;
  if (byId('controls').dataset.shown === shown) return; // what is being typed is kept
  byId('controls').dataset.shown = shown;
  settle(byId('controls'), parts);
}

function valueForm(action, label, options) {
  const input = el('input', { name: action, required: true, ...options });
  return el('form', { onsubmit: (event) => { event.preventDefault(); command(action, input.value.trim()); } },
    el('label', {}, `${label} `, input), el('button', { class: 'quiet' }, 'Set'));
}

function tokenParts() {
  const input = el('input', { name: 'token', type: 'password', autocomplete: 'off', required: true });
  return [el('form', {
    onsubmit: (event) => {
      event.preventDefault();
      session.token = input.value.trim().replace(/^.*#control=/, '');
      try { sessionStorage.setItem('control', session.token); } catch { /* asked for again in the next tab */ }
      showControls();
      for (const follow of tokenFollowers) follow();
    },
  }, el('label', {}, 'Token of this session, from the terminal of crucible-batch view ', input), el('button', { class: 'quiet' }, 'Control this run'))];
}

byId('feed').after(el('div', { id: 'controls' }), el('p', { id: 'answer', role: 'status' }));
followers.push(showControls);
showControls();
