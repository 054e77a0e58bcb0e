// The grid: one axis down, one across, the pictures in the cells; what shares a cell is a stack to leaf through.
let cellSize = null;
let grid = { key: null, cells: [] };

function renderCompare(shown) {
  const view = byId('view-compare');
  placeJobs(page.model);
  const choices = axisChoices(page.model, shown);
  const [rows, cols] = chosenAxes(choices, shown);
  if (!rows) {
    view.replaceChildren(el('div', { class: 'nothing' }, el('p', {}, noGridWords(shown))));
    return;
  }
  const covered = shown.filter((job) => job.places[rows] !== undefined && (!cols || job.places[cols] !== undefined));
  const others = choices.filter((axis) => axis !== rows && axis !== cols && (page.state.fixed[axis] || isStacked(covered, rows, cols, axis)));
  const jobs = covered.filter((job) => others.every((axis) => !page.state.fixed[axis] || job.places[axis] === page.state.fixed[axis]));
  const key = JSON.stringify([rows, cols, page.state.fixed, view.clientWidth, jobs.map((job) => job.index).sort()]);
  if (view.querySelector('.sheet') && grid.key === key) {
    for (const cell of grid.cells) cell.renew();
    return;
  }
  grid = { key, cells: [] };
  const size = cellSize ?? fittingSize(view, (cols ? distinct(jobs, cols).length : 1) + (hasInputs(jobs, rows) ? 1 : 0));
  const sheet = el('div', { class: 'sheet', tabindex: '0', role: 'group', 'aria-label': 'Grid of pictures', css: { '--cell': `${size}px` } });
  sheet.append(...gridOf(jobs, rows, cols));
  const old = view.querySelector('.sheet');
  const scrolled = [old?.scrollTop ?? 0, old?.scrollLeft ?? 0];
  view.replaceChildren(choosers(choices, rows, cols, others, covered, sheet, size), sheet);
  [sheet.scrollTop, sheet.scrollLeft] = scrolled;
}

function noGridWords(shown) {
  if (!page.model.jobs.length) return 'This run has no jobs.';
  return shown.length ? 'No axis to compare along.' : 'No jobs match the filter.';
}

// The columns fill the width until a size is chosen.
function fittingSize(view, columns) {
  const wide = view.clientWidth - (view.clientWidth > 640 ? 170 : 100);
  return Math.round(Math.max(110, Math.min(320, wide / columns - 12)));
}

function axisChoices(model, shown) {
  const own = Object.keys(OWN_AXES).filter((axis) => model.own.get(axis)?.size > 1);
  return [...model.axes.keys(), ...own].filter((axis) => distinct(shown, axis).length > 1 || axis === page.state.rows || axis === page.state.cols);
}

function distinct(jobs, axis) {
  return [...new Set(jobs.sort((a, b) => a.index - b.index).map((job) => job.places[axis]).filter((value) => value !== undefined))];
}

const MOST_FIXED = 60;

// Whether jobs of one cell differ by an axis: then the cell can be narrowed down by it.
function isStacked(jobs, rows, cols, axis) {
  if (distinct(jobs, axis).length > MOST_FIXED) return false;
  const seen = new Map();
  return jobs.some((job) => {
    const cell = JSON.stringify([job.places[rows], cols ? job.places[cols] : null]);
    if (!seen.has(cell)) seen.set(cell, job.places[axis]);
    return seen.get(cell) !== job.places[axis];
  });
}

function byValue(jobs, axis) {
  const groups = new Map(distinct(jobs, axis).map((value) => [value, []]));
  for (const job of jobs) groups.get(job.places[axis])?.push(job);
  return groups;
}

