// Pictures that somebody chose: a star each, kept by the browser for this page, and their files to copy.
function setUpStars() {
  try {
    const kept = JSON.parse(recall(starsKey(), '[]'));
    page.stars = new Set(Array.isArray(kept) ? kept.filter((name) => typeof name === 'string') : []);
  } catch { /* kept by another program: it is replaced by the next star */ }
}

function starsKey() {
  return `crucible-stars:${location.pathname}`;
}

function star(job) {
  if (!page.stars.delete(job.name)) page.stars.add(job.name);
  keep(starsKey(), JSON.stringify([...page.stars]));
  for (const one of document.querySelectorAll(`[data-star="${job.index}"]`)) markStar(one, job);
  if (page.state.starred && !page.stars.size) go({ starred: false });
  else if (page.state.starred) redraw();
  else updateToolbar(page.model, page.shown);
}

function markStar(toggle, job) {
  const chosen = page.stars.has(job.name);
  toggle.setAttribute('aria-pressed', String(chosen));
  toggle.textContent = chosen ? '★' : '☆';
}

function starButton(job) {
  const toggle = el('button', {
    type: 'button', class: 'star', 'data-star': job.index, 'aria-label': `Star ${job.name}`, title: 'Star (s)', onclick: () => star(job),
  });
  markStar(toggle, job);
  return toggle;
}

// What the toolbar has of them, once there are any: the filter, and the way out of the page.
function starTools() {
  const chip = el('button', { type: 'button', class: 'chip', id: 'starred', onclick: () => go({ starred: !page.state.starred }) }, '★ starred ', el('b', {}));
  return [chip, el('span', { id: 'star-files' }, copyButton('Copy file names', () => starredFiles().join('\n')))];
}

function updateStarTools(model, state) {
  const stars = count(model, state, 'starred', (job) => (page.stars.has(job.name) ? 'starred' : undefined)).get('starred') ?? 0;
  byId('starred').hidden = !page.stars.size;
  byId('starred').setAttribute('aria-pressed', String(state.starred));
  byId('starred').querySelector('b').textContent = stars.toLocaleString('en');
  byId('star-files').hidden = !state.starred;
}

// All of them, in manifest order, whatever the filter leaves.
function starredJobs() {
  return page.model.jobs.filter((job) => page.stars.has(job.name));
}

function starredFiles() {
  return page.shown.flatMap((job) => job.outputs.map((output) => output.path));
}
