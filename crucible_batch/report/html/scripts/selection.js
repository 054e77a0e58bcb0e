// Several jobs chosen for what comes next: to be marked, or two of them to be compared. Shift selects all up to a job.
function setUpSelection() {
  const view = byId('view-gallery');
  view.addEventListener('click', (event) => {
    const open = event.target.closest('.open');
    if (!open || !(event.shiftKey || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    const index = Number(open.dataset.job);
    if (event.shiftKey) selectTo(index, page.current);
    else pin(index);
    focusCard(index);
  }, true);
  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]') || event.target.matches('input, select, textarea')) return;
    const isAll = event.key === 'a' && (event.ctrlKey || event.metaKey) && view.contains(event.target);
    if (event.key === 'Escape' && page.selected.size) clearSelection();
    else if (isAll) select(gallery.order.map((job) => job.index));
    else return;
    event.preventDefault();
  });
  view.addEventListener('mousedown', (event) => { if (event.shiftKey && event.target.closest('.open')) event.preventDefault(); }); // no text is selected
}

// One more, or one less.
function pin(index) {
  page.anchor = index;
  select(toggled(page.selected, index));
}

// From the job where the selection began up to this one, in the order that is shown.
function selectTo(index, from) {
  if (!gallery.at.has(page.anchor) || !page.selected.has(page.anchor)) page.anchor = gallery.at.has(from) ? from : index;
  const [first, last] = [gallery.at.get(page.anchor), gallery.at.get(index)].sort((a, b) => a - b);
  select(gallery.order.slice(first, last + 1).map((job) => job.index));
}

function select(indexes) {
  const before = page.selected;
  page.selected = new Set(indexes);
  for (const index of new Set([...before, ...page.selected])) {
    if (before.has(index) === page.selected.has(index)) continue;
    cardOf(index)?.classList.toggle('selected', page.selected.has(index));
    for (const one of document.querySelectorAll(`[data-pin="${index}"]`)) markPin(one, page.selected.has(index));
  }
  renderTray();
}

function clearSelection() {
  const isInTray = byId('tray').contains(document.activeElement);
  select([]);
  if (isInTray) focusCard(currentJob());
}

// The jobs that a key is about: all selected ones if the job is one of them, else the job alone.
function chosenJobs(job) {
  if (!page.selected.has(job.index)) return [job];
  return [...page.selected].sort((a, b) => a - b).map((index) => page.model.jobs[index]);
}

function markPin(one, chosen) {
  one.setAttribute('aria-pressed', String(chosen));
  one.textContent = chosen ? '−' : '+';
}

function renderTray() {
  const tray = byId('tray');
  const jobs = [...page.selected].map((index) => page.model.jobs[index]);
  tray.hidden = !jobs.length;
  const words = tray.querySelector('span') ?? el('span', { role: 'status' });
  words.textContent = jobs.length === 2 ? `${jobs[0].name} and ${jobs[1].name}` : `${jobs.length === 1 ? jobs[0].name : jobs.length.toLocaleString('en')} selected`;
  tray.replaceChildren(words,
    ...Object.entries(MARKS).map(([mark, { verb, key, sign }]) => button(`${sign} ${verb}`, () => toggleMark(pairsOf(jobs), mark), { class: null, title: `${verb} (${key})` })),
    button('…', () => askReason(pairsOf(jobs), () => {}), { class: null, 'aria-label': 'Reject with a reason', title: 'Reject with a reason (r)' }),
    ...(jobs.length === 2 ? [button('Compare', showFlip, { class: 'go', title: 'Flip between the two (f)' })] : []),
    button('Clear', clearSelection, { class: null, title: 'Clear the selection (Esc)' }));
}
