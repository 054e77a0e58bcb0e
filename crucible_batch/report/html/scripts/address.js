// The view and the filters are kept in the page's address, so that a view can be linked and Back works.
const VIEWS = { gallery: 'Pictures', compare: 'Compare' };
const MANY = ['stage', 'workflow', 'check', 'take']; // filters whose values are one parameter of the address each, as those of axes

function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  const known = (key, words) => new Set((params.get(key) ?? '').split(',').filter((word) => words.includes(word)));
  const state = { view: params.get('view') ?? 'gallery', q: params.get('q') ?? '', sort: params.get('sort') ?? 'manifest' };
  if (!Object.hasOwn(VIEWS, state.view)) state.view = 'gallery';
  if (!Object.hasOwn(SORTS, state.sort)) state.sort = 'manifest';
  state.states = known('state', ORDER);
  state.marks = known('mark', Object.keys(MARK_WORDS));
  if (params.has('starred')) state.marks.add('picked'); // addresses of earlier releases
  const rating = Number(params.get('rating') ?? 0);
  state.rating = Number.isInteger(rating) && rating > 0 && rating <= MOST_RATING ? rating : 0;
  for (const key of MANY) state[key] = new Set(params.getAll(key).filter(Boolean));
  state.axes = new Map();
  state.fixed = {};
  for (const [key, value] of params) {
    if (key.startsWith('axis.') && value) state.axes.set(key.slice(5), new Set([...state.axes.get(key.slice(5)) ?? [], value]));
    if (key.startsWith('only.')) state.fixed[key.slice(5)] = value;
  }
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
  if (state.marks.size) params.set('mark', [...state.marks].join(','));
  if (state.rating) params.set('rating', state.rating);
  for (const key of MANY) for (const value of state[key]) params.append(key, value);
  for (const [axis, values] of state.axes) for (const value of values) params.append(`axis.${axis}`, value);
  for (const [axis, value] of Object.entries(state.fixed)) if (value) params.set(`only.${axis}`, value);
  if (state.sort !== 'manifest') params.set('sort', state.sort);
  if (state.rows) params.set('rows', state.rows);
  if (state.cols) params.set('cols', state.cols);
  if (state.job !== null) params.set('job', state.job);
  return `#${params}`;
}

// `step` makes the change one that Back undoes. The step of a picture that was closed is taken again by the next one:
// after twenty pictures, Back would else do nothing twenty times.
function go(change, step = false) {
  Object.assign(page.state, change);
  const address = addressOf(page.state);
  const { isStep, isSpare } = history.state ?? {};
  if (step && !isSpare) history.pushState({ isStep: true }, '', address);
  else history.replaceState({ isStep: step, isSpare: Boolean(isStep) && change.job === null }, '', address);
  page.state = readAddress();
  page.update();
}
