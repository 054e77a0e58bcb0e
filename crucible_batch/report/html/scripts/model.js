// The report as the page needs it: jobs with their text to search, facets with their values, and what a filter leaves.
const OWN_AXES = { '·job': 'job', '·repeat': 'repeat', '·workflow': 'workflow', '·source': 'source', '·stage': 'stage' };
const ORDER = ['failed', 'unknown', 'blocked', 'pending', 'succeeded'];

function buildModel(data) {
  const jobs = data.jobs;
  const axes = new Map();
  const workflows = new Set();
  const facets = facetsOf(jobs);
  const relations = relate(jobs);
  const model = { data, jobs, ...relations, axes, own: null, labels: facets.labels, photos: facets.photos, workflows, stages: new Set(), takes: new Set(), checks: new Set(), orders: new Map() };
  const stageOf = stageNamer(data, relations.named);
  jobs.forEach((job, index) => {
    job.index = index;
    job.version = 0;
    job.facets = facets.of(job);
    job.stage = stageOf(job);
    workflows.add(job.workflow_id);
    if (takeOf(job)) model.takes.add(takeOf(job));
    for (const check of checksOf(job)) model.checks.add(check);
    if (job.stage !== undefined) model.stages.add(job.stage);
    for (const axis in job.facets) note(axes, axis, job.facets[axis]);
  });
  model.facets = filtersOf(model);
  return model;
}

// Where jobs stand in the grid, which most visits don't need.
function placeJobs(model) {
  if (model.own) return;
  model.own = new Map();
  const names = new Set(model.jobs.map((job) => job.name));
  for (const job of model.jobs) {
    job.places = { ...job.facets, '·job': baseName(job, names), '·repeat': String(job.repeat), '·workflow': job.workflow_id, ...stagePlaces(job, model) };
    for (const axis of Object.keys(OWN_AXES)) if (job.places[axis] !== undefined) note(model.own, axis, job.places[axis]);
  }
}

// What is searched of a job, except what people have written: in lower case, and made when it is first needed.
function textOf(job) {
  if (job.text === undefined) {
    const { code, message, request_id: request } = job.error ?? {};
    const words = [job.name, job.source?.name, job.prompt, job.job_id, code, message, request];
    for (const [name, value] of job.params) if (value !== job.prompt) words.push(name, value);
    for (const column in job.row) if (job.row[column] !== job.prompt) words.push(job.row[column]);
    job.text = words.filter(Boolean).join('\n').toLowerCase();
  }
  return job.text;
}

// Makes the texts while the browser has nothing else to do, so that the first search is as fast as the next.
function prepareSearch(model, from = 0) {
  requestIdle((isTimeLeft) => {
    let at = from;
    while (at < model.jobs.length && isTimeLeft()) textOf(model.jobs[at++]);
    if (at < model.jobs.length && page.model === model) prepareSearch(model, at);
  });
}

function requestIdle(task) {
  if (globalThis.requestIdleCallback) requestIdleCallback((deadline) => task(() => deadline.timeRemaining() > 2));
  else setTimeout(() => { const end = performance.now() + 8; task(() => performance.now() < end); }, 50);
}

// Updates a job in place if anything changed, so that references to it stay valid.
function renewJob(job, fresh) {
  const { index, places, facets, stage, version, text, caption, ...known } = job;
  if (JSON.stringify(known) === JSON.stringify(fresh)) return;
  for (const key of Object.keys(job)) delete job[key];
  Object.assign(job, fresh, { index, places, facets, stage, version: version + 1 });
  marksCache.delete(job);
  if (takeOf(job)) page.model.takes.add(takeOf(job));
  for (const check of checksOf(job)) page.model.checks.add(check);
  page.model.orders.clear();
}

function note(axes, axis, value) {
  if (!axes.has(axis)) axes.set(axis, new Set());
  axes.get(axis).add(value);
}

