// The entry: render(data) shows a report, and may be called again with a newer one.
const page = {
  model: null, state: readAddress(), shown: [], pins: [], at: 0, newestFirst: false, update: () => {},
};

function render(data) {
  takeSaved(data);
  page.model = buildModel(data);
  renderSummary(page.model);
  renderToolbar(page.model);
  page.update = update;
  page.drawn = null;
  update();
}

function update() {
  const { state, model } = page;
  page.shown = found(model, state);
  updateToolbar(model, page.shown);
  for (const view of Object.keys(VIEWS)) byId(`view-${view}`).hidden = view !== state.view;
  for (const tab of byId('views').children) {
    if (tab.dataset.view === state.view) tab.setAttribute('aria-current', 'page');
    else tab.removeAttribute('aria-current');
  }
  draw(state);
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
  setUpKeys();
  const refresh = () => { page.state = readAddress(); page.update(); };
  addEventListener('hashchange', refresh);
  addEventListener('popstate', refresh);
  render(JSON.parse(byId('report').textContent));
}

globalThis.crucibleBatch = { render };
start();
