// The rejected pictures as lines of rejects.txt, and as the commands that write them; and the buttons of the toolbar for
// what leaves the page.

const MOST_COMMANDS = 5;

// All pictures that are rejected, in manifest order: outputs, and earlier takes, whose lines stay in the file.
function rejectedPairs() {
  const concerned = page.model.jobs.filter((job) => job.takes?.length || marksOf(job).marks.includes('rejected'));
  return concerned.flatMap((job) => [...job.takes ?? [], ...job.outputs].filter((output) => markOf(job, output) === 'rejected').map((output) => [job, output]));
}

// Those of them that the next run buys again.
function rejectedNow() {
  return rejectedPairs().filter(([job, output]) => job.outputs.includes(output));
}

// The earlier takes whose rejection was taken back.
function restoredPairs() {
  return page.model.jobs.flatMap((job) => (job.takes ?? []).filter((take) => take.rejected !== undefined && markOf(job, take) !== 'rejected').map((take) => [job, take]));
}

function rejectsText() {
  return rejectedPairs().filter(([job]) => isPick(job.name)).map(([job, output]) => `${rejectionOf(job, output)}\n`).join('');
}

function rejectionOf(job, output) {
  const reason = reasonOf(job, output).replace(/\s+/gu, ' ').trim();
  return [`${job.name}/${output.index}`, `g${output.generation ?? 0}`, digitsOf(output), reason].filter(Boolean).join(' ');
}

// A command for each reason.
function rejectCommands(pairs) {
  const reasons = new Map();
  for (const pair of pairs) reasons.set(reasonOf(...pair), [...(reasons.get(reasonOf(...pair)) ?? []), pair]);
  return [...reasons].map(([reason, alike]) => rejectCommand(alike, ...(reason ? ['--reason', shellWord(reason)] : [])));
}

function rejectCommand(pairs, ...options) {
  const names = pairs.map(([job, output]) => `${job.name}/${output.index}`);
  return [page.model.data.reject, ...new Set(names.map(shellWord)), ...options].join(' ');
}

function showRejects() {
  const body = el('div', {});
  openDialog('rejects', 'Rejections', body);
  const show = () => {
    body.replaceChildren(...rejectsContent(show));
    (body.querySelector('button') ?? byId('rejects').querySelector('.close')).focus();
  };
  show();
}

function rejectsContent(again) {
  const named = rejectedPairs().filter(([job]) => isPick(job.name));
  const fresh = named.filter(([job, output]) => job.outputs.includes(output));
  const restored = restoredPairs().filter(([job]) => isPick(job.name));
  // `--remove` takes all rejections of an output back.
  const removable = restored.filter(([job, take]) => !named.some(([other, output]) => other === job && output.index === take.index));
  const titles = [fresh.length || !restored.length ? `${plural(fresh.length, 'picture')} rejected` : null, restored.length ? `${plural(restored.length, 'rejection')} taken back` : null];
  const commands = [...rejectCommands(fresh), ...(removable.length ? [rejectCommand(removable, '--remove')] : [])];
  const fits = commands.length <= MOST_COMMANDS && commands.every(({ length }) => length <= MOST_COMMAND) && removable.length === restored.length;
  return [
    el('h2', {}, titles.filter(Boolean).join(', ')),
    el('div', { class: 'kins picked' }, ...fresh.slice(0, MOST_MADE).map(([job, output]) => rejectTile(job, output, again))),
    fresh.length > MOST_MADE ? el('p', { class: 'dim' }, `and ${(fresh.length - MOST_MADE).toLocaleString('en')} more`) : null,
    ...(fresh.length || restored.length ? rejectWays(fits ? commands : [], [...fresh, ...removable]) : []),
  ].filter(Boolean);
}

function rejectTile(job, output, again) {
  const label = nameOf(job, output);
  const reason = reasonOf(job, output);
  return el('button', { type: 'button', class: 'tile', 'aria-label': `Keep ${label}`, title: `Keep ${label}`, onclick: () => {
    setMarks([[job, output]], { mark: null });
    again();
  } }, smallPicture(smallOf(job, output)), el('span', { class: 'name' }, el('bdi', {}, label)), reason ? el('span', { class: 'why', dir: 'auto', title: reason }, reason) : null);
}

// Whether the file of rejections has all that is rejected here, and nothing else of these jobs.
function areSaved(pairs) {
  return marks.isKnown && pairs.every(([job, output]) => marks.own.get(outputKey(job, output))?.mark === undefined);
}

// The commands, if they can do it; and the file.
function rejectWays(commands, changed) {
  const name = (text) => el('span', { class: 'mono' }, text);
  const isActive = Boolean(page.model.data.live?.running);
  const next = [isActive ? el('p', { class: 'dim' }, 'A run is active. What is rejected now is bought again by the next run.') : null, el('p', { class: 'dim' }, 'Run the manifest again: it buys what has no other picture, within its budget.'), commandLine(page.model.data.again)];
  if (areSaved(changed)) return [el('p', { class: 'dim' }, 'Saved with the run.'), ...next];
  return [
    ...(commands.length ? [el('p', { class: 'dim' }, 'In a terminal, change the rejections of the run:')] : []),
    ...commands.map(commandLine),
    el('p', { class: 'dim' }, commands.length ? 'Or save' : 'Save', ' the lines, with those of earlier takes, as the file that ', name('rejects:'), ' names in the manifest, else as ', name('rejects.txt'), ' in the folder of the run:'),
    el('div', { class: 'actions' }, button('Save rejects.txt', () => download('rejects.txt', rejectsText(), 'text/plain'), { class: 'quiet save' }), copyButton('Copy the lines', rejectsText)),
    ...next,
  ];
}

// -- in the toolbar, once there is something to take out of the page ---------------------------------------------------

function choiceTools() {
  return [
    button('Save picks', showPicks, { id: 'picks-open', 'aria-haspopup': 'dialog' }),
    button('Rejections', showRejects, { id: 'rejects-open', 'aria-haspopup': 'dialog' }),
  ];
}

function updateChoiceTools() {
  byId('picks-open').hidden = !pickedJobs().length;
  byId('rejects-open').hidden = !restoredPairs().length && !rejectedNow().length;
}
