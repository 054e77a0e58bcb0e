// The keyboard: arrows move between the cards, letters decide and switch views.
const KEYS = {
  'On every page': [
    ['← → ↑ ↓', 'move between pictures'], ['Home End', 'first, last'], ['Enter', 'open the picture'], ['g', 'grid of pictures'], ['c', 'compare'], ['/', 'search'], ['Esc', 'close, or leave the search or the note'], ['?', 'this help'],
  ],
  Deciding: [
    ['p', 'pick, and go to the next picture'], ['x', 'reject, and go to the next picture'], ['r', 'reject with a reason'], ['p x', 'once more: remove the mark'], ['u', 'undo'], ['1 – 5', 'rating'], ['0', 'no rating'],
  ],
  'In a picture': [
    ['← →', 'previous, next'], ['Home End', 'first, last'], ['z', 'full size and back'], ['n', 'write a note'], ['i', 'hide or show the details'],
    ['f', 'flip between it and its source or another take'], ['t', 'compare with the next take'],
  ],
  Selecting: [
    ['a', 'select the picture, or take it out'], ['Shift →', 'select several, as Shift and a click'], ['Esc', 'clear the selection'],
    ['f', 'flip between two selected'], ['Space', 'in the comparison: flip'],
  ],
};

function setUpKeys() {
  byId('help').onclick = showKeys;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const dialog = [...document.querySelectorAll('dialog[open]')].at(-1);
    if (dialog && dialog.id !== 'detail') return;
    if (event.target.matches('input:not([type=range]), select, textarea')) {
      if (event.key === 'Escape' && !event.isComposing) leaveField(event, dialog);
      return;
    }
    if (dialog && event.target.matches('input')) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // also with Caps Lock
    if (event.repeat && /^[pxru0-5]$/.test(key)) return; // a key that is held would decide about many pictures
    const action = dialog ? detailKey(key, dialog) : actionOf(key, event.shiftKey);
    if (action && action() !== false) event.preventDefault();
  });
}

// Back to the pictures; what was typed stays. Without it, the browser would empty the search, and close the picture.
function leaveField(event, dialog) {
  event.preventDefault();
  if (dialog) dialog.querySelector('.stage').focus();
  else event.target.blur();
}

function actionOf(key, extend) {
  if (key.startsWith('Arrow') || ['Home', 'End', 'PageDown', 'PageUp'].includes(key)) return () => walk(key, extend);
  if (/^[0-5]$/.test(key)) return () => rateFocused(Number(key));
  return {
    '/': () => { byId('search').focus(); byId('search').select(); },
    '?': showKeys,
    g: () => go({ view: 'gallery' }, true),
    c: () => go({ view: 'compare' }, true),
    p: () => markFocused('picked'),
    x: () => markFocused('rejected'),
    r: askFocused,
    u: undoFocused,
    a: () => { const job = focusedJob(); if (job) pin(job.index); },
    f: () => { if (page.pins.length === 2) showFlip(); },
  }[key];
}

function showKeys() {
  const groups = Object.entries(KEYS).map(([title, keys]) => el('section', {}, el('h3', {}, title),
    el('dl', {}, ...keys.filter(([key]) => MARKS.rejected || !['x', 'r'].includes(key)).flatMap(([key, what]) => [el('dt', {}, ...key.split(' ').map((one) => (one === '–' ? ' – ' : el('kbd', {}, one)))), el('dd', {}, what)]))));
  openDialog('keys', 'Keyboard', el('div', {}, el('h2', {}, 'Keyboard'), el('div', { class: 'groups' }, ...groups)));
}

// Moves the focus to the next card in a direction: to the side in reading order, up and down by where cards stand.
function walk(key, extend) {
  if (page.state.view === 'gallery') return walkGallery(key, extend);
  if (!key.startsWith('Arrow')) return false;
  const view = byId(`view-${page.state.view}`);
  const cards = [...view.querySelectorAll('.open, .bar a')];
  if (!cards.length) return false;
  const at = cards.indexOf(document.activeElement);
  if (at < 0 && view.querySelector('.scroll, .sheet')?.contains(document.activeElement)) return false;
  const next = at < 0 ? cards[0] : neighbour(cards, at, key);
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
  return true;
}

function neighbour(cards, at, key) {
  if (key === 'ArrowRight') return cards[at + 1];
  if (key === 'ArrowLeft') return cards[at - 1];
  const here = cards[at].getBoundingClientRect();
  const down = key === 'ArrowDown';
  let best = null;
  let nearest = Infinity;
  const range = down ? cards.slice(at + 1, at + 80) : cards.slice(Math.max(0, at - 80), at);
  for (const card of range) {
    const there = card.getBoundingClientRect();
    const rows = down ? there.top - here.top : here.top - there.top;
    if (rows < 8) continue;
    const distance = rows * 4 + Math.abs(there.left + there.width / 2 - here.left - here.width / 2);
    if (distance < nearest) [nearest, best] = [distance, card];
  }
  return best;
}
