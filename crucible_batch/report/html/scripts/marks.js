// What people decide about pictures: for each output a mark (picked, or rejected for a reason) and a rating of 0 to 5, for
// each job a note. They are about bytes: another picture under the same name does not have them. The browser keeps them for this
// page, until a page that may save them has done so.
//
// Other scripts read them by markOf, reasonOf, ratingOf, hasMark, isUnmarked, topRating and noteText, and follow them by onMarks.
const NOTE_LETTERS = 1000;
const REASON_LETTERS = 500;
const MOST_RATING = 5;
const UNDO_STEPS = 500;
const marks = {
  saved: new Map(), // by output: { mark, reason, rating }, from the run directory
  savedNotes: new Map(),
  isKnown: false, // whether `saved` has all rejections: then those in the report may be out of date
  problem: null, // why saved marks or rejections can't be shown
  rejectedBytes: new Set(), // `/INDEX DIGITS` of all rejections: a job may have been renamed since
  own: new Map(), // what is not saved yet, as `saved`; a field that is missing is as saved
  ownNotes: new Map(), // '' for a note that is removed
  steps: [],
  followers: [],
};

function setUpMarks() {
  try {
    const kept = JSON.parse(recall(marksKey(), '{}')) ?? {};
    for (const [key, entry] of Object.entries(kept.marks ?? {})) if (isEntry(entry)) marks.own.set(key, entry);
    for (const [name, note] of Object.entries(kept.notes ?? {})) if (typeof note === 'string') marks.ownNotes.set(name, note);
  } catch { /* kept by another program: it is replaced by the next mark */ }
}

function isEntry(entry) {
  const { mark = null, rating = 0, reason = '' } = entry ?? {};
  return typeof reason === 'string' && reason.length <= REASON_LETTERS && [null, 'picked', 'rejected'].includes(mark) && Number.isInteger(rating) && rating >= 0 && rating <= MOST_RATING;
}

function marksKey() {
  return `crucible-marks:${location.pathname}`;
}

function keepMarks() {
  keep(marksKey(), JSON.stringify({ marks: Object.fromEntries(marks.own), notes: Object.fromEntries(marks.ownNotes) }));
}

// What is saved with the run, as it stands in the data of a page.
function takeSaved(data) {
  if (!data.marks) return;
  marks.saved.clear();
  marks.savedNotes.clear();
  noteSaved(data.marks);
}

function noteSaved({ marks: entries = {}, notes = {}, problem = null }) {
  marks.problem = problem;
  marks.isKnown = !problem;
  for (const [key, entry] of Object.entries(entries)) {
    if (entry !== null && isEntry(entry)) marks.saved.set(key, entry);
    else marks.saved.delete(key);
  }
  for (const [name, note] of Object.entries(notes)) marks.savedNotes.set(name, note ?? '');
  marks.rejectedBytes = new Set([...marks.saved].filter(([, { mark }]) => mark === 'rejected').map(([key]) => key.slice(key.lastIndexOf('/'))));
}

// What was saved since, by this page or another one: `isAll` if it is not only what has changed.
function takeSavedChanges(changes, isAll) {
  const before = [new Map(marks.saved), new Map(marks.savedNotes)];
  if (isAll) takeSaved({ marks: changes });
  else noteSaved(changes);
  const keys = differing(before[0], marks.saved).map((key) => key.slice(0, key.lastIndexOf('/')));
  const names = new Set([...keys, ...differing(before[1], marks.savedNotes)]);
  changedMarks([...names].map((name) => page.model.named.get(name)).filter(Boolean));
}

function differing(before, after) {
  return [...new Set([...before.keys(), ...after.keys()])].filter((key) => JSON.stringify(before.get(key)) !== JSON.stringify(after.get(key)));
}

// -- reading them ------------------------------------------------------------------------------------------------------

// An output by its bytes, as the gateway sent them.
function outputKey(job, output) {
  if (!outputKeys.has(output)) outputKeys.set(output, `${job.name}/${output.index} ${digitsOf(output)}`);
  return outputKeys.get(output);
}

const outputKeys = new WeakMap(); // ten thousand of them are asked for with each key that is pressed

function digitsOf(output) {
  return (output.sent ?? output).sha256.slice(0, 12);
}

// 'picked', 'rejected' or null.
function markOf(job, output = job.outputs[0]) {
  if (!output) return null;
  const key = outputKey(job, output);
  const own = marks.own.get(key)?.mark;
  if (own !== undefined) return own;
  if (marks.saved.has(key)) return marks.saved.get(key).mark ?? null;
  if (output.rejected === undefined) return null;
  return !marks.isKnown || marks.rejectedBytes.has(key.slice(key.lastIndexOf('/'))) ? 'rejected' : null;
}

// Why an output is rejected, or ''.
function reasonOf(job, output = job.outputs[0]) {
  if (markOf(job, output) !== 'rejected') return '';
  const key = outputKey(job, output);
  const own = marks.own.get(key);
  if (own?.mark !== undefined) return own.reason ?? '';
  return (marks.saved.has(key) ? marks.saved.get(key).reason : output.rejected) ?? '';
}

// 0 to 5.
function ratingOf(job, output = job.outputs[0]) {
  if (!output) return 0;
  const key = outputKey(job, output);
  return marks.own.get(key)?.rating ?? marks.saved.get(key)?.rating ?? 0;
}

// The note of a job, or ''.
function noteText(job) {
  return marks.ownNotes.get(job.name) ?? marks.savedNotes.get(job.name) ?? '';
}

// Whether a job has an output with this mark.
function hasMark(job, mark) {
  return job.outputs.some((output) => markOf(job, output) === mark);
}

// Whether a job has an output without a mark.
function isUnmarked(job) {
  return hasMark(job, null);
}

// The highest rating of a job's outputs.
function topRating(job) {
  return Math.max(0, ...job.outputs.map((output) => ratingOf(job, output)));
}

// -- changing them -----------------------------------------------------------------------------------------------------

// Calls a function with the set of the jobs whose marks or notes have changed.
function onMarks(follow) {
  marks.followers.push(follow);
}

function changedMarks(jobs) {
  const changed = new Set(jobs);
  for (const follow of marks.followers) follow(changed);
}

// Changes the mark, with its reason, or the rating of outputs: `pairs` are [job, output]. One step for `undoMarks`.
function setMarks(pairs, change) {
  if (!pairs.length) return;
  const before = pairs.map(([job, output]) => [job.name, output, { mark: markOf(job, output), reason: reasonOf(job, output), rating: ratingOf(job, output) }]);
  marks.steps = [...marks.steps.slice(1 - UNDO_STEPS), before];
  for (const [job, output] of pairs) decide(job, output, change);
  keepMarks();
  changedMarks(pairs.map(([job]) => job));
}

// Takes the last change back; returns its first [job, output], or undefined if there is none.
function undoMarks() {
  const before = marks.steps.pop();
  if (!before) return undefined;
  const pairs = before.filter(([name]) => page.model.named.has(name)).map(([name, output, entry]) => [page.model.named.get(name), output, entry]);
  for (const [job, output, entry] of pairs) decide(job, output, entry);
  keepMarks();
  changedMarks(pairs.map(([job]) => job));
  return pairs[0];
}

function decide(job, output, change) {
  const key = outputKey(job, output);
  marks.own.set(key, { ...marks.own.get(key), ...change });
}

function setNote(job, text) {
  const note = [...text.replace(/\p{Cs}/gu, '')].slice(0, NOTE_LETTERS).join(''); // half a letter can't be saved
  marks.ownNotes.set(job.name, note.trim() ? note : '');
  keepMarks();
  changedMarks([job]);
}
