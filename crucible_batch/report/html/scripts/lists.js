// Lists of the gallery of any length: each has its full height, and only the rows near the window are in the page.
const FEW = 400; // jobs: of so many all are in the page, where the browser's own search finds them
const AT_ONCE = 40; // jobs that are drawn in one go, in the window or not
const AROUND = 0.6; // window heights above and below the window in which rows are drawn
const MOST_PRINTED = 1000;
const LINE = 18; // the lines of a caption in pixels, as in the style sheet
const LETTER = 6.4; // the width of a letter there
const COMPACT = 140; // below this height of pictures, captions are names only
const NARROW = 640;

// How the rows of a list are laid out: pictures by their ratios, all others as cells of one size.
const SHAPES = {
  picture: { rows: (list) => picturesIn(list) },
  trouble: { rows: (list) => cellsIn(list, 270, 172) },
  waiting: { rows: (list) => cellsIn(list, 200, 62) },
};

const lists = new WeakMap(); // by section
const gallery = { lists: [], order: [], at: new Map(), frame: 0, isPrinting: false };

function setUpLists() {
  const view = byId('view-gallery');
  let width = view.clientWidth;
  new ResizeObserver(() => {
    if (view.clientWidth === width) return;
    width = view.clientWidth;
    layOutAgain();
  }).observe(view);
  new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty('--bar', `${getComputedStyle(target).position === 'sticky' ? target.offsetHeight : 0}px`)).observe(byId('toolbar'));
  addEventListener('scroll', drawSoon, { passive: true });
  addEventListener('resize', drawSoon);
  addEventListener('beforeprint', () => { gallery.isPrinting = true; drawLists(); });
  addEventListener('afterprint', () => { gallery.isPrinting = false; drawLists(); });
  view.addEventListener('focusin', (event) => {
    const open = event.target.closest('.card')?.querySelector('.open');
    if (open) setCurrent(Number(open.dataset.job));
  });
}

function fillList(section, parent, { label, jobs, make, shape }) {
  const list = lists.get(section) ?? { box: el('div', { class: 'rows', role: 'feed' }), drawn: new Map(), rows: [] };
  Object.assign(list, { jobs, make, shape });
  list.box.setAttribute('aria-label', label);
  if (list.box.parentElement !== parent) parent.append(list.box);
  lists.set(section, list);
}

// The lists of the gallery from the top, as they are now.
function showLists(all) {
  gallery.lists = all;
  layOut();
}

function pictureHeight() {
  return page.size ?? (innerWidth > NARROW ? Math.max(150, Math.min(260, 0.19 * innerWidth)) : 116);
}

// -- geometry ----------------------------------------------------------------------------------------------------------

function layOut() {
  byId('view-gallery').classList.toggle('dense', pictureHeight() < COMPACT);
  gallery.order = [];
  for (const list of gallery.lists) {
    list.width = list.box.clientWidth;
    list.first = gallery.order.length;
    list.rows = list.width ? list.shape.rows(list) : [];
    // In a narrow window, what failed is scrolled sideways, also by keyboard.
    if (innerWidth <= NARROW && list.box.parentElement.classList.contains('shelf')) list.box.tabIndex = 0;
    else list.box.removeAttribute('tabindex');
    if (list.rows.length) gallery.order = gallery.order.concat(list.jobs);
    let top = 0;
    for (const row of list.rows) {
      row.top = top;
      top += row.height + row.below;
    }
    list.box.style.height = `${Math.max(0, top - (list.rows.at(-1)?.below ?? 0))}px`;
  }
  gallery.at = new Map(gallery.order.map((job, at) => [job.index, at]));
}

function gapOf(list) {
  return Number.parseFloat(getComputedStyle(list.box).columnGap) || 0;
}

function picturesIn(list) {
  const wanted = pictureHeight();
  const gap = gapOf(list);
  const isCompact = wanted < COMPACT;
  list.ratios = Float64Array.from(list.jobs, (job) => Math.max(ratioOf(job), 72 / wanted));
  return pictureRows(list.ratios, list.width, wanted, gap).map((row) => {
    const lines = isCompact ? { kin: 0, prompt: 0, values: 0, note: 0 } : linesOf(list, row);
    const caption = 26 + 24 * lines.kin + LINE * (lines.prompt + lines.values) + (lines.note ? 4 + LINE * lines.note : 0);
    return { ...row, picture: row.height, lines, isCompact, height: row.height + caption, below: isCompact ? 10 : 22 };
  });
}