// A job's name without the values of its axes and without its repeat: what a row of the grid has in common.
function baseName(job, names) {
  let base = job.name;
  const repeat = `-${job.repeat}`;
  if (base.endsWith(repeat)) {
    const stem = base.slice(0, -repeat.length);
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

// -- filters -----------------------------------------------------------------------------------------------------------

// The filters of a page. `of` returns the values that a job has: one, an array of several, or undefined. A job passes if
// it has one of the chosen values.
function filtersOf(model) {
  const filters = [
    { key: 'state', of: (job) => job.status, chosen: (state) => state.states },
    { key: 'mark', of: (job) => marksOf(job).marks, chosen: (state) => state.marks },
    { key: 'rating', of: (job) => marksOf(job).ratings, chosen: (state) => (state.rating ? new Set([state.rating]) : NOTHING) },
    { key: 'stage', of: (job) => job.stage, values: model.stages },
    { key: 'workflow', of: (job) => job.workflow_id, values: model.workflows },
    { key: 'check', of: checksOf, values: model.checks },
    { key: 'take', of: takeOf, values: model.takes },
  ];
  for (const filter of filters) filter.chosen ??= (state) => state[filter.key];
  for (const [axis, values] of model.axes) {
    filters.push({ key: `axis.${axis}`, axis, of: (job) => job.facets[axis], values, chosen: (state) => state.axes.get(axis) ?? NOTHING });
  }
  return filters;
}

const NOTHING = new Set();
const NO_CHECKS = [];

// What checks have found on the outputs of a job that count.
function checksOf(job) {
  let found = NO_CHECKS;
  for (const output of job.outputs) {
    for (const { check, verdict } of output.checks ?? NO_CHECKS) {
      const value = verdict === 'unchecked' ? UNCHECKED : check;
      if (!found.includes(value)) found = [...found, value];
    }
  }
  return found;
}

const UNCHECKED = 'not decided';
const marksCache = new Map(); // by job: { marks, ratings, rating }, since keys of marks take time to make

// Most pages have no marks at all.
const UNMARKED = { marks: ['unmarked'], rating: 0, ratings: [] };
const NO_PICTURE = { marks: [], rating: 0, ratings: [] };

function marksOf(job) {
  if (!job.outputs.length) return NO_PICTURE;
  if (!marks.own.size && !marks.saved.size && !job.outputs.some(({ rejected }) => rejected !== undefined)) return UNMARKED;
  let known = marksCache.get(job);
  if (!known) {
    const rating = topRating(job);
    known = { marks: Object.keys(MARK_WORDS).filter((mark) => (mark === 'unmarked' ? isUnmarked(job) : hasMark(job, mark))), rating, ratings: Array.from({ length: rating }, (_, at) => at + 1) };
    marksCache.set(job, known);
  }
  return known;
}

// What a filter leaves, in the order that is shown (what failed first), and for each facet how many jobs each of its
// values would leave. A job that only one facet leaves out counts in that facet.
function sift(model, state) {
  const facets = model.facets.map((facet) => ({ ...facet, chosen: facet.chosen(state), counts: new Map() }));
  const buckets = new Map(ORDER.map((status) => [status, []]));
  const { words } = state;
  for (const job of ordered(model, state.sort)) {
    if (words.length && !hasWords(job, words)) continue;
    let missed = null;
    let isOut = false;
    for (const facet of facets) {
      if (!facet.chosen.size || hasAny(facet.of(job), facet.chosen)) continue;
      isOut = missed !== null;
      if (isOut) break;
      missed = facet;
    }
    if (isOut) continue;
    if (missed) {
      countValues(missed, job);
      continue;
    }
    buckets.get(job.status).push(job);
    for (const facet of facets) countValues(facet, job);
  }
  return { shown: [].concat(...buckets.values()), counts: new Map(facets.map(({ key, counts }) => [key, counts])) };
}

function hasAny(values, chosen) {
  if (!Array.isArray(values)) return chosen.has(values);
  for (const value of values) if (chosen.has(value)) return true;
  return false;
}

function countValues({ of, counts }, job) {
  const values = of(job);
  if (values === undefined) return;
  if (!Array.isArray(values)) counts.set(values, (counts.get(values) ?? 0) + 1);
  else for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
}

// Each word is in the job, in its note, or in the reason why it is rejected.
function hasWords(job, words) {
  const text = textOf(job);
  const missing = words.filter((word) => !text.includes(word));
  if (!missing.length) return true;
  const own = [noteText(job), ...jobReasons(job)].join('\n').toLowerCase();
  return missing.every((word) => own.includes(word));
}

// All jobs in the chosen order. Of equal ones, the first in the manifest is first.
function ordered(model, sort) {
  if (sort === 'manifest') return model.jobs;
  if (!model.orders.has(sort)) {
    const names = new Intl.Collator('en', { numeric: true });
    const keys = { newest: savedAt, rating: (job) => marksOf(job).rating, credits: (job) => Number(job.credits) };
    const values = keys[sort] ? model.jobs.map(keys[sort]) : null;
    const compare = values ? (a, b) => values[b.index] - values[a.index] : (a, b) => names.compare(a.name, b.name);
    model.orders.set(sort, [...model.jobs].sort((a, b) => compare(a, b) || a.index - b.index));
  }
  return model.orders.get(sort);
}

function savedAt(job) {
  return Math.max(0, ...job.outputs.map((output) => output.saved_at));
}

function isFiltered(state) {
  return Boolean(state.q || state.states.size || state.marks.size || state.rating || state.axes.size || MANY.some((key) => state[key].size));
}
