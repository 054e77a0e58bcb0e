// Follows the run: changes from the server are merged into the jobs that are shown, and only these are drawn again.
const followers = []; // called whenever the run was shown again
const feed = { source: null };

function listen() {
  const { key, edition, number, commands, rest } = page.model.data.live;
  if (rest) return; // all jobs are loaded first
  const source = new EventSource(`/events/${key}?edition=${edition}&after=${number}&commands=${commands}&fields=${page.model.data.fields ?? ''}`);
  source.addEventListener('change', (event) => { take(JSON.parse(event.data)); });
  source.addEventListener('fields', (event) => takeFields(JSON.parse(event.data)));
  source.addEventListener('pace', (event) => { page.model.data.live.pace = JSON.parse(event.data).pace; showSummary(); });
  source.addEventListener('replaced', () => { source.close(); begin(); });
  source.addEventListener('gone', () => { source.close(); showStatus('The run directory can no longer be read.'); });
  source.addEventListener('open', () => showStatus(''));
  source.addEventListener('error', () => showStatus('The viewer does not respond. Is it still running?'));
  feed.source = source;
}

// A change: the head, and the changed jobs.
function take({ places, jobs, inputs, ...head }) {
  const { data, jobs: known } = page.model;
  takeSaved(head);
  Object.assign(data, head);
  Object.assign(data.inputs, inputs);
  places.forEach((place, at) => renewJob(known[place], jobs[at]));
  Object.assign(page.model, relate(known));
  show();
}

// What is saved beside the run's journal: all of it, or what has changed.
function takeFields({ all, marks: saved }) {
  if (saved) takeSavedChanges(saved, all);
  for (const follow of followers) follow();
}

// All data may have changed: a run has begun or ended. Jobs of the same names are updated in place.
async function begin() {
  let fresh;
  try {
    fresh = await (await fetch(`/data/${page.model.data.live.key}`)).json();
  } catch {
    showStatus('The viewer does not respond. Is it still running?');
    setTimeout(begin, 2000);
    return;
  }
  const { jobs: known } = page.model;
  const isRest = page.model.data.live.rest;
  if (fresh.jobs.length === known.length && fresh.jobs.every((job, at) => job.name === known[at].name)) {
    take({ ...fresh, places: known.map((job) => job.index) });
  } else {
    if (!isRest) {
      page.selected = new Set();
      page.current = null;
    }
    render(fresh);
    renderTray();
    show();
    if (byId('detail')) {
      page.sequence = sequenceOf(page.shown);
      refreshStage();
    }
  }
  listen();
}

// The page of many jobs has only the first ones. Their pictures come before the rest: the viewer reads a run for one
// request at a time.
async function loadRest() {
  const inSight = [...document.querySelectorAll('#view-gallery img')].filter((image) => image.getBoundingClientRect().top < innerHeight);
  await Promise.race([
    Promise.all(inSight.map((image) => image.decode().catch(() => {}))),
    new Promise((done) => setTimeout(done, 2000)),
  ]);
  await begin();
}

function show() {
  const { data } = page.model;
  document.title = `${data.manifest.name} · ${data.counts.succeeded} of ${data.counts.total}`;
  document.documentElement.dataset.standing = data.live.running ? 'running' : data.status === 'running' ? 'killed' : 'ended';
  document.documentElement.dataset.paused = String(Boolean(data.live.paused));
  showSummary();
  const states = ORDER.filter((state) => data.counts[state]).join();
  if (feed.states !== states) renderToolbar(page.model);
  feed.states = states;
  page.drawn = null;
  page.update();
  for (const follow of followers) follow();
}

// The summary, with the rate of a running run and its estimated time left.
function showSummary() {
  renderSummary(page.model);
  const { pace } = page.model.data.live;
  if (!pace) return;
  const perMin = pace.per_min >= 10 ? String(Math.round(pace.per_min)) : pace.per_min.toFixed(1);
  const [low, high] = [about(pace.low_s), pace.high_s === null ? null : about(pace.high_s)];
  const bounds = high === null ? ` (at least ${low})` : low === high ? '' : ` (${low} to ${high})`;
  byId('summary').querySelector('.facts').append(
    fact([perMin, el('small', {}, ' jobs/min')], 'pace'),
    fact(['~', about(pace.likely_s)], `left${bounds}`));
}

// An estimate in one unit, without false precision.
function about(seconds) {
  if (seconds < 90) return `${Math.max(1, seconds < 20 ? Math.round(seconds) : 5 * Math.round(seconds / 5))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function showStatus(words) {
  if (byId('feed').textContent !== words) byId('feed').textContent = words;
}

// A browser has few connections to one server, so a hidden page closes its connection.
function mind() {
  feed.source?.close();
  if (!document.hidden) listen();
}

byId('when').after(el('p', { id: 'feed', role: 'status' }));
document.addEventListener('visibilitychange', mind);
addEventListener('pagehide', () => feed.source?.close());
addEventListener('pageshow', (event) => { if (event.persisted) mind(); });
show();
mind();
if (page.model.data.live.rest) loadRest();
