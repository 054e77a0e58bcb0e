// The picked pictures as a picks file, and as a command that writes one.
const MOST_COMMAND = 4000; // letters: terminals in line mode take 4,095

// The lines of a picks file, in manifest order.
function picksOf(jobs) {
  return jobs.filter(({ name }) => isPick(name)).flatMap((job) => pickedOutputs(job).map((output) => nameOf(job, output)));
}

// Whether a line of a picks file, and a word of a command, are read as this name again. Names from a manifest are.
function isPick(name) {
  return !/[/\p{Cc}\p{Cs}\u2028\u2029]/u.test(name) && name === name.trim() && !/^[#-]|^$/.test(name);
}

function pickedOutputs(job) {
  return job.outputs.filter((output) => markOf(job, output) === 'picked');
}

// All of them, in manifest order, whatever the filter leaves.
function pickedJobs() {
  return page.model.jobs.filter((job) => marksOf(job).marks.includes('picked'));
}

// An output as a picks file has it, or a job without outputs by its name.
function nameOf(job, output) {
  return output ? outputName(job, output.index) : job.name;
}

function picksText(jobs = pickedJobs()) {
  return picksOf(jobs).map((pick) => `${pick}\n`).join('');
}

function pickCommand(picks, file) {
  const choice = pickFiles().size > 1 ? ['--file', shellWord(file)] : [];
  return [page.model.data.pick, ...picks.map(shellWord), ...choice].join(' ');
}

// The picks files of the manifest, each with the entries that read it.
function pickFiles() {
  const files = new Map();
  for (const entry of page.model.data.picks) files.set(entry.pick, [...(files.get(entry.pick) ?? []), entry]);
  return files;
}

// As Python's shlex.quote does.
function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

function showPicks() {
  const body = el('div', {});
  const dialog = openDialog('picks', 'Picks', body);
  let chosen = null;
  const show = () => {
    const targets = pickTargets();
    const target = targets.find(({ label }) => label === chosen) ?? targets[0];
    body.replaceChildren(...picksContent(targets, target, (label) => { chosen = label; show(); }, show));
  };
  show();
  dialog.querySelector('.save')?.focus();
}

// What the pictures may be picked for: the picks files of the manifest that may name them. Of the others, those of
// each stage are apart, since a picks file names jobs of one `from`; `isRead` is false for them.
function pickTargets() {
  const picked = pickedJobs();
  const read = [...pickFiles()].map(([file, entries]) => ({
    label: entries.map(({ name }) => name).join(', '),
    file,
    isRead: true,
    jobs: picked.filter((job) => entries.some(({ sources, before }) => job.index < before && globbed(sources).test(job.name))),
  }));
  const taken = new Set(read.flatMap(({ jobs }) => jobs));
  const rest = new Map();
  for (const job of picked.filter((one) => !taken.has(one))) {
    const label = job.stage ?? 'Pictures';
    if (!rest.has(label)) rest.set(label, []);
    rest.get(label).push(job);
  }
  const others = [...rest].sort(([one], [other]) => one.localeCompare(other, 'en', { numeric: true })).map(([label, jobs]) => ({ label, file: 'picks.txt', isRead: false, jobs }));
  return [...read.filter(({ jobs }) => jobs.length), ...others];
}

// A pattern of names as Python's fnmatch reads it.
function globbed(pattern) {
  const parts = pattern.replace(/\[!?\]?[^\]]*\]|[^]/gu, (part) => {
    if (part === '*') return '[^]*';
    if (part === '?') return '[^]';
    if (part.length < 3 || part[0] !== '[') return part.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    const inner = part.slice(part[1] === '!' ? 2 : 1, -1).replace(/[\\\]^[]/g, '\\$&');
    return inner ? `[${part[1] === '!' ? '^' : ''}${inner}]` : `\\[!\\]`;
  });
  try {
    return new RegExp(`^${parts}$`, 'u');
  } catch {
    return /[^\s\S]/; // a range that is reversed matches nothing
  }
}

function picksContent(targets, target, choose, again) {
  if (!target) return [el('h2', {}, 'No picks')];
  const picks = picksOf(target.jobs);
  const outputs = target.jobs.flatMap((job) => pickedOutputs(job).map((output) => [job, output]));
  const chips = targets.map(({ label, jobs }) => button('', () => choose(label), { class: 'chip', 'aria-pressed': String(label === target.label) }));
  chips.forEach((chip, at) => chip.append(el('bdi', {}, targets[at].label), el('b', {}, String(targets[at].jobs.length))));
  return [
    el('h2', {}, plural(picks.length, 'pick')),
    targets.length > 1 ? el('div', { class: 'chips' }, ...chips) : null,
    el('div', { class: 'kins picked' }, ...outputs.slice(0, MOST_MADE).map(([job, output]) => pickTile(job, output, again))),
    outputs.length > MOST_MADE ? el('p', { class: 'dim' }, `and ${(outputs.length - MOST_MADE).toLocaleString('en')} more`) : null,
    picks.length < outputs.length ? el('p', { class: 'dim' }, `${plural(outputs.length - picks.length, 'picture')} left out, whose names a picks file cannot contain.`) : null,
    ...(picks.length ? picksWays(target, picks) : []),
  ].filter(Boolean);
}

function pickTile(job, output, again) {
  const label = nameOf(job, output);
  return el('button', { type: 'button', class: 'tile', 'aria-label': `Remove ${label}`, title: `Remove ${label}`, onclick: () => {
    setMarks([[job, output]], { mark: null });
    again();
    (document.querySelector('#picks .tile') ?? document.querySelector('#picks .close'))?.focus();
  } }, smallPicture(smallOf(job, output)), el('span', { class: 'name' }, el('bdi', {}, label)));
}

// The file; and the command, where the manifest has the picks file.
function picksWays({ file, jobs, isRead }, picks) {
  const { data } = page.model;
  const command = pickCommand(picks, file);
  const hasStages = isRead || page.model.made.size;
  const fits = isRead && command.length <= MOST_COMMAND;
  const name = file.split('/').at(-1);
  return [
    el('div', { class: 'actions' }, button(`Save ${name}`, () => download(name, picksText(jobs), 'text/plain'), { class: 'quiet save' }), copyButton('Copy the lines', () => picksText(jobs))),
    el('p', { class: 'dim' }, 'Save the file as ', el('bdi', { class: 'mono' }, file), ' beside the manifest, ', el('bdi', { class: 'mono' }, data.manifest.path), ', for its entry with ', el('bdi', { class: 'mono' }, `pick: ${file}`), fits ? '. Or add the picks in a terminal:' : '.'),
    fits ? commandLine(command) : null,
    ...(hasStages ? [el('p', { class: 'dim' }, 'Then run the manifest again; only what is new is paid for:'), commandLine(data.again)] : []),
  ];
}
