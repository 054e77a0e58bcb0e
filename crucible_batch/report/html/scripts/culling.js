// Deciding about pictures: the buttons on a card, and the keys p, x, r, u and 0 to 5, on a card or on the open picture.
const MARKS = {
  picked: { verb: 'Pick', key: 'p', sign: '✓' },
  rejected: { verb: 'Reject', key: 'x', sign: '✕' },
};

// Without the command that buys rejected pictures again, nothing is rejected.
function offerMarks({ reject }) {
  if (reject) return;
  delete MARKS.rejected;
  delete MARK_WORDS.rejected;
}

// What lies on a picture: the buttons to pick and to reject all outputs of its job, and the rating.
function markTools(job) {
  const tools = el('div', { class: 'marks', 'data-marks': job.index });
  for (const mark of Object.keys(MARKS)) {
    const { verb, key, sign } = MARKS[mark];
    tools.append(el('button', {
      type: 'button', 'data-mark': mark, title: `${verb} (${key})`, 'aria-label': `${verb} ${job.name}`,
      onclick: () => toggleMark(pairsOf([job]), mark),
    }, sign));
  }
  tools.append(el('span', { class: 'rated' }));
  showMarks(tools, job);
  return tools;
}

function showMarks(tools, job) {
  const found = job.outputs.map((output) => markOf(job, output));
  for (const toggle of tools.querySelectorAll('[data-mark]')) {
    const alike = found.filter((mark) => mark === toggle.dataset.mark).length;
    toggle.setAttribute('aria-pressed', alike > 0 && alike < found.length ? 'mixed' : String(alike > 0));
  }
  const reason = jobReasons(job).join('; ');
  if (MARKS.rejected) tools.querySelector('[data-mark=rejected]').title = reason ? `Rejected: ${reason}` : 'Reject (x)';
  if (found.length && found.every((mark) => mark === 'rejected')) tools.dataset.all = 'rejected';
  else delete tools.dataset.all;
  const rating = topRating(job);
  const shown = tools.querySelector('.rated');
  shown.hidden = !rating;
  shown.textContent = '★'.repeat(rating);
  shown.title = shown.ariaLabel = rating ? `rated ${rating} of ${MOST_RATING}` : '';
}

function pairsOf(jobs) {
  return jobs.flatMap((job) => job.outputs.map((output) => [job, output]));
}

// Gives pictures a mark, or removes it if all of them have it. Returns whether they have it now.
function toggleMark(pairs, mark) {
  if (!MARKS[mark]) return false;
  const isGiven = !pairs.every(([job, output]) => markOf(job, output) === mark);
  const concerned = isGiven ? pairs.filter(([job, output]) => markOf(job, output) !== mark) : pairs; // the others keep their reasons
  setMarks(concerned, { mark: isGiven ? mark : null, reason: '' });
  return isGiven;
}

// -- on the page: what has the focus, or what is selected --------------------------------------------------------------

function focusedJob() {
  const index = document.activeElement?.closest?.('.card, .cell')?.querySelector('.open')?.dataset.job;
  return index === undefined ? undefined : page.model.jobs[index];
}

function jobsToMark() {
  const focused = focusedJob();
  return focused ? chosenJobs(focused) : selectedJobs();
}

// One picture gives the focus to the next one, as it does when it is open; several stay selected.
function markFocused(mark) {
  const jobs = jobsToMark();
  if (!jobs.length) return false;
  const next = jobs.length === 1 ? page.shown[page.shown.indexOf(jobs[0]) + 1] : undefined;
  if (toggleMark(pairsOf(jobs), mark) && next) focusJob(next);
  return true;
}

function askFocused() {
  const jobs = jobsToMark();
  if (!jobs.length) return false;
  const next = jobs.length === 1 ? page.shown[page.shown.indexOf(jobs[0]) + 1] : undefined;
  askReason(pairsOf(jobs), () => { if (next) focusJob(next); });
  return true;
}

function rateFocused(rating) {
  const jobs = jobsToMark();
  if (!jobs.length) return false;
  setMarks(pairsOf(jobs), { rating });
  return true;
}

function undoFocused() {
  const undone = undoMarks();
  if (!undone) return false;
  focusJob(undone[0]);
  return true;
}

function focusJob(job) {
  if (page.state.view === 'gallery') focusCard(job.index);
  else document.querySelector(`#view-${page.state.view} [data-job="${job.index}"]`)?.focus();
}

// -- what follows the marks --------------------------------------------------------------------------------------------

// The number of pictures with each mark.
function tallyOf(pairs) {
  const tally = { picked: 0, rejected: 0, unmarked: 0 };
  for (const [job, output] of pairs) if (output) tally[markOf(job, output) ?? 'unmarked'] += 1;
  return tally;
}

function tallyWords({ picked, rejected, unmarked }) {
  return [`${picked.toLocaleString('en')} picked`, `${rejected.toLocaleString('en')} rejected`, `${unmarked.toLocaleString('en')} unmarked`].join(' · ');
}

function followMarks(changed) {
  for (const tools of document.querySelectorAll('[data-marks]')) {
    const job = page.model.jobs[tools.dataset.marks];
    if (!changed.has(job)) continue;
    showMarks(tools, job);
    showNote(tools.closest('.card'), job);
  }
  refreshStage();
}

// The next step, once marks have changed: what is rejected can be bought again.
function showNext() {
  byId('outcome')?.querySelector('.next')?.replaceWith(nextOf(page.model.data));
  if (byId('outcome')) byId('outcome').hidden = byId('outcome').querySelectorAll('li, .next > *').length === 0;
}

onMarks(followMarks);
