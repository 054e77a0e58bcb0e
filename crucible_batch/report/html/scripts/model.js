// The report as the page needs it: jobs with their text to search, axes with their values, and what a filter leaves.
const OWN_AXES = { '·job': 'job', '·take': 'take', '·workflow': 'workflow', '·source': 'source', '·stage': 'stage' };
const ORDER = ['failed', 'unknown', 'blocked', 'pending', 'succeeded'];

function buildModel(data) {
  const jobs = data.jobs;
  const axes = new Map();
  const workflows = new Map();
  const names = new Set(jobs.map((job) => job.name));
  const facets = facetsOf(jobs);
  const relations = relate(jobs);
  jobs.forEach((job, index) => {
    job.index = index;
    job.version = 0;
    job.text = textOf(job);
    job.facets = facets.of(job);
    workflows.set(job.workflow_id, (workflows.get(job.workflow_id) ?? 0) + 1);
    for (const [axis, value] of Object.entries(job.facets)) note(axes, axis, value);
  });
  const own = new Map();
  for (const job of jobs) {
    job.places = { ...job.facets, '·job': baseName(job, names), '·take': String(job.repeat), '·workflow': job.workflow_id, ...stagePlaces(job, relations) };
    for (const axis of Object.keys(OWN_AXES)) if (job.places[axis] !== undefined) note(own, axis, job.places[axis]);
  }
  return { data, jobs, ...relations, axes, own, labels: facets.labels, photos: facets.photos, workflows: [...workflows.keys()] };
}

function textOf(job) {
  const { code, message, request_id: request } = job.error ?? {};
  return [job.name, job.source?.name, job.prompt, job.job_id, code, message, request, ...job.params.flat(), ...Object.values(job.row)].filter(Boolean).join('\n').toLowerCase();
}

// Updates a job in place if anything changed, so that references to it stay valid.
function renewJob(job, fresh) {
  const { index, places, facets, version, text, ...known } = job;
  if (JSON.stringify(known) === JSON.stringify(fresh)) return;
  for (const key of Object.keys(job)) delete job[key];
  Object.assign(job, fresh, { index, places, facets, version: version + 1 });
  job.text = textOf(job);
}

function note(axes, axis, value) {
  if (!axes.has(axis)) axes.set(axis, new Set());
  axes.get(axis).add(value);
}

// A job's name without the values of its axes and without its take: what a row of the grid has in common.
function baseName(job, names) {
  let base = job.name;
  const take = `-${job.repeat}`;
  if (base.endsWith(take)) {
    const stem = base.slice(0, -take.length);
    const sibling = `${stem}-${job.repeat === 1 ? 2 : 1}`;
    if (names.has(sibling)) base = stem;
  }
  for (const value of Object.values(job.axes)) {
    const slug = value.toLowerCase().replace(/[^\p{L}\p{N}.]+/gu, '-').replace(/^-+|-+$/g, '');
    const at = base.toLowerCase().lastIndexOf(`-${slug}`);
    if (slug && at > 0) base = base.slice(0, at) + base.slice(at + slug.length + 1);
  }
  return base;
}

function axisLabel(axis) {
  return OWN_AXES[axis] ?? page.model.labels.get(axis) ?? axis;
}

// Whether a job passes; `except` leaves one facet out, to count what choosing it otherwise would show.
function passes(job, filter, except) {
  if (except !== 'starred' && filter.starred && !hasMark(job, 'picked')) return false;
  if (except !== 'state' && filter.states.size && !filter.states.has(job.status)) return false;
  if (except !== 'workflow' && filter.workflow && job.workflow_id !== filter.workflow) return false;
  for (const [axis, value] of Object.entries(filter.axes)) {
    if (except !== `axis.${axis}` && value && job.facets[axis] !== value) return false;
  }
  return filter.words.every((word) => job.text.includes(word));
}

function count(model, filter, except, keyOf) {
  const counts = new Map();
  for (const job of model.jobs) {
    if (!passes(job, filter, except)) continue;
    const key = keyOf(job);
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

// The jobs that are shown, what failed first, else in manifest order, or the pictures saved last first.
function found(model, filter) {
  const left = model.jobs.filter((job) => passes(job, filter));
  const newest = (a, b) => (page.newestFirst ? savedAt(b) - savedAt(a) : 0);
  return left.sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status) || newest(a, b) || a.index - b.index);
}

function savedAt(job) {
  return Math.max(0, ...job.outputs.map((output) => output.saved_at));
}
