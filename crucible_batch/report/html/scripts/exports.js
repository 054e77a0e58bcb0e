// What leaves the page as a file: picks.txt, rejects.txt, the picked pictures, and all rows.
function exportMenu() {
  const item = (id, text, act) => button(text, act, { id, class: null });
  const menu = el('details', { class: 'menu', id: 'export' }, el('summary', {}, 'Export'), el('div', { class: 'items' },
    item('export-picks', '', () => download('picks.txt', picksText(), 'text/plain')),
    item('export-rejects', '', () => download('rejects.txt', rejectsText(), 'text/plain')),
    item('export-zip', '', exportPictures),
    item('export-paths', '', async () => {
      const done = await copyText(pickedFiles().map((output) => output.path).join('\n'));
      byId('export-state').textContent = done ? 'Copied.' : 'The browser does not allow copying.';
    }),
    item('export-csv', 'All rows (.csv)', () => download(`${page.model.data.manifest.name}.csv`, rowsText(page.model.jobs), 'text/csv')),
    el('p', { class: 'dim', id: 'export-state', role: 'status' })));
  menu.firstChild.addEventListener('click', fillExports); // before it opens
  return menu;
}

// The counts of the menu, while it is open.
function updateExports() {
  if (byId('export').open) fillExports();
}

function fillExports() {
  const picks = picksOf(pickedJobs()).length;
  const rejections = rejectedPairs().length;
  const pictures = pickedFiles().length;
  byId('export-picks').textContent = `Names of ${picks.toLocaleString('en')} picked (picks.txt)`;
  byId('export-rejects').textContent = `${rejections.toLocaleString('en')} rejected (rejects.txt)`;
  byId('export-zip').textContent = `Pictures of ${pictures.toLocaleString('en')} picked (.zip)`;
  byId('export-paths').textContent = `Copy the paths of ${pictures.toLocaleString('en')} picked`;
  byId('export-paths').disabled = !pictures;
  byId('export-picks').disabled = !picks;
  byId('export-rejects').disabled = !rejections;
  byId('export-zip').disabled = !pictures;
}

// The outputs that are picked, in manifest order.
function pickedFiles(jobs = pickedJobs()) {
  return jobs.flatMap(pickedOutputs);
}

function download(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: `${type};charset=utf-8` }));
  el('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const CSV_COLUMNS = [
  ['name', (job) => job.name], ['status', (job) => job.status], ['workflow', (job) => job.workflow_id], ['prompt', (job) => job.prompt],
  ['repeat', (job) => job.repeat], ['inputs', (job) => job.inputs.map(([, name]) => name).join('; ')], ['credits', (job) => job.credits],
  ['outputs', (job) => job.outputs.map((output) => output.path).join('; ')], ['error', (job) => job.error?.code], ['message', (job) => job.error?.message],
  ['job_id', (job) => job.job_id], ['mark', (job) => ofOutputs(job, (output) => markOf(job, output) ?? '')], ['reason', (job) => ofOutputs(job, (output) => reasonOf(job, output))],
  ['rating', (job) => ofOutputs(job, (output) => ratingOf(job, output) || '')], ['note', noteText],
  ['source', (job) => sourceOf(job)?.label],
];

// A value of each output; empty if there are none.
function ofOutputs(job, valueOf) {
  const values = job.outputs.map(valueOf);
  return values.some((value) => value !== '') ? values.join('; ') : '';
}

// With the byte order mark by which spreadsheets recognise UTF-8. Axes and table columns are named as in templates of `name`.
function rowsText(jobs) {
  const axes = [...new Set(jobs.flatMap((job) => Object.keys(job.axes)))];
  const columns = [...new Set(jobs.flatMap((job) => Object.keys(job.row)))];
  const head = [...CSV_COLUMNS.map(([name]) => name), ...axes.map((axis) => `axis.${axis}`), ...columns.map((name) => `row.${name}`)];
  const lines = jobs.map((job) => [...CSV_COLUMNS.map(([, of]) => of(job)), ...axes.map((axis) => job.axes[axis]), ...columns.map((name) => job.row[name])]);
  return `\ufeff${[head, ...lines].map((line) => `${line.map(csvCell).join(',')}\r\n`).join('')}`;
}

// A spreadsheet takes a cell that begins like this for a formula, also within quotes: an apostrophe makes it text.
const FORMULA = /^[\s\p{Cc}\p{Cf}]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|^[\t\r\n]/u;
const NUMBER = /^-?\d+(\.\d+)?$/;

function csvCell(value) {
  const text = String(value ?? '');
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\r\n']|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// A page that is served asks the viewer for the files. A page on a disk may not read what lies beside it: the browser
// asks for the folder.
async function exportPictures() {
  if (page.model.data.live) await zipPicked(fetched);
  else askForFolder();
}

async function fetched(output) {
  const answer = await fetch(fileAddress(output));
  return answer.ok ? answer.blob() : undefined;
}

function askForFolder() {
  const chosen = el('input', { type: 'file', id: 'folder', webkitdirectory: true, multiple: true, onchange: async () => {
    const files = new Map([...chosen.files].map((file) => [file.webkitRelativePath.split('/').slice(1).join('/'), file]));
    dialog.close();
    await zipPicked(async (output) => files.get(output.path));
  } });
  const dialog = openDialog('folder-choice', 'Picked pictures', el('div', {}, el('h2', {}, 'Picked pictures'),
    el('p', {}, 'Browsers do not allow a local page to read the files beside it. Select the folder of this page to create the archive from it; nothing is uploaded, although the browser may call it an upload.'),
    el('label', {}, 'Folder with report.html', chosen),
    el('p', { class: 'dim' }, 'Or copy the paths of the files, relative to that folder:'), copyButton('Copy paths', () => pickedFiles().map((output) => output.path).join('\n'))));
}

// Files that are not there, or of another size than when they were saved, are left out and named.
async function zipPicked(fileOf) {
  const state = byId('export-state');
  const wanted = pickedFiles();
  const found = [];
  const missing = [];
  try {
    for (const [at, output] of wanted.entries()) {
      state.textContent = `Reading ${at + 1} of ${wanted.length}`;
      const blob = isPlainPath(output.path) ? await fileOf(output) : undefined;
      if (blob?.size === output.byte_size) found.push([output.path, blob]);
      else missing.push(output.path);
    }
    if (found.length) download(`${page.model.data.manifest.name}-picked.zip`, await zipOf(found));
    state.textContent = [`${plural(found.length, 'picture')} in the archive.`, missing.length ? `Not found, or changed: ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ` and ${missing.length - 3} more` : ''}.` : ''].join(' ');
  } catch (error) {
    state.textContent = `The archive can’t be made: ${error.message}.`;
  }
  byId('export').open = true;
}

// Whether a path stays in the folder where an archive is unpacked, on every system.
function isPlainPath(path) {
  return !/^\/|\\|^[a-z]:|\p{Cc}/iu.test(path) && path.split('/').every((part) => part && part !== '.' && part !== '..');
}
