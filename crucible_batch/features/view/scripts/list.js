// The list as drawn by the server. After a change, only the changed parts are replaced.
let source = null;
let asking = false;
let listed = []; // all runs, in the server's order; those that don't match the search are not in the page
let wanted = readAddress();

function listen() {
  source = new EventSource('/events');
  source.addEventListener('changed', refresh);
  source.addEventListener('open', () => showStatus(''));
  source.addEventListener('error', () => showStatus('The viewer does not respond. Is it still running?'));
}

function refresh() {
  if (asking) return;
  asking = true;
  const asked = new XMLHttpRequest();
  asked.responseType = 'document'; // the browser's own parser runs nothing of it
  asked.addEventListener('loadend', () => {
    asking = false;
    if (asked.status === 200) arrange(asked.response);
  });
  asked.open('GET', '/');
  asked.send();
}

function arrange(answer) {
  const [fresh, totals] = ['runs', 'summary'].map((id) => document.importNode(answer.getElementById(id), true));
  localTimes(fresh);
  settleAlike(byId('summary'), [...totals.children]);
  const known = new Map(listed.map((run) => [run.id, run]));
  take([...fresh.children].map((run) => {
    const old = known.get(run.id);
    if (!old) return run;
    keepPictures(old.querySelector('.strip'), run.querySelector('.strip'));
    settleAlike(old, [...run.children]);
    for (const name of Object.keys(run.dataset)) old.dataset[name] = run.dataset[name];
    return old;
  }));
}

function take(runs) {
  listed = runs;
  show();
}

// A picture that is already shown is moved, so that it is not loaded again.
function keepPictures(old, fresh) {
  for (const picture of fresh?.children ?? []) {
    const shown = [...(old?.children ?? [])].find((one) => one.src === picture.src);
    if (shown) picture.replaceWith(shown);
  }
}

// Shows the runs that match the search, in the chosen order.
function show() {
  const runs = listed.filter((run) => run.dataset.key);
  const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
  const found = runs.filter((run) => words.every((word) => textOf(run).includes(word)));
  const nothing = runs.length && !found.length ? [el('p', { class: 'empty' }, 'No run matches the search.')] : [];
  settle(byId('runs'), runs.length ? [...sorted(found), ...nothing] : listed);
  byId('toolbar').hidden = runs.length < 2;
  if (byId('search') !== document.activeElement) byId('search').value = wanted.q;
  byId('sort').value = wanted.sort;
  byId('count').textContent = words.length ? `${found.length} of ${runs.length} runs` : '';
}

function textOf(run) {
  return [run.dataset.name, run.querySelector('.about').textContent].join('\n').toLowerCase();
}

function sorted(runs) {
  if (wanted.sort === '') return runs;
  if (wanted.sort === 'name') return [...runs].sort((a, b) => a.dataset.name.localeCompare(b.dataset.name, 'en', { numeric: true }));
  const figureOf = (run) => Number(run.dataset[wanted.sort] ?? -1);
  return [...runs].sort((a, b) => figureOf(b) - figureOf(a));
}

// The search and the order are kept in the page's address.
function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  return { q: params.get('q') ?? '', sort: params.get('sort') ?? '' };
}

function want(change) {
  Object.assign(wanted, change);
  history.replaceState(null, '', `#${new URLSearchParams(Object.entries(wanted).filter(([, value]) => value))}`);
  show();
}

function localTimes(within) {
  for (const time of within.querySelectorAll('time')) {
    time.textContent = new Date(time.dateTime).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
  }
}

function showStatus(words) {
  if (byId('feed').textContent !== words) byId('feed').textContent = words;
}

// A browser has few connections to one server, so a hidden page closes its connection.
function mind() {
  source?.close();
  if (!document.hidden) listen();
}

setUpTheme();
localTimes(document);
take([...byId('runs').children]);
byId('search').addEventListener('input', () => want({ q: byId('search').value }));
byId('sort').addEventListener('change', () => want({ sort: byId('sort').value }));
addEventListener('hashchange', () => { wanted = readAddress(); show(); });
document.addEventListener('visibilitychange', mind);
addEventListener('pagehide', () => source?.close());
addEventListener('pageshow', (event) => { if (event.persisted) mind(); });
mind();
