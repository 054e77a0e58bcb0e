// The filter: state, marks, rating, stage, workflow, checks, takes, axes and words. Each choice shows how many jobs it would
// leave. The values that are chosen of one filter are alternatives.
const SIGNS = { picked: '✓', rejected: '✕' };
const FILTER_LABELS = { stage: 'stage', workflow: 'workflow', check: 'check', take: 'take' };

function renderToolbar(model) {
  const bar = byId('toolbar');
  const search = byId('search') ?? el('input', {
    type: 'search', id: 'search', placeholder: 'Search', 'aria-label': 'Search names, prompts, notes, reasons, parameters, errors and ids',
    oninput: () => go({ q: search.value }),
  });
  const states = ORDER.filter((state) => model.data.counts[state]);
  const kept = new Map([...bar.querySelectorAll('.facet')].map((menu) => [menu.dataset.facet, menu]));
  const menus = model.facets.filter(({ values }) => values && values.size > 0).filter(({ key, axis, values }) => axis || key === 'check' || values.size > 1)
    .map((facet) => kept.get(facet.key) ?? facetMenu(facet));
  const head = byId('finder') ?? el('div', { id: 'finder' }, search, selectButton(), el('span', { class: 'count', id: 'count' }), button('Clear', clearFilter, { id: 'clear' }),
    el('div', { class: 'right' }, ...choiceTools(), sortChooser(), sizeSlider(), exportMenu()));
  const filters = byId('filters') ?? el('div', { id: 'filters' });
  settle(filters, [
    ...(states.length > 1 ? [chipGroup('states', 'State', states.map((state) => [state, STATES[state]]), toggleState)] : []),
    byId('marks') ?? chipGroup('marks', 'Mark', Object.entries(MARK_WORDS), toggleMarkFilter),
    byId('rating') ?? ratingChooser(),
    ...menus,
  ]);
  settle(bar, [head, filters]);
}

function clearFilter() {
  go({ q: '', states: new Set(), marks: new Set(), rating: 0, axes: new Map(), ...Object.fromEntries(MANY.map((key) => [key, new Set()])) });
}

function toggled(values, value) {
  const changed = new Set(values);
  if (!changed.delete(value)) changed.add(value);
  return changed;
}

function toggleState(state) {
  go({ states: toggled(page.state.states, state) });
}

function toggleMarkFilter(mark) {
  go({ marks: toggled(page.state.marks, mark) });
}

// Chips that stay in the page while their number of values does.
function chipGroup(id, label, values, toggle) {
  const group = byId(id) ?? el('div', { class: 'chips', id, role: 'group', 'aria-label': label });
  const chips = values.map(([value, text]) => group.querySelector(`[data-value="${value}"]`)
    ?? el('button', { type: 'button', class: 'chip', 'data-value': value, 'data-kind': `${id}-${value}`, onclick: () => toggle(value) }, el('span', {}, ...(SIGNS[value] ? [el('i', { 'aria-hidden': 'true' }, SIGNS[value])] : []), text), ' ', el('b', {})));
  settle(group, chips);
  return group;
}

// At least so many stars; the same again takes the filter back.
function ratingChooser() {
  const choose = (rating) => go({ rating: page.state.rating === rating ? 0 : rating });
  const stars = Array.from({ length: MOST_RATING }, (_, at) => el('button', { type: 'button', 'data-value': at + 1, onclick: () => choose(at + 1) }, '★'));
  return el('div', { id: 'rating', role: 'group', 'aria-label': 'Rating at least' }, el('span', { class: 'dim', 'aria-hidden': 'true' }, '≥'), ...stars);
}

function facetMenu({ key, axis }) {
  const label = axis ? axisLabel(axis) : FILTER_LABELS[key];
  const menu = el('details', { class: 'menu facet', 'data-facet': key },
    el('summary', { 'aria-label': label }, el('bdi', { class: 'label' }, label), el('bdi', { class: 'chosen' })),
    el('div', { class: 'items', role: 'group', 'aria-label': label }));
  menu.firstChild.addEventListener('click', () => fillFacet(menu)); // before it opens
  return menu;
}

function chosenOf(key) {
  return page.model.facets.find((facet) => facet.key === key).chosen(page.state);
}

function chooseValue(key, value) {
  const chosen = toggled(chosenOf(key), value);
  if (!key.startsWith('axis.')) go({ [key]: chosen });
  else go({ axes: new Map([...page.state.axes, [key.slice(5), chosen]].filter(([, values]) => values.size)) });
}

