// One job: its picture in full, and all that is known of it.
function showDetail(job, at) {
  const dialog = byId('detail') ?? newDetail(job);
  const isSameRun = dialog.model === page.model; // else another plan has replaced all jobs
  dialog.model = page.model;
  if (!isSameRun) page.sequence = sequenceOf(page.shown.includes(job) ? page.shown : page.model.jobs);
  const isOpen = isSameRun && dialog.dataset.index === String(job.index);
  if (isOpen && at === undefined) {
    renewDetail(dialog, job);
    return;
  }
  const [stage, about] = dialog.querySelector('.detail').children;
  dialog.setAttribute('aria-label', job.name);
  Object.assign(dialog.dataset, { index: job.index, version: familyVersion(job) });
  page.companion = 0;
  if (placeIn(page.sequence, job, at ?? 0) < 0) page.sequence = sequenceOf(page.model.jobs);
  if (!isOpen) about.replaceWith(aboutOf(job));
  showPicture(stage, job, at ?? 0);
  if (!dialog.contains(document.activeElement)) stage.focus();
}

function newDetail(job) {
  const body = el('div', { class: 'detail' });
  const dialog = openDialog('detail', job.name, body, () => {
    const index = Number(dialog.dataset.index);
    if (page.state.job === index) go({ job: null });
    afterMarks();
    // The browser reports a closed dialog a moment later: by then the user may be typing already.
    if (!document.activeElement?.matches('input, select, textarea')) focusOpened(index);
  });
  const stage = newStage();
  stage.tabIndex = -1;
  body.append(stage, el('div', {}));
  dialog.classList.toggle('plain', recall('crucible-about', '') === 'hidden');
  stage.focus();
  return dialog;
}

// The keys of the open picture.
function detailKey(key, dialog) {
  const [stage, frame] = [dialog.querySelector('.stage'), dialog.querySelector('.frame')];
  if (['ArrowRight', 'ArrowLeft'].includes(key)) {
    if (isZoomed(stage, frame)) return undefined;
    return () => { turn(key === 'ArrowRight' ? 1 : -1); };
  }
  if (/^[0-5]$/.test(key)) return () => { if (shownPair()[1]) setMarks([shownPair()], { rating: Number(key) }); };
  return {
    Home: () => turnTo(...page.sequence[0]),
    End: () => turnTo(...page.sequence.at(-1)),
    p: () => decideShown('picked'),
    x: () => decideShown('rejected'),
    r: askShown,
    u: undoShown,
    z: () => zoomStage(stage, frame),
    f: () => { if (!flipCompanion(stage) && page.pins.length === 2) showFlip(); },
    t: () => nextCompanion(stage),
    a: () => pinShown(dialog),
    i: () => keep('crucible-about', dialog.classList.toggle('plain') ? 'hidden' : ''),
    n: () => { dialog.classList.remove('plain'); dialog.querySelector('.note textarea').focus(); },
    g: () => dialog.querySelector('.close').click(),
    c: () => go({ job: null, view: 'compare' }, true),
    '?': showKeys,
  }[key];
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
  page.sequence = sequenceOf(page.shown.includes(job) ? page.shown : page.model.jobs);
  if (stage.dataset.pictures !== picturesKey(job)) showPicture(stage, job, Math.max(0, Math.min(page.at, job.outputs.length - 1)));
}

// The picture that was open last has the focus when its page is closed.
function focusOpened(index) {
  if (page.state.view === 'gallery' && focusCard(index)) return;
  document.querySelector(`#view-${page.state.view} [data-job="${index}"]`)?.focus();
}

function aboutOf(job) {
  const about = el('div', { class: 'about', tabindex: '0', role: 'group', 'aria-label': 'About the job' }, el('h2', {}, job.name));
  about.append(el('p', { class: 'state' }, el('b', { class: job.status }, STATES[job.status]), ` · ${[job.generation ? takeOf(job) : null, credits(job.credits), job.workflow_id].filter(Boolean).join(' · ')}`));
  if (job.error) about.append(troubleBox(job));
  if (job.prompt) about.append(el('blockquote', { dir: 'auto' }, job.prompt));
  about.append(el('div', { class: 'actions' }, pinToggle(job), ...(job.prompt ? [copyButton('Copy prompt', () => job.prompt)] : [])));
  about.append(noteOf(job));
  for (const section of [takesOf(job), ...familyOf(job), axesOf(job), rowOf(job), filesOf(job), timesOf(job), attemptsOf(job), paramsOf(job)]) if (section) about.append(section);
  return about;
}

function pinToggle(job) {
  return button(pinWords(job), () => pinShown(byId('detail')), { id: 'pin-shown' });
}

function pinWords(job) {
  return page.pins.includes(job.index) ? 'Selected to compare' : 'Select to compare';
}

function pinShown(dialog) {
  const job = page.model.jobs[dialog.dataset.index];
  pin(job.index);
  byId('pin-shown').textContent = pinWords(job);
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

// The other takes of a job. The rejection of one can be taken back: then it counts again, at no cost.
function takesOf(job) {
  if (!job.takes?.length) return null;
  const takes = [...job.takes].sort((a, b) => a.index - b.index || (b.generation ?? 0) - (a.generation ?? 0));
  return part(takes.length === 1 ? 'Another take' : 'Other takes', el('ul', { class: 'takes' }, ...takes.map((take) => takeLine(job, take))));
}

function takeLine(job, take) {
  const line = el('li', {});
  const show = () => {
    const isRejected = markOf(job, take) === 'rejected';
    const label = `${job.outputs.length > 1 ? `${take.index}, ` : ''}${takeName(take)}`;
    line.replaceChildren(tinyPicture(fileAddress(take)), el('span', { dir: 'auto' }, el('b', {}, label), ` · ${takeWords(job, take)}`),
      button(isRejected ? 'Take back' : 'Reject', () => { toggleMark([[job, take]], 'rejected'); show(); line.querySelector('button').focus(); }, { 'aria-label': `${isRejected ? 'Take the rejection back of' : 'Reject'} ${takeName(take)}` }));
  };
  show();
  return line;
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
