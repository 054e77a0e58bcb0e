// The keyboard: arrows move between the cards, letters switch views and select.
const KEYS = [
  ['/', 'search'], ['← → ↑ ↓', 'move between pictures'], ['Enter', 'open the picture'], ['Esc', 'close, or leave the search'],
  ['1 2', 'pictures, compare'], ['z', 'in a picture: full size and back'], ['x', 'select to compare'], ['s', 'star'], ['f', 'flip between the two selected; in a picture: between it and its source'], ['Space', 'in the comparison: flip'], ['?', 'this help'],
];

function setUpKeys() {
  byId('help').onclick = showKeys;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    const typing = event.target.matches('input, select, textarea');
    if (typing) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    const action = actionOf(event.key, event.shiftKey);
    if (action && action() !== false) event.preventDefault();
  });
}

function actionOf(key, extend) {
  if (key.startsWith('Arrow') || ['Home', 'End', 'PageDown', 'PageUp'].includes(key)) return () => walk(key, extend);
  const views = Object.keys(VIEWS);
  if (['1', '2', '3'].includes(key)) return () => go({ view: views[Number(key) - 1] }, true);
  return {
    '/': () => { byId('search').focus(); byId('search').select(); },
    '?': showKeys,
    x: () => { const job = document.activeElement?.dataset?.job; if (job !== undefined) pin(Number(job)); },
    s: () => { const job = document.activeElement?.dataset?.job; if (job !== undefined) star(page.model.jobs[job]); },
    f: () => { if (page.pins.length === 2) showFlip(); },
  }[key];
}

function showKeys() {
  openDialog('keys', 'Keyboard', el('div', {}, el('h2', {}, 'Keyboard'),
    el('dl', {}, ...KEYS.flatMap(([key, what]) => [el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)]))));
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
