// The filter: state, workflow, axes and words. Each choice shows how many jobs it would leave.
function renderToolbar(model) {
  const bar = byId('toolbar');
  const focused = facetOf(document.activeElement);
  const search = byId('search') ?? el('input', {
    type: 'search', id: 'search', placeholder: 'Search', 'aria-label': 'Search names, prompts, parameters, errors and ids',
    oninput: () => go({ q: search.value }),
  });
  const tools = [byId('size') ?? sizeSlider(), byId('export') ?? exportMenu()];
  settle(bar, [search]);
  const states = ORDER.filter((state) => model.data.counts[state]);
  for (const state of states.length > 1 ? states : []) {
    bar.append(el('button', { type: 'button', class: 'chip', 'data-state': state, onclick: () => toggleState(state) }, `${STATES[state]} `, el('b', {})));
  }
  if (model.workflows.length > 1) bar.append(chooser('workflow', 'workflow', (value) => go({ workflow: value })));
  for (const axis of model.axes.keys()) {
    bar.append(chooser(`axis.${axis}`, axisLabel(axis), (value) => go({ axes: { ...page.state.axes, [axis]: value } })));
  }
  bar.append(...choiceTools(), button('Clear', clearFilter, { id: 'clear' }), el('div', { class: 'right' }, el('span', { class: 'count', id: 'count' }), ...tools));
  if (focused) [...bar.children].find((control) => facetOf(control) === focused)?.focus();
}

function facetOf(control) {
  return control?.dataset.state ?? control?.dataset.facet;
}

function clearFilter() {
  go({ q: '', states: new Set(), workflow: '', axes: {}, starred: false });
}

function toggleState(state) {
  const states = new Set(page.state.states);
  if (!states.delete(state)) states.add(state);
  go({ states });
}

function chooser(key, label, choose) {
  return el('select', { 'data-facet': key, 'aria-label': label, onchange: (event) => choose(event.target.value) });
}

function updateToolbar(model, shown) {
  const state = page.state;
  if (byId('search') !== document.activeElement) byId('search').value = state.q;
  const states = count(model, state, 'state', (job) => job.status);
  for (const chip of document.querySelectorAll('[data-state]')) {
    chip.setAttribute('aria-pressed', String(state.states.has(chip.dataset.state)));
    chip.querySelector('b').textContent = (states.get(chip.dataset.state) ?? 0).toLocaleString('en');
  }
  byId('size').hidden = state.view !== 'gallery';
  for (const select of document.querySelectorAll('[data-facet]')) fillChooser(model, select);
  updateChoiceTools(model, state);
  updateExports();
  const filtered = state.q || state.starred || state.states.size || state.workflow || Object.values(state.axes).some(Boolean);
  byId('clear').hidden = !filtered;
  const text = filtered ? `${shown.length.toLocaleString('en')} of ${plural(model.jobs.length, 'job')}` : plural(model.jobs.length, 'job');
  byId('count').textContent = text;
  if (byId('announcer').textContent !== text) byId('announcer').textContent = text;
}

function fillChooser(model, select) {
  const facet = select.dataset.facet;
  const axis = facet.startsWith('axis.') ? facet.slice(5) : null;
  const chosen = axis ? page.state.axes[axis] ?? '' : page.state.workflow;
  const counts = count(model, page.state, facet, (job) => (axis ? job.facets[axis] : job.workflow_id));
  const values = axis ? [...model.axes.get(axis)] : model.workflows;
  select.replaceChildren(el('option', { value: '' }, `Any ${axis ? axisLabel(axis) : 'workflow'}`),
    ...values.map((value) => el('option', { value }, `${value} (${counts.get(value) ?? 0})`)));
  select.value = chosen;
  select.classList.toggle('set', Boolean(chosen));
}

const SIZES = { least: 90, most: 480, key: 'crucible-size' };

// The height of a row of pictures; the style sheet has one for each width of the window until it is chosen.
function sizeSlider() {
  const wall = byId('view-gallery');
  const kept = Number(recall(SIZES.key, ''));
  if (kept >= SIZES.least && kept <= SIZES.most) wall.style.setProperty('--height', `${kept}px`);
  const slider = el('input', {
    type: 'range', id: 'size', min: SIZES.least, max: SIZES.most, step: '10', 'aria-label': 'Size of the thumbnails', title: 'Size of the thumbnails',
    oninput: () => {
      wall.style.setProperty('--height', `${slider.value}px`);
      keep(SIZES.key, slider.value);
    },
  });
  slider.value = String(kept || (innerWidth > 640 ? 240 : 120));
  return slider;
}