// How many lines the captions of a row have at most.
function linesOf(list, { from, to, height }) {
  const lines = { kin: 0, prompt: 0, values: 1, note: 0 };
  for (let at = from; at < to; at += 1) {
    const job = list.jobs[at];
    const fit = (text) => (text ? Math.min(2, Math.ceil(widthOf(text) / (list.ratios[at] * height))) : 0);
    lines.prompt = Math.max(lines.prompt, fit(job.prompt));
    lines.note = Math.max(lines.note, fit(noteText(job)));
    lines.kin = Math.max(lines.kin, (job.source ? 1 : 0) + (madeOf(job).length ? 1 : 0));
  }
  return lines;
}

// Whether a note has come or gone, so that the row of a job needs another height.
function hasOtherLines(job) {
  const place = placeOf(job.index);
  const row = place?.list.rows[place.row];
  return Boolean(row?.lines) && !row.isCompact && linesOf(place.list, { ...row, height: row.picture }).note !== row.lines.note;
}

// About how wide a text is in a caption. Chinese, Japanese and Korean letters are twice as wide as others.
function widthOf(text) {
  return text.length * LETTER * (/[\u2e80-\uffef]/.test(text) ? 2 : 1);
}

function cellsIn(list, least, height) {
  const gap = gapOf(list);
  return cellRows(list.jobs.length, list.width, least, gap).map((row) => ({ ...row, height, below: gap }));
}

// Where a picture's middle is in its row, from the left.
function middleOf(list, row, at) {
  if (row.columns) return ((at - row.from + 0.5) / row.columns) * list.width;
  let left = 0;
  for (let before = row.from; before < at; before += 1) left += list.ratios[before] * row.picture + gapOf(list);
  return left + (list.ratios[at] * row.picture) / 2;
}

// -- drawing -----------------------------------------------------------------------------------------------------------

function drawSoon() {
  gallery.frame ||= requestAnimationFrame(() => {
    gallery.frame = 0;
    drawLists();
  });
}

// What is in the window comes first, so that it is seen as soon as possible; what is around it when that has been painted.
function drawLists(isFirst = false) {
  if (!byId('view-gallery').hidden) for (const list of gallery.lists) drawList(list, isFirst);
  if (isFirst) requestAnimationFrame(() => setTimeout(drawLists));
}

// Draws the rows in the window and a window's height around it; also the row that has the focus and those beside it, so
// that Tab finds its way.
function drawList(list, isFirst = false) {
  const { rows, box } = list;
  const wanted = new Set();
  if (rows.length) {
    const [first, last] = rowsInSight(list, isFirst);
    for (let at = first; at <= last; at += 1) wanted.add(at);
    const row = box.contains(document.activeElement) ? document.activeElement.closest('.row') : null;
    const focused = Number(row?.dataset.row);
    if (row) for (const at of [focused - 1, focused, focused + 1]) if (rows[at]) wanted.add(at);
    if (list.kept !== undefined && rows[list.kept]) wanted.add(list.kept);
  }
  const cards = new Map([...box.querySelectorAll('.card')].map((card) => [card.dataset.card, card]));
  const old = new Map([...box.children].map((row) => [row.dataset.key, row]));
  const drawn = [...wanted].sort((a, b) => a - b).map((at) => drawnRow(list, at, old, cards));
  const gone = new Set([...box.children].filter((row) => !drawn.includes(row)));
  settle(box, drawn);
  for (const row of gone) stopLoading(row);
}

// Of so many jobs, all rows are drawn.
function mostDrawn(isFirst) {
  if (gallery.isPrinting) return MOST_PRINTED;
  return isFirst ? AT_ONCE : FEW;
}

function rowsInSight({ rows, box, jobs }, isFirst) {
  if (jobs.length <= mostDrawn(isFirst)) return [0, rows.length - 1];
  const { top } = box.getBoundingClientRect();
  const around = isFirst ? 0 : AROUND * innerHeight;
  const from = -top - around;
  const to = -top + innerHeight + around;
  if (to < 0 || from > rows.at(-1).top + rows.at(-1).height) return [0, -1];
  return [rowAt(rows, from), rowAt(rows, to)];
}

