const tokenFollowers = []; // called when the token was entered

function onToken(follow) {
  tokenFollowers.push(follow);
}

// Commands to the run, each with the token of this session.
async function command(...words) {
  let result;
  let isTaken = false;
  try {
    const answer = await fetch(`/control/${page.model.data.live.key}`, {
      method: 'POST', body: JSON.stringify({ words }), credentials: 'omit',
      headers: { 'content-type': 'application/json', 'x-crucible-control': session.token ?? '' },
    });
    if (answer.status === 403) session.token = null;
    const text = await answer.text();
    const found = answer.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : { message: text };
    isTaken = answer.ok;
    result = [found.message, found.hint].filter(Boolean).join(' · ');
  } catch {
    result = 'The viewer does not respond. Is it still running?';
  }
  byId('answer').textContent = result;
  byId('answer').classList.toggle('refused', !isTaken);
  showControls();
}

function showControls() {
  const { live } = page.model.data;
  const needsToken = session.token === null && Boolean(live.running || page.saves); // marks are saved after the run as well
  const shown = `${live.running} ${Boolean(live.paused)} ${needsToken}`;
  if (byId('controls').dataset.shown === shown) return; // what is being typed is kept
  byId('controls').dataset.shown = shown;
  if (needsToken) settle(byId('controls'), tokenParts());
  else settle(byId('controls'), live.running ? controlParts(live) : []);
}

function controlParts({ paused }) {
  return [
    paused ? button('Resume', () => command('resume'), { class: 'quiet main' }) : button('Pause', () => command('pause'), { class: 'quiet main' }),
    valueForm('concurrency', 'Jobs in flight', { type: 'number', min: 1, max: 1000, inputmode: 'numeric', placeholder: '8' }),
    valueForm('deadline', 'Deadline from now', { placeholder: '2h' }),
    el('div', { class: 'last' }, button('Retry failed jobs', () => command('retry', '*')), button('Stop', askToStop, { class: 'quiet stop', 'aria-haspopup': 'dialog' })),
  ];
}

function askToStop() {
  const dialog = openDialog('stop', 'Stop the run', el('div', {}, el('h2', {}, 'Stop the run?'),
    el('p', {}, 'Jobs in flight are collected, and nothing more is bought. The same command resumes the run.'),
    el('div', { class: 'actions' }, button('Stop the run', () => { dialog.close(); command('stop'); }, { class: 'quiet main' }), button('Let it run', () => dialog.close()))));
  dialog.querySelector('.main').focus();
}

function valueForm(action, label, options) {
  return fieldForm(label, { name: action, ...options }, ['Set', `Set ${action}`], (value) => command(action, value));
}

function tokenParts() {
  return [fieldForm('Token of this session, from the terminal of crucible-batch view', { name: 'token', type: 'password', class: 'wide' }, [page.model.data.live.running ? 'Control this run' : 'Save marks'], (value) => {
    session.token = value.replace(/^.*#control=/, '');
    try { sessionStorage.setItem('control', session.token); } catch { /* asked for again in the next tab */ }
    showControls();
    for (const follow of tokenFollowers) follow();
  })];
}

function fieldForm(label, options, [verb, name], take) {
  const id = `control-${options.name}`;
  const input = el('input', { id, required: true, autocomplete: 'off', ...options });
  return el('form', { onsubmit: (event) => { event.preventDefault(); take(input.value.trim()); } },
    el('label', { for: id }, label), el('span', { class: 'field' }, input, el('button', { 'aria-label': name }, verb)));
}

byId('summary').before(el('section', { id: 'control', 'aria-label': 'Control of the run' }, el('div', { id: 'controls' }), el('p', { id: 'answer', role: 'status' })));
followers.push(showControls);
showControls();
