// Pictures that the user chose: a star each, kept by the browser for this page. A star is what a picks file has for it:
// the job's name, or NAME/INDEX for one output of several.
function setUpStars() {
  try {
    const kept = JSON.parse(recall(starsKey(), '[]'));
    page.stars = new Set(Array.isArray(kept) ? kept.filter((name) => typeof name === 'string') : []);
  } catch { /* kept by another program: it is replaced by the next star */ }
}

function starsKey() {
  return `crucible-stars:${location.pathname}`;
}

function starOf(job, output) {
  return output && job.outputs.length > 1 ? `${job.name}/${output.index}` : job.name;
}

// The starred outputs of a job. A name alone means all of them.
function starredOutputs(job) {
  return job.outputs.filter((output) => page.stars.has(job.name) || page.stars.has(`${job.name}/${output.index}`));
}

function isStarred(job) {
  return page.stars.has(job.name) || starredOutputs(job).length > 0;
}

// One output, or all of the job: they lose their stars if all have one.
function star(job, output) {
  const before = starredOutputs(job);
  const asked = output ? [output] : job.outputs;
  const chosen = asked.length ? !asked.every((one) => before.includes(one)) : !isStarred(job);
  const left = before.filter((one) => !asked.includes(one));
  for (const one of [job.name, ...job.outputs.map(({ index }) => `${job.name}/${index}`)]) page.stars.delete(one);
  for (const one of chosen ? [...left, ...asked] : left) page.stars.add(starOf(job, one));
  if (chosen && !asked.length) page.stars.add(job.name);
  keep(starsKey(), JSON.stringify([...page.stars]));
  markStars(job);
  updateToolbar(page.model, page.shown);
}

// Every star of a job on the page, and the pictures of its strip.
function markStars(job) {
  for (const toggle of document.querySelectorAll(`[data-star="${job.index}"]`)) markStar(toggle, job);
  document.querySelectorAll(`[data-starred-of="${job.index}"]`).forEach((one, at) => one.classList.toggle('starred', job.outputs.length > 1 && starredOutputs(job).includes(job.outputs[at])));
}

// Of the output that is shown in full, or of the job: then some of its outputs may have one.
function markStar(toggle, job) {
  const starred = starredOutputs(job);
  const shown = toggle.dataset.shown === undefined ? null : job.outputs[page.at];
  const some = !shown && starred.length > 0 && starred.length < job.outputs.length;
  const chosen = shown ? starred.includes(shown) : isStarred(job);
  toggle.setAttribute('aria-pressed', some ? 'mixed' : String(chosen));
  toggle.title = some ? `${starred.length} of ${job.outputs.length} starred (s)` : 'Star (s)';
  toggle.textContent = chosen ? '★' : '☆';
  toggle.setAttribute('aria-label', `Star ${shown ? starOf(job, shown) : job.name}`);
}

function starButton(job) {
  const toggle = el('button', { type: 'button', class: 'star', 'data-star': job.index, onclick: () => star(job) });
  markStar(toggle, job);
  return toggle;
}

// In the page of a job: of the output that is shown there.
function shownStar(job) {
  const toggle = el('button', { type: 'button', class: 'star', 'data-star': job.index, 'data-shown': true, onclick: () => star(job, job.outputs[page.at]) });
  markStar(toggle, job);
  return toggle;
}

// What the toolbar has of them, once there are any: the filter, and the way out of the page.
function starTools() {
  return [button('Save picks', showPicks, { id: 'picks-open', 'aria-haspopup': 'dialog' })];
}

function updateStarTools() {
  byId('picks-open').hidden = !page.stars.size;
}

// All of them, in manifest order, whatever the filter leaves.
function starredJobs() {
  return page.model.jobs.filter(isStarred);
}

function starredFiles() {
  return page.shown.flatMap(starredOutputs).map((output) => output.path);
}