// Unless they are chosen: sources and stages; else the two real axes that most jobs have in common and that leave the fewest cells empty, else
// one and the jobs themselves. The axis with more values goes down.
function chosenAxes(choices, shown) {
  const { rows, cols } = page.state;
  if (choices.includes(rows)) return [rows, choices.includes(cols) && cols !== rows ? cols : null];
  if (choices.includes('·source') && choices.includes('·stage')) return ['·source', '·stage'];
  let best = [choices[0], null];
  let most = 0;
  for (const [at, first] of choices.entries()) {
    for (const second of choices.slice(at + 1)) {
      const both = shown.filter((job) => job.places[first] !== undefined && job.places[second] !== undefined);
      const weight = both.length * (first in OWN_AXES ? 0.01 : 1) * (second in OWN_AXES ? 0.5 : 1);
      if (weight <= most) continue; // even if no cell is empty
      const down = distinct(both, first).length;
      const across = distinct(both, second).length;
      const filled = new Set(both.map((job) => JSON.stringify([job.places[first], job.places[second]]))).size / (down * across);
      if (second === '·job' && filled < 0.4) continue;
      if (weight * filled > most) [most, best] = [weight * filled, second in OWN_AXES || across > down ? [second, first] : [first, second]];
    }
  }
  return best;
}

function choosers(choices, rows, cols, others, covered, sheet, shownSize) {
  const size = el('input', { type: 'range', min: '90', max: '640', value: String(shownSize), 'aria-label': 'Size of the cells', oninput: () => {
    cellSize = Number(size.value);
    sheet.style.setProperty('--cell', `${cellSize}px`);
  } });
  const bar = el('div', { class: 'choosers' },
    labelled('Down', axisSelect('rows', choices, rows, false)), labelled('Across', axisSelect('cols', choices.filter((axis) => axis !== rows), cols, true)),
    ...others.map((axis) => labelled(axisLabel(axis), fixedSelect(axis, distinct(covered, axis)))));
  bar.append(labelled('Size', size));
  return bar;
}

function labelled(text, control) {
  return el('label', {}, text, control);
}

function axisSelect(key, choices, chosen, optional) {
  const select = el('select', { 'data-axis': key, onchange: () => {
    const other = key === 'rows' ? { cols: page.state.cols ?? shownCols() } : { rows: page.state.rows ?? shownRows() };
    go({ ...other, [key]: select.value || null });
  } });
  if (optional) select.append(el('option', { value: '' }, 'nothing'));
  select.append(...choices.map((axis) => el('option', { value: axis }, axisLabel(axis))));
  select.value = chosen ?? '';
  return select;
}

function shownRows() { return document.querySelector('[data-axis=rows]').value || null; }
function shownCols() { return document.querySelector('[data-axis=cols]').value || null; }

function fixedSelect(axis, values) {
  const select = el('select', { 'data-fixed': axis, onchange: () => go({ fixed: { ...page.state.fixed, [axis]: select.value } }) },
    el('option', { value: '' }, 'all, stacked'), ...values.map((value) => el('option', { value }, value)));
  select.value = page.state.fixed[axis] ?? '';
  return select;
}

const MOST_ACROSS = 200;
const CELLS_AT_ONCE = 1000; // more are drawn when they are asked for: a hundred thousand take many seconds

function gridOf(jobs, rows, cols) {
  const down = [...byValue(jobs, rows)];
  const all = cols ? [...byValue(jobs, cols)] : [[null, []]];
  const across = all.slice(0, MOST_ACROSS);
  const cells = new Map();
  for (const job of jobs) {
    const key = JSON.stringify([job.places[rows], cols ? job.places[cols] : null]);
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(job);
  }
  const inputs = hasInputs(jobs, rows);
  const corner = cols ? `${axisLabel(rows)} ↓  ${axisLabel(cols)} →` : axisLabel(rows);
  const table = el('table', {}, el('caption', { class: 'unseen' }, `Pictures by ${axisLabel(rows)}${cols ? ` and ${axisLabel(cols)}` : ''}`));
  table.append(el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, corner), inputs ? headOf('col', 'input image', []) : null, ...across.map(([value, alike]) => headOf('col', value ?? 'picture', alike)))));
  const rowOf = ([value, alike]) => el('tr', {}, headOf('row', value, alike), inputs ? el('td', {}, inputCell(alike)) : null,
    ...across.map(([other]) => el('td', {}, stackOf(cells.get(JSON.stringify([value, other])) ?? [], rows === '·source' ? usedOutput : () => 0))));
  const body = el('tbody');
  table.append(body);
  return [table, restOfGrid(body, down, rowOf, across.length, all.length)];
}