// The values with their counts. What is there stays, and with it the focus.
function fillFacet(menu) {
  const { facet: key } = menu.dataset;
  const { values } = page.model.facets.find((facet) => facet.key === key);
  const chosen = chosenOf(key);
  const counts = page.counts.get(key) ?? new Map();
  const items = menu.querySelector('.items');
  const known = new Map([...items.children].map((item) => [item.dataset.value, item]));
  settle(items, [...values].map((value) => known.get(value) ?? el('label', { 'data-value': value },
    el('input', { type: 'checkbox', onchange: () => chooseValue(key, value) }), el('bdi', {}, value), el('b', {}))));
  for (const item of items.children) {
    const number = counts.get(item.dataset.value) ?? 0;
    item.querySelector('input').checked = chosen.has(item.dataset.value);
    item.querySelector('b').textContent = number.toLocaleString('en');
    item.classList.toggle('none', !number);
  }
}

function updateToolbar(model, shown) {
  const { state, counts } = page;
  if (byId('search') !== document.activeElement) byId('search').value = state.q;
  updateChips('states', state.states, counts.get('state'));
  updateChips('marks', state.marks, counts.get('mark'));
  updateMarks(model, state);
  for (const menu of document.querySelectorAll('.facet')) updateFacet(menu);
  byId('sort').value = state.sort;
  byId('size').hidden = byId('sort').hidden = byId('select').hidden = state.view !== 'gallery';
  updateChoiceTools();
  updateExports();
  const filtered = isFiltered(state);
  byId('clear').hidden = !filtered;
  const text = countWords(model, shown, filtered);
  byId('count').textContent = text;
  if (byId('announcer').textContent !== text) byId('announcer').textContent = text;
}

function countWords({ data, jobs }, shown, filtered) {
  if (data.live?.rest) return `Loading ${plural(data.counts.total, 'job')}…`;
  return filtered ? `${shown.length.toLocaleString('en')} of ${plural(jobs.length, 'job')}` : plural(jobs.length, 'job');
}

function updateChips(id, chosen, counts = new Map()) {
  for (const chip of byId(id)?.children ?? []) {
    chip.setAttribute('aria-pressed', String(chosen.has(chip.dataset.value)));
    chip.querySelector('b').textContent = (counts.get(chip.dataset.value) ?? 0).toLocaleString('en');
  }
}

// Marks and ratings are filters once there are any.
function updateMarks(model, state) {
  byId('marks').hidden = !state.marks.size && !model.jobs.some((job) => marksOf(job).marks.some((mark) => mark !== 'unmarked'));
  byId('rating').hidden = !state.rating && !model.jobs.some((job) => marksOf(job).rating);
  const counts = page.counts.get('rating');
  for (const star of byId('rating').querySelectorAll('button')) {
    const rating = Number(star.dataset.value);
    star.setAttribute('aria-pressed', String(rating === state.rating));
    star.classList.toggle('on', rating <= state.rating);
    const label = `${plural(rating, 'star')} or more: ${plural(counts?.get(rating) ?? 0, 'job')}`;
    star.setAttribute('aria-label', label);
    star.title = label;
  }
}

function updateFacet(menu) {
  const chosen = [...chosenOf(menu.dataset.facet)];
  const more = chosen.length > 1 ? ` +${chosen.length - 1}` : '';
  menu.querySelector('.chosen').textContent = chosen.length ? `${chosen[0]}${more}` : '';
  menu.classList.toggle('set', chosen.length > 0);
  const label = menu.querySelector('.items').getAttribute('aria-label');
  menu.firstChild.setAttribute('aria-label', chosen.length ? `${label}: ${chosen.join(', ')}` : label);
  if (menu.open) fillFacet(menu);
}

function sortChooser() {
  const chooser = el('select', { id: 'sort', 'aria-label': 'Sort', title: 'Sort', onchange: () => go({ sort: chooser.value }) },
    ...Object.entries(SORTS).map(([value, text]) => el('option', { value }, text)));
  return chooser;
}

const SIZES = { least: 90, most: 480, key: 'crucible-size' };

// The height of a row of pictures; it follows the width of the window until it is chosen.
function sizeSlider() {
  const kept = Number(recall(SIZES.key, ''));
  if (kept >= SIZES.least && kept <= SIZES.most) page.size = kept;
  const slider = el('input', {
    type: 'range', id: 'size', min: SIZES.least, max: SIZES.most, step: '10', 'aria-label': 'Size of the pictures', title: 'Size of the pictures',
    oninput: () => {
      page.size = Number(slider.value);
      keep(SIZES.key, slider.value);
      layOutAgain();
    },
  });
  slider.value = String(page.size ?? pictureHeight());
  return slider;
}