// A row that is as it was stays as it is, and so does a card in another row.
function drawnRow(list, at, old, cards) {
  const row = list.rows[at];
  const jobs = list.jobs.slice(row.from, row.to);
  const keys = jobs.map((job) => `${job.index}.${familyVersion(job)}`);
  const { kin, prompt, note } = row.lines ?? {};
  const key = JSON.stringify([at, row.top, row.height, kin, prompt, note, keys]);
  if (old.has(key)) return old.get(key);
  const places = { '--top': `${row.top}px`, '--high': `${row.height}px` };
  if (row.lines) Object.assign(places, { '--prompt-lines': prompt, '--note-lines': note });
  if (row.columns) places['--columns'] = row.columns;
  const element = el('div', { class: ['row', row.isCompact ? 'compact' : '', row.columns ? 'cells' : ''].join(' ').trim(), 'data-row': at, 'data-key': key });
  for (const [name, value] of Object.entries(places)) element.style.setProperty(name, String(value));
  jobs.forEach((job, within) => {
    const card = cards.get(keys[within]) ?? list.make(job);
    card.dataset.card = keys[within];
    card.setAttribute('aria-posinset', row.from + within + 1);
    card.setAttribute('aria-setsize', list.jobs.length);
    if (list.ratios) card.style.setProperty('--ratio', String(list.ratios[row.from + within]));
    dressCard(card, job);
    element.append(card);
  });
  if (row.isFull === false) element.append(el('span', { class: 'rest', css: { '--ratio': String(restOf(list, row)) } }));
  return element;
}

// The width that the last row leaves empty, as a ratio.
function restOf(list, row) {
  let used = gapOf(list) * (row.to - row.from);
  for (let at = row.from; at < row.to; at += 1) used += list.ratios[at] * row.picture;
  return Math.max(0, (list.width - used) / row.picture);
}

// What of a card changes without its job.
function dressCard(card, job) {
  card.classList.toggle('selected', page.selected.has(job.index));
  const isCurrent = job.index === currentJob();
  for (const control of card.querySelectorAll('button')) control.tabIndex = isCurrent ? 0 : -1;
}

// Pictures of rows that are out of sight before they have come are not waited for.
function stopLoading(row) {
  for (const image of row.querySelectorAll('img')) if (!image.complete && !image.isConnected) image.removeAttribute('src');
}

function cardOf(index) {
  return byId('view-gallery').querySelector(`.open[data-job="${index}"]`)?.closest('.card');
}

// -- staying in place --------------------------------------------------------------------------------------------------

function barHeight() {
  return Number.parseFloat(document.documentElement.style.getPropertyValue('--bar')) || 0;
}

// What is in sight, and what has the focus: the gallery may change around them.
function rememberPlace() {
  const view = byId('view-gallery');
  if (!gallery.order.length) return { index: null };
  const focused = view.contains(document.activeElement) ? document.activeElement.closest('.card')?.querySelector('.open') : null;
  const isScrolled = view.getBoundingClientRect().top < barHeight();
  const inSight = isScrolled ? [...view.querySelectorAll('.open')].filter((open) => open.getBoundingClientRect().bottom > barHeight()) : [];
  const isNear = focused && focused.getBoundingClientRect().bottom > 0 && focused.getBoundingClientRect().top < innerHeight;
  const anchor = isNear && isScrolled ? focused : inSight[0];
  const index = focused ? Number(focused.dataset.job) : null;
  return {
    index,
    at: gallery.at.get(index) ?? 0,
    isScrolled,
    anchor: anchor ? { index: Number(anchor.dataset.job), top: anchor.getBoundingClientRect().top } : null,
  };
}

// The picture that was in sight stays where it was; if it is gone, the list is shown from its beginning. The focus stays
// with its picture, or goes to that which has taken its place.
function returnToPlace({ index, at, isScrolled, anchor }) {
  const view = byId('view-gallery');
  if (anchor && gallery.at.has(anchor.index)) scrollBy(0, topOf(anchor.index) - anchor.top);
  else if (isScrolled && view.getBoundingClientRect().top < barHeight()) scrollBy(0, view.getBoundingClientRect().top - barHeight());
  drawLists(true);
  if (index === null || document.querySelector('dialog[open]')) return;
  const job = gallery.at.has(index) ? index : gallery.order[Math.min(at, gallery.order.length - 1)]?.index;
  if (job !== undefined && !cardOf(job)?.contains(document.activeElement)) focusCard(job, { preventScroll: gallery.at.has(index) });
}

