// One job: its picture in full, and all that is known of it.
function showDetail(job) {
  const body = el('div', { class: 'detail' });
  const order = page.shown.includes(job) ? page.shown : page.model.jobs;
  const dialog = openDialog('detail', job.name, body, () => {
    if (page.state.job === job.index) go({ job: null });
    afterMarks();
    // The browser reports a closed dialog a moment later: by then the user may be typing already.
    if (!document.activeElement?.matches('input, select, textarea')) focusOpened(job.index);
  });
  body.append(stageOf(job, order), aboutOf(job));
  dialog.addEventListener('keydown', (event) => {
    if (event.target.matches('textarea, input')) return;
    const [stage, frame] = [dialog.querySelector('.stage'), dialog.querySelector('.frame')];
    const turns = ['ArrowRight', 'ArrowLeft'].includes(event.key);
    if (turns && !isZoomed(stage, frame)) {
      event.preventDefault();
      turnTo(job, order, event.key === 'ArrowRight' ? 1 : -1);
    } else if (event.key === 'z') zoomStage(stage, frame);
    else if (event.key === 'x') pin(job.index);
    else if (event.key === 's') star(job, job.outputs[page.at]);
    else if (event.key === 'f' && !flipSource(stage) && page.pins.length === 2) showFlip();
  });
}

// What is newly known of the job that is open. Its picture stays where it is, and so does what is scrolled to.
function renewDetail(dialog, job) {
  if (dialog.dataset.version === familyVersion(job)) return;
  dialog.dataset.version = familyVersion(job);
  const [stage, about] = dialog.querySelector('.detail').children;
  const fresh = aboutOf(job);
  const scrolled = about.scrollTop;
  const note = about.querySelector('.note'); // the user may be writing it
  settleAlike(about, [...fresh.children].map((child) => (child.classList.contains('note') ? note : child)));
  about.scrollTop = scrolled;
  const order = page.shown.includes(job) ? page.shown : page.model.jobs;
  if (stage.dataset.pictures !== picturesKey(job)) stage.replaceWith(stageOf(job, order));
}

// The picture that was open last has the focus when its page is closed.
function focusOpened(index) {
  if (page.state.view === 'gallery' && focusCard(index)) return;
  document.querySelector(`#view-${page.state.view} [data-job="${index}"]`)?.focus();
}

function aboutOf(job) {
  const about = el('div', { class: 'about', tabindex: '0', role: 'group', 'aria-label': 'About the job' }, el('h2', {}, job.name));
  about.append(el('p', { class: 'state' }, el('b', { class: job.status }, STATES[job.status]), ` · ${credits(job.credits)} · ${job.workflow_id}`));
  if (job.error) about.append(troubleBox(job));
  if (job.prompt) about.append(el('blockquote', { dir: 'auto' }, job.prompt));
  about.append(el('div', { class: 'actions' }, ...(job.outputs.length ? [shownStar(job)] : []), pinToggle(job), ...(job.prompt ? [copyButton('Copy prompt', () => job.prompt)] : [])));
  about.append(noteOf(job));
  for (const section of [...familyOf(job), axesOf(job), rowOf(job), filesOf(job), timesOf(job), attemptsOf(job), paramsOf(job)]) if (section) about.append(section);
  return about;
}

function pinToggle(job) {
  const chosen = page.pins.includes(job.index);
  return button(chosen ? 'Selected to compare' : 'Select to compare', (event) => {
    pin(job.index);
    event.target.textContent = page.pins.includes(job.index) ? 'Selected to compare' : 'Select to compare';
  });
}

function troubleBox(job) {
  const { code, message, hint, request_id: request } = job.error;
  const box = el('section', { class: 'trouble-box' }, el('p', { class: 'code' }, code), el('p', { dir: 'auto' }, message));
  if (hint) box.append(el('p', {}, el('b', {}, 'Hint: '), hint));
  if (request) box.append(el('p', { class: 'mono' }, `request id ${request}`));
  if (mayRetry(job)) box.append(commandLine(page.model.data.retry));
  return box;
}

function part(title, ...content) {
  return el('section', {}, el('h3', {}, title), ...content);
}

function axesOf(job) {
  const entries = Object.entries(job.axes);
  return entries.length ? part('In the matrix', pairs(entries)) : null;
}

function rowOf(job) {
  const entries = Object.entries(job.row).filter(([, value]) => value !== job.prompt);
  return entries.length ? part('In the table', pairs(entries)) : null;
}

function filesOf(job) {
  if (!job.outputs.length) return null;
  return part(job.outputs.length > 1 ? 'Files' : 'File', ...job.outputs.map((output) => pairs([
    ['file', output.path, true], ['size', `${output.width} × ${output.height}, ${bytes(output.byte_size)}`], ['SHA-256', output.sha256, true],
    ...(output.checks ?? []).map((mark) => ['check', checkWords(mark)]),
  ])));
}

function timesOf(job) {
  if (!job.stages.length) return null;
  const bar = el('div', { class: 'times', 'aria-hidden': 'true' }, ...job.stages.map(([kind, seconds]) => el('span', { class: kind, css: { flex: `${Math.max(seconds, 0.01)} 1 0` } })));
  return part('Time', bar, pairs(job.stages.map(([kind, seconds]) => [STAGES[kind], lasting(seconds)])));
}

function attemptsOf(job) {
  if (!job.attempts.length) return null;
  const list = job.attempts.map((attempt) => pairs([
    ['attempt', attempt.status + (attempt.reused ? ', found at the gateway' : '')], ['when', moment(attempt.held_at)], ['credits', attempt.credits + (attempt.status === 'failed' ? ', refunded' : '')],
    ['job id', attempt.job_id, true], ['key', attempt.idempotency_key, true],
    ['error', attempt.error ? `${attempt.error.code}: ${attempt.error.message}` : null], ['request id', attempt.error?.request_id, true],
  ]));
  return part(job.attempts.length > 1 ? plural(job.attempts.length, 'attempt') : 'Attempt', ...list);
}

function paramsOf(job) {
  const entries = job.params.filter(([, value]) => value !== job.prompt).map(([name, value]) => [name, value]);
  for (const [param, name] of job.inputs) entries.push([param, name]);
  return entries.length ? part('Parameters', pairs(entries)) : null;
}
