// The entry: render(data) shows a report, and may be called again with a newer one.
const page = {
  model: null, state: readAddress(), shown: [], counts: new Map(), at: 0, update: () => {},
  size: null, // of the pictures in the gallery, in pixels; null until it is chosen
  current: null, // the job that had the focus last
  selected: new Set(),
  anchor: null, // where the selection began
  isSelecting: false, // whether a tap selects
  showsTrouble: false,
  changed: new Set(), // jobs whose marks have changed since the list was drawn
  get pins() { return [...this.selected]; },
  set pins(indexes) { this.selected = new Set(indexes); },
};

function render(data) {
  takeSaved(data);
  marksCache.clear();
  offerMarks(data);
  page.model = buildModel(data);
  page.menus = menuCount(page.model);
  renderSummary(page.model);
  renderToolbar(page.model);
  page.update = update;
  page.drawn = null;
  update();
  prepareSearch(page.model);
}

function menuCount({ checks, takes }) {
  return checks.size + takes.size;
}

function update() {
  const { state, model } = page;
  const { shown, counts } = sift(model, state);
  Object.assign(page, { shown, counts });
  if (page.menus !== menuCount(model)) renderToolbar(model); // a live run has made the first checks, or bought a picture again
  page.menus = menuCount(model);
  updateToolbar(model, shown);
  for (const view of Object.keys(VIEWS)) byId(`view-${view}`).hidden = view !== state.view;
  for (const tab of byId('views').children) {
    if (tab.dataset.view === state.view) tab.setAttribute('aria-current', 'page');
    else tab.removeAttribute('aria-current');
  }
  draw(state);
  renderTray();
  showJob(state.job);
}

// Draws only the parts that the address changed: opening a job must not draw a thousand cards again.
function draw(state) {
  const wanted = addressOf({ ...state, job: null });
  if (page.drawn === wanted) return;
  page.drawn = wanted;
  if (state.view === 'gallery') renderGallery(page.shown);
  if (state.view === 'compare') renderCompare([...page.shown]);
}

function redraw() {
  page.drawn = null;
  page.update();
}

// Marks and notes are filters, too, and the order may be by rating. Behind an open picture the list is drawn again when
// that is closed.
function siftAgain(changed) {
  for (const job of changed) {
    marksCache.delete(job);
    page.changed.add(job);
  }
  page.model.orders.delete('rating');
  if (!byId('detail')) afterMarks();
}

function afterMarks() {
  const changed = [...page.changed];
  page.changed.clear();
  if (!changed.length) return;
  showNext();
  const { marks, rating, sort, words, view } = page.state;
  if (marks.size || rating || sort === 'rating' || words.length) {
    redraw();
    return;
  }
  page.counts = sift(page.model, page.state).counts;
  updateToolbar(page.model, page.shown);
  if (view === 'gallery' && changed.some(hasOtherLines)) layOutAgain();
}

function showJob(index) {
  const job = index === null ? undefined : page.model.jobs[index];
  if (job) showDetail(job);
  else byId('detail')?.close();
}

function start() {
  byId('views').append(...Object.entries(VIEWS).map(([view, label]) =>
    el('button', { type: 'button', 'data-view': view, onclick: () => go({ view }, true) }, label)));
  setUpTheme();
  setUpMarks();
  setUpMenus();
  setUpLists();
  setUpSelection();
  setUpKeys();
  onMarks(siftAgain);
  const refresh = () => { page.state = readAddress(); page.update(); };
  addEventListener('hashchange', refresh);
  addEventListener('popstate', refresh);
  render(JSON.parse(byId('report').textContent));
}

globalThis.crucibleBatch = { render };
start();