// Draws the first rows; returns the line below the grid that draws more of them.
function restOfGrid(body, down, rowOf, columns, allColumns) {
  const line = el('p', { class: 'rest-of-grid' });
  const words = el('span', { class: 'dim' });
  const more = button('Show more', () => draw());
  const draw = () => {
    const [from, to] = [body.children.length, body.children.length + Math.max(1, Math.floor(CELLS_AT_ONCE / columns))];
    body.append(...down.slice(from, to).map(rowOf));
    const parts = [[body.children.length, down.length, 'row'], [columns, allColumns, 'column']].filter(([shown, count]) => shown < count);
    words.textContent = parts.map(([shown, count, word]) => `${shown.toLocaleString('en')} of ${plural(count, word)}`).join(', ');
    more.hidden = body.children.length === down.length;
    line.hidden = !parts.length;
  };
  line.append(words, more);
  draw();
  return line;
}

// The input image that all of these jobs have in common, with its small picture; undefined if there is none.
function commonInput(jobs) {
  const found = new Map(jobs.flatMap((job) => job.inputs.map(([param, name, sha]) => [sha, [param, name, sha]])));
  const [input] = [...found.values()];
  const isCommon = found.size === 1 && jobs.every((job) => job.inputs.length);
  return isCommon && inputPicture(input[2])?.[0] ? input : undefined;
}

// Whether a column of input images is shown: where each row has one of its own, and not the same in all rows.
function hasInputs(jobs, rows) {
  const found = [...byValue(jobs, rows).values()].map((alike) => commonInput(alike)?.[2]);
  return found.some(Boolean) && (found.length === 1 || new Set(found).size > 1);
}

function inputCell(jobs) {
  const input = commonInput(jobs);
  if (!input) return el('div', { class: 'cell' }, el('div', { class: 'empty', role: 'img', 'aria-label': 'no common input image' }));
  const [source, width, height] = inputPicture(input[2]);
  return el('div', { class: 'cell' }, el('span', { class: 'picture', css: { 'aspect-ratio': `${width} / ${height}` } },
    el('img', { src: source, alt: `Input image ${input[1]}`, loading: 'lazy', decoding: 'async', width, height })));
}

function headOf(scope, value, jobs) {
  return el('th', { scope }, el('span', { dir: 'auto', class: 'value' }, value), jobs.length > 1 ? sumOf(jobs) : null);
}

// `outputOf` returns which output of a job is shown.
function stackOf(jobs, outputOf) {
  const cell = el('div', { class: 'cell' });
  if (!jobs.length) {
    cell.append(el('div', { class: 'empty', role: 'img', 'aria-label': 'no such job' }));
    return cell;
  }
  let at = 0;
  const show = () => {
    cell.replaceChildren(cellButton(jobs[at], outputOf(jobs[at])), ...(jobs[at].thumbnails[0]?.[0] ? pictureTools(jobs[at]) : []));
    if (jobs.length > 1) cell.append(el('div', { class: 'stack' },
      el('button', { type: 'button', 'aria-label': 'Previous of the stack', onclick: () => turn(-1) }, '‹'),
      el('span', { title: jobs[at].name }, `${at + 1} of ${jobs.length}`),
      el('button', { type: 'button', 'aria-label': 'Next of the stack', onclick: () => turn(1) }, '›')));
  };
  const turn = (step) => {
    at = (at + step + jobs.length) % jobs.length;
    show();
    cell.querySelectorAll('.stack button')[step > 0 ? 1 : 0].focus();
  };
  show();
  let versions = versionsOf(jobs);
  grid.cells.push({ renew: () => {
    if (versions === versionsOf(jobs)) return;
    versions = versionsOf(jobs);
    const focused = cell.contains(document.activeElement);
    show();
    if (focused) cell.querySelector('.open').focus({ preventScroll: true });
  } });
  return cell;
}

function versionsOf(jobs) {
  return jobs.map((job) => job.version).join();
}

function cellButton(job, at) {
  if (job.status === 'succeeded' || job.outputs.length) return openButton(job, pictureOf(job, at));
  const label = job.error?.code ?? STATES[job.status];
  return openButton(job, el('span', { class: `trouble-cell ${job.status === 'failed' ? '' : 'waiting'}` }, label));
}
