// The view and the filters are kept in the page's address, so that a view can be linked and Back works.
const VIEWS = { gallery: 'Pictures', compare: 'Compare' };

function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  const state = { view: params.get('view') ?? 'gallery', q: params.get('q') ?? '', workflow: params.get('workflow') ?? '' };
  if (!(state.view in VIEWS)) state.view = 'gallery';
  state.states = new Set((params.get('state') ?? '').split(',').filter((word) => ORDER.includes(word)));
  state.axes = {};
  state.fixed = {};
  for (const [key, value] of params) {
    if (key.startsWith('axis.')) state.axes[key.slice(5)] = value;
    if (key.startsWith('only.')) state.fixed[key.slice(5)] = value;
  }
  state.starred = params.has('starred');
  state.rows = params.get('rows');
  state.cols = params.get('cols');
  state.job = params.has('job') ? Number(params.get('job')) : null;
  state.words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return state;
}

function addressOf(state) {
  const params = new URLSearchParams();
  if (state.view !== 'gallery') params.set('view', state.view);
  if (state.q) params.set('q', state.q);
  if (state.states.size) params.set('state', [...state.states].join(','));
  if (state.workflow) params.set('workflow', state.workflow);
  if (state.starred) params.set('starred', '');
  for (const [axis, value] of Object.entries(state.axes)) if (value) params.set(`axis.${axis}`, value);
  for (const [axis, value] of Object.entries(state.fixed)) if (value) params.set(`only.${axis}`, value);
  if (state.rows) params.set('rows', state.rows);
  if (state.cols) params.set('cols', state.cols);
  if (state.job !== null) params.set('job', state.job);
  return `#${params}`;
}

// `step` makes the change one that Back undoes.
function go(change, step = false) {
  Object.assign(page.state, change);
  const address = addressOf(page.state);
  if (step) history.pushState(null, '', address);
  else history.replaceState(null, '', address);
  page.state = readAddress();
  page.update();
}
