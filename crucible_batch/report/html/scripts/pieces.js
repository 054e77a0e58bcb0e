// What several views are made of: a picture with its place kept free, the pin, a command that can be copied.
function titleOf(job) {
  return job.prompt ? `${job.name}: ${job.prompt}` : job.name;
}

function pictureOf(job, index = 0, alt = titleOf(job)) {
  const [source, width, height] = job.thumbnails[index] ?? [null, 4, 3];
  const frame = el('span', { class: 'picture', css: { '--own': `${width} / ${height}` } });
  if (source) frame.append(el('img', { src: source, alt, loading: 'lazy', decoding: 'async', width, height }));
  else frame.append(el('span', { class: 'missing' }, job.outputs.length ? 'This picture can’t be shown' : 'No picture'));
  if (job.outputs.length > 1) frame.append(el('span', { class: 'badge' }, plural(job.outputs.length, 'picture')));
  if (index === 0) frame.append(...checkBadges(job));
  return frame;
}

const VERDICTS = { flag: 'flagged', reject: 'rejected', fail: 'failed', unchecked: 'not decided' };

// What checks have found on the pictures of a job: a badge for each check, with its reason.
function checkBadges(job) {
  const found = new Map(job.outputs.flatMap((output) => output.checks ?? []).map((mark) => [`${mark.verdict} ${mark.check}`, mark]));
  if (!found.size) return [];
  const badges = [...found.values()].map((mark) => el('span', { class: `badge ${mark.verdict}`, title: checkWords(mark) }, mark.check));
  return [el('span', { class: 'checks' }, ...badges)];
}

function checkWords({ check, verdict, reason }) {
  return `${VERDICTS[verdict] ?? verdict} by the check ${check}: ${reason}`;
}

function ratioOf(job) {
  const [, width, height] = job.thumbnails[0] ?? [null, 4, 3];
  return Math.min(3, Math.max(0.4, width / height));
}

function openButton(job, ...content) {
  return el('button', { type: 'button', class: 'open', 'data-job': job.index, onclick: () => go({ job: job.index }, true) }, ...content);
}

function pinButton(job) {
  const toggle = el('button', {
    type: 'button', class: 'pin', 'data-pin': job.index, 'aria-label': `Select ${job.name}`, title: 'Select; with Shift, all up to here',
    onclick: (event) => (event.shiftKey ? selectTo(job.index, page.current) : pin(job.index)),
  });
  markPin(toggle, page.selected.has(job.index));
  return toggle;
}

// What lies on a picture: the marks and the pin.
function pictureTools(job) {
  return [markTools(job), pinButton(job)];
}

function commandLine(command) {
  return el('div', { class: 'command' }, el('code', {}, command), copyButton('Copy', () => command));
}

function pairs(entries) {
  const list = el('dl', { class: 'pairs' });
  for (const [name, value, mono] of entries) {
    if (value === null || value === undefined || value === '') continue;
    list.append(el('dt', {}, name), el('dd', { class: mono ? 'mono' : null, dir: 'auto' }, value));
  }
  return list;
}