function topOf(index) {
  const { list, row } = placeOf(index);
  return list.box.getBoundingClientRect().top + list.rows[row].top;
}

function layOutAgain() {
  const before = rememberPlace();
  layOut();
  returnToPlace(before);
}

// -- walking -----------------------------------------------------------------------------------------------------------

function placeOf(index) {
  const at = gallery.at.get(index);
  if (at === undefined) return null;
  const list = gallery.lists.findLast(({ first, rows }) => rows.length && first <= at);
  const within = at - list.first;
  let [low, high] = [0, list.rows.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list.rows[middle].to > within) high = middle;
    else low = middle + 1;
  }
  return { list, within, row: low };
}

// The picture that Tab enters: the one that had the focus last, or the first.
function currentJob() {
  return gallery.at.has(page.current) ? page.current : gallery.order[0]?.index;
}

function setCurrent(index) {
  const before = currentJob();
  page.current = index;
  for (const one of new Set([before, index])) {
    const card = cardOf(one);
    if (card) dressCard(card, page.model.jobs[one]);
  }
}

// Brings a job's card into the page and into sight, and gives it the focus.
function focusCard(index, { preventScroll = false } = {}) {
  const place = placeOf(index);
  if (!place) return false;
  place.list.kept = place.row;
  drawList(place.list);
  delete place.list.kept;
  const open = cardOf(index).querySelector('.open');
  open.focus({ preventScroll: true });
  if (!preventScroll) open.closest('.card').scrollIntoView({ block: 'nearest', inline: 'nearest' });
  drawLists();
  return true;
}

// Moves the focus: to the side in reading order, up and down by where pictures stand. False if there is nothing to move.
function walkGallery(key, extend = false) {
  if (!gallery.order.length) return false;
  const focused = document.activeElement?.closest?.('.card')?.querySelector('.open');
  const from = focused ? Number(focused.dataset.job) : null;
  if (from === null && !key.startsWith('Arrow')) return false; // the page is scrolled
  const to = from === null ? jobInSight() : stepOf(from, key);
  if (to === undefined) return true;
  focusCard(to);
  if (extend) selectTo(to, from ?? to);
  return true;
}

// The picture that had the focus last, if it is in the window, or the first that is.
function jobInSight() {
  const isInSight = (open) => {
    const { top, bottom } = open.getBoundingClientRect();
    return top >= barHeight() && bottom > 0 && top < innerHeight - 40;
  };
  const last = cardOf(currentJob())?.querySelector('.open');
  if (last && isInSight(last)) return currentJob();
  const first = [...byId('view-gallery').querySelectorAll('.open')].find(isInSight);
  return first ? Number(first.dataset.job) : currentJob();
}

function stepOf(index, key) {
  const at = gallery.at.get(index);
  const { list, within, row } = placeOf(index);
  const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: gallery.order.length - 1 };
  if (key in steps) return gallery.order[steps[key]]?.index;
  const page = Math.max(1, Math.floor((innerHeight - barHeight()) / (list.rows[row].height + list.rows[row].below)));
  const count = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }[key];
  const target = rowBeside(list, row, count);
  if (!target) return undefined;
  const middle = middleOf(list, list.rows[row], within);
  const { from, to } = target.list.rows[target.row];
  let best = from;
  for (let one = from; one < to; one += 1) {
    if (Math.abs(middleOf(target.list, target.list.rows[target.row], one) - middle) < Math.abs(middleOf(target.list, target.list.rows[target.row], best) - middle)) best = one;
  }
  return target.list.jobs[best].index;
}

// The row so many rows further, also in the next list; at the ends the last there is.
function rowBeside(list, row, count) {
  const open = gallery.lists.filter(({ rows }) => rows.length);
  let which = open.indexOf(list);
  let at = row + count;
  while (at >= open[which].rows.length && which + 1 < open.length) at -= open[which++].rows.length;
  while (at < 0 && which > 0) at += open[--which].rows.length;
  const target = Math.max(0, Math.min(open[which].rows.length - 1, at));
  return open[which] === list && target === row ? null : { list: open[which], row: target };
}
