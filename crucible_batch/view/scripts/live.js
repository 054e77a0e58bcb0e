// Follows the run: what the server tells of goes into the jobs that are shown already, and only that is drawn again.
const CHARTS_EVERY_MS = 10_000;
const feed = { source: null, charted: 0, due: false };

function listen() {
  const { key, edition, number } = page.model.data.live;
  const source = new EventSource(`/events/${key}?edition=${edition}&after=${number}`);
  source.addEventListener('change', (event) => { take(JSON.parse(event.data)); });
  source.addEventListener('anew', () => { source.close(); begin(); });
  source.addEventListener('gone', () => { source.close(); say('Its run directory can no longer be read.'); });
  source.addEventListener('open', () => say(''));
  source.addEventListener('error', () => say('The viewer doesn’t answer: is it still running?'));
  feed.source = source;
}

// A change: the head, and the jobs that anything happened to.
function take({ places, jobs, inputs, ...head }) {
  const { data, jobs: known } = page.model;
  Object.assign(data, head);
  Object.assign(data.inputs, inputs);
  places.forEach((place, at) => renewJob(known[place], jobs[at]));
  show();
}

// Everything may be another: another run has begun, or one has ended. The same jobs stay the ones that they are.
async function begin() {
  let fresh;
  try {
    fresh = await (await fetch(`/data/${page.model.data.live.key}`)).json();
  } catch {
    say('The viewer doesn’t answer: is it still running?');
    setTimeout(begin, 2000);
    return;
  }
  const { jobs: known } = page.model;
  if (fresh.jobs.length === known.length && fresh.jobs.every((job, at) => job.name === known[at].name)) {
    take({ ...fresh, places: known.map((job) => job.index) });
  } else {
    page.pins = [];
    renderTray();
    render(fresh);
    show();
  }
  listen();
}

function show() {
  const { data } = page.model;
  document.title = `${data.manifest.name} · ${data.counts.succeeded} of ${data.counts.total}`;
  document.documentElement.dataset.standing = data.live.running ? 'running' : data.status === 'running' ? 'killed' : 'ended';
  renderSummary(page.model);
  const states = ORDER.filter((state) => data.counts[state]).join();
  if (feed.states !== states) renderToolbar(page.model);
  feed.states = states;
  page.drawn = null;
  page.update();
  feed.due = true;
  chart();
}

// The charts are drawn by the server, of all jobs: seldom, and only while somebody looks at them.
function chart() {
  const wait = page.model.data.live.running ? CHARTS_EVERY_MS - (Date.now() - feed.charted) : 0;
  if (!feed.due || page.state.view !== 'time' || feed.waiting) return;
  if (wait > 0) {
    feed.waiting = setTimeout(() => { feed.waiting = null; chart(); }, wait);
    return;
  }
  feed.due = false;
  feed.charted = Date.now();
  const asked = new XMLHttpRequest();
  asked.responseType = 'document'; // the browser's own parser runs nothing of it
  asked.addEventListener('load', () => { if (asked.status === 200) settleAlike(byId('view-time'), [...document.importNode(asked.response.body, true).children]); });
  asked.open('GET', `/charts/${page.model.data.live.key}`);
  asked.send();
}

function say(words) {
  if (byId('feed').textContent !== words) byId('feed').textContent = words;
}

// A browser has few connections for one server: a page that nobody sees keeps none of them.
function mind() {
  feed.source?.close();
  if (!document.hidden) listen();
}

byId('when').after(el('p', { id: 'feed', role: 'status' }));
addEventListener('hashchange', chart);
byId('views').addEventListener('click', () => queueMicrotask(chart));
document.addEventListener('keyup', chart);
document.addEventListener('visibilitychange', mind);
addEventListener('pagehide', () => feed.source?.close());
addEventListener('pageshow', (event) => { if (event.persisted) mind(); });
show();
mind();
