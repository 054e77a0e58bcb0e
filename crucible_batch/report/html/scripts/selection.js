// Several jobs chosen for what comes next: to be marked, or two of them to be compared. Shift selects all up to a job.
function setUpSelection() {
  const view = byId('view-gallery');
  view.addEventListener('click', (event) => {
    const open = event.target.closest('.open');
    if (!open || !(event.shiftKey || event.ctrlKey || event.metaKey || page.isSelecting)) return;
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

// Without a keyboard and a mouse: while it is pressed, a tap selects instead of opening.
function selectButton() {
  return button('Select', () => setSelecting(!page.isSelecting), { id: 'select', class: 'chip', 'aria-pressed': 'false' });
}

function setSelecting(isSelecting) {
  page.isSelecting = isSelecting;
  byId('select').setAttribute('aria-pressed', String(isSelecting));
  if (!isSelecting) select([]);
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
  setSelecting(false);
  if (isInTray) focusCard(currentJob());
}

// The selected jobs in manifest order, without those that the filter hides: nobody decides about what is not seen.
function selectedJobs() {
  if (!page.selected.size) return [];
  return page.shown.filter((job) => page.selected.has(job.index)).sort((a, b) => a.index - b.index);
}

// The jobs that a key is about: all selected ones if the job is one of them, else the job alone.
function chosenJobs(job) {
  return page.selected.has(job.index) ? selectedJobs() : [job];
}

function markPin(one, chosen) {
  one.setAttribute('aria-pressed', String(chosen));
  one.textContent = chosen ? '−' : '+';
}

function renderTray() {
  const tray = byId('tray');
  const jobs = page.pins.map((index) => page.model.jobs[index]);
  tray.hidden = !jobs.length;
  const words = trayWords(jobs, jobs.length - selectedJobs().length);
  const status = tray.querySelector('span') ?? el('span', { role: 'status' });
  if (status.textContent === words) return; // its buttons keep the focus
  status.textContent = words;
  tray.replaceChildren(status,
    ...Object.entries(MARKS).map(([mark, { verb, key, sign }]) => button(`${sign} ${verb}`, () => toggleMark(pairsOf(selectedJobs()), mark), { class: null, title: `${verb} (${key})` })),
    ...(MARKS.rejected ? [button('…', () => askReason(pairsOf(selectedJobs()), () => {}), { class: null, 'aria-label': 'Reject with a reason', title: 'Reject with a reason (r)' })] : []),
    ...(jobs.length === 2 ? [button('Compare', showFlip, { class: 'go', title: 'Flip between the two (f)' })] : []),
    button('Clear', clearSelection, { class: null, title: 'Clear the selection (Esc)' }));
}

function trayWords(jobs, hidden) {
  const names = jobs.length < 3 ? jobs.map(({ name }) => name).join(' and ') : jobs.length.toLocaleString('en');
  const rest = hidden === jobs.length ? 'not shown' : `${hidden.toLocaleString('en')} not shown`;
  return [`${names}${jobs.length === 2 ? '' : ' selected'}`, hidden ? rest : null].filter(Boolean).join(', ');
}
