// Stages: the output from which a job was made (its source), and what was made of a job.
function relate(jobs) {
  const named = new Map(jobs.map((job) => [job.name, job]));
  const made = new Map();
  for (const job of jobs) {
    if (!job.source || !named.has(job.source.name)) continue;
    if (!made.has(job.source.name)) made.set(job.source.name, []);
    made.get(job.source.name).push(job);
  }
  const outputs = new Map(); // small pictures by digest
  for (const job of jobs) job.outputs.forEach(({ sha256 }, at) => outputs.set(sha256, () => job.thumbnails[at]));
  return { named, made, outputs };
}

function madeOf(job) {
  return page.model.made.get(job.name) ?? [];
}

// The job and the output that a job was made from, with its small picture. `job` is undefined if the report has no such
// job; `output` if it has no such output, or another one than was used.
function sourceOf(job) {
  if (!job.source) return null;
  const from = page.model.named.get(job.source.name);
  const at = from ? from.outputs.findIndex((output) => output.index === job.source.index && (!job.source.sha256 || output.sha256 === job.source.sha256)) : -1;
  const label = from ? outputName(from, job.source.index) : job.source.name;
  return { job: from, at, output: from?.outputs[at], small: from?.thumbnails[at]?.[0], label };
}

// An output by name, as in a picks file: with its number if the job has several.
function outputName(job, index) {
  return job.outputs.length > 1 ? `${job.name}/${index}` : job.name;
}

const MOST_STAGES = 50; // a report that was changed by hand may have a circle

// The jobs from which a job was made, that of the first stage first, and the job itself.
function originsOf(job, named) {
  const chain = [job];
  while (chain[0].source && named.has(chain[0].source.name) && chain.length < MOST_STAGES) chain.unshift(named.get(chain[0].source.name));
  return chain;
}

// Where a job stands in the grid of sources and stages: in no row if nothing was made of it, nor it of anything.
function stagePlaces(job, { named, made }) {
  const chain = originsOf(job, named);
  const stage = { '·stage': chain.length > 1 ? `${chain.length} · ${job.stage}` : '1' };
  return chain.length > 1 || made.has(job.name) ? { '·source': chain[0].name, ...stage } : stage;
}

// The output of a job that later stages use: its number in the job, 0 if they use several.
function usedOutput(job) {
  const used = new Set(madeOf(job).map(({ source }) => source.index));
  return used.size === 1 ? Math.max(0, job.outputs.findIndex(({ index }) => used.has(index))) : 0;
}

// The state of a job, and of those that are shown with it.
function familyVersion(job) {
  return [job, sourceOf(job)?.job, ...madeOf(job)].map((one) => one?.version).join();
}

function openJob(job, options, ...content) {
  return el('button', { type: 'button', onclick: () => go({ job: job.index }, true), ...options }, ...content);
}

function smallPicture(source) {
  return source ? el('img', { src: source, alt: '', loading: 'lazy', decoding: 'async' }) : el('span', { class: 'blank', 'aria-hidden': 'true' });
}

// The lines of a card: the source, which opens, and how many pictures were made of this one.
function familyLines(job) {
  const lines = [];
  const source = sourceOf(job);
  if (source?.job) lines.push(openJob(source.job, { class: 'kin', title: `Open the source, ${source.label}` }, smallPicture(source.small), el('span', {}, 'from ', el('bdi', {}, source.label))));
  else if (source) lines.push(el('p', { class: 'kin' }, el('span', {}, 'from ', el('bdi', {}, source.label))));
  const made = madeOf(job);
  if (made.length === 1) lines.push(openJob(made[0], { class: 'kin', title: `Open ${made[0].name}` }, el('span', {}, '→ ', el('bdi', {}, made[0].name))));
  if (made.length > 1) lines.push(openJob(job, { class: 'kin', title: 'Open the list' }, el('span', {}, `→ ${made.length.toLocaleString('en')} made from this`)));
  return lines;
}

// In words, where a card can be one button only.
function sourceWords(job) {
  return job.source ? el('span', { class: 'from' }, 'from ', el('bdi', {}, sourceOf(job).label)) : null;
}

const MOST_MADE = 60;

function familyOf(job) {
  const source = sourceOf(job);
  const made = madeOf(job);
  const parts = [];
  if (source) parts.push(part('Made from', el('div', { class: 'kins' }, sourceTile(source)), source.job && !source.output ? el('p', { class: 'dim' }, lackOf(job, source.job)) : null));
  if (made.length) {
    parts.push(part(made.length === 1 ? 'Made from this' : `Made from this: ${plural(made.length, 'job')}`,
      el('div', { class: 'kins' }, ...made.slice(0, MOST_MADE).map((one) => tileOf(one, one.name, one.thumbnails[0]?.[0]))),
      made.length > MOST_MADE ? button(`Show all ${made.length.toLocaleString('en')}`, () => go({ view: 'gallery', q: job.name, job: null }, true)) : null));
  }
  return parts;
}

function sourceTile({ job, label, small }) {
  return job ? tileOf(job, label, small) : el('p', { class: 'dim' }, el('bdi', {}, label), ', which is not in this report');
}

function tileOf(job, label, small) {
  const state = job.status === 'succeeded' ? null : el('span', { class: `state ${job.status}` }, job.error?.code ?? STATES[job.status]);
  return openJob(job, { class: 'tile', 'aria-label': `Open ${label}` }, smallPicture(small), el('span', { class: 'name' }, el('bdi', {}, label)), state);
}

function lackOf(job, from) {
  if (!from.outputs.length) return `There is no picture of it: ${from.error?.code ?? STATES[from.status]}.`;
  return job.source.sha256 ? 'The picture that was used is no longer there.' : 'It has no such picture.';
}
