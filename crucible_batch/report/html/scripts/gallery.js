// The gallery: what went wrong first, then the pictures.
const MOST_TROUBLE = 8; // failed jobs above the pictures: of more, a row is shown until all are asked for
const SOME_TROUBLE = 4;

function renderGallery(shown) {
  const view = byId('view-gallery');
  const before = rememberPlace();
  const sections = groupsOf(shown).map((group) => (group.isLine ? lineOf(view, group) : sectionOf(view, group)));
  if (!shown.length && !page.model.data.live?.rest) sections.push(nothingShown(page.model.jobs));
  settle(view, sections);
  showLists(sections.map((section) => lists.get(section)).filter(Boolean));
  returnToPlace(before);
}

function nothingShown(jobs) {
  if (!jobs.length) return el('p', { class: 'nothing' }, 'This run has no jobs.');
  return el('div', { class: 'nothing' }, el('p', {}, 'No jobs match the filter.'), button('Clear the filter', clearFilter));
}

// What failed, what was not started as a line for each reason, the pictures, and what is under way in a live run.
function groupsOf(shown) {
  const running = page.model.data.live?.running;
  const kinds = { trouble: [], idle: [], pictures: [], waiting: [] };
  for (const job of shown) kinds[kindOf(job, running)].push(job);
  const { trouble, idle, pictures, waiting } = kinds;
  const groups = [
    { name: 'trouble', title: troubleTitle(trouble), jobs: trouble, make: troubleCard, shape: SHAPES.trouble, isShelf: pictures.length > 0 },
    ...(running ? [] : reasonsOf(idle)),
    { name: 'pictures', title: trouble.length || idle.length ? plural(pictures.length, 'picture') : null, jobs: pictures, make: pictureCard, shape: SHAPES.picture },
    { name: 'waiting', title: `${plural(waiting.length, 'job')} in progress`, jobs: waiting, make: waitingCard, shape: SHAPES.waiting },
    ...(running ? reasonsOf(idle) : []),
  ];
  return groups.filter(({ jobs }) => jobs.length);
}

function kindOf(job, running) {
  if (job.status === 'succeeded') return 'pictures';
  if (job.status === 'blocked') return 'idle';
  if (job.status !== 'pending') return 'trouble';
  return running && job.attempts.length ? 'waiting' : 'idle';
}

// Whether another attempt at a failed job may succeed.
function mayRetry(job) {
  return job.status === 'failed' && !page.model.data.never.includes(job.error?.code.toUpperCase());
}

function troubleTitle(trouble) {
  const failed = trouble.filter((job) => job.status === 'failed').length;
  const unknown = trouble.length - failed;
  return [failed ? `${plural(failed, 'job')} failed` : null, unknown ? `${plural(unknown, 'job')} unknown` : null].filter(Boolean).join(', ');
}

// Jobs that were not started, by state and reason: hundreds of them have the same.
function reasonsOf(jobs) {
  const reasons = new Map();
  for (const job of jobs) {
    const key = `${job.status} ${job.error?.code ?? ''}`;
    if (!reasons.has(key)) reasons.set(key, []);
    reasons.get(key).push(job);
  }
  return [...reasons].map(([name, alike]) => ({ name, jobs: alike, make: waitingCard, shape: SHAPES.waiting, isLine: true }));
}

function lineOf(view, { name, jobs, make, shape }) {
  const section = [...view.children].find((child) => child.dataset.group === name)
    ?? el('section', { class: 'group idle', 'data-group': name }, el('details', { ontoggle: layOutAgain }, el('summary', {})));
  const details = section.querySelector('details');
  const { status, error } = jobs[0];
  const title = `${plural(jobs.length, 'job')} ${STATES[status]}`;
  section.setAttribute('aria-label', title);
  settleAlike(details.firstChild, [el('b', {}, title), ...(error ? [el('span', { class: 'code' }, error.code), el('span', { class: 'why', dir: 'auto' }, error.message)] : [])]);
  fillList(section, details, { label: title, jobs, make, shape });
  return section;
}

function sectionOf(view, { name, title, jobs, make, shape, isShelf }) {
  const section = view.querySelector(`[data-group=${name}]`)
    ?? el('section', { class: 'group', 'data-group': name }, el('header', {}));
  const label = title ?? 'Pictures';
  section.setAttribute('aria-label', label);
  const head = [title ? el('h2', {}, title) : el('h2', { class: 'unseen' }, 'Pictures')];
  const advised = page.model.data.advice.command === page.model.data.retry; // the summary has it already
  if (!advised && jobs.some(mayRetry)) head.push(commandLine(page.model.data.retry));
  const isShort = isShelf && jobs.length > MOST_TROUBLE && !page.showsTrouble;
  section.classList.toggle('shelf', Boolean(isShelf) && !page.showsTrouble);
  settleAlike(section.firstChild, head);
  if (isShort) section.firstChild.append(button(`Show all ${jobs.length.toLocaleString('en')}`, showTrouble));
  fillList(section, section, { label, jobs: isShort ? jobs.slice(0, SOME_TROUBLE) : jobs, make, shape });
  return section;
}

function showTrouble() {
  page.showsTrouble = true;
  redraw();
}

function pictureCard(job) {
  return el('article', { class: 'card', css: { '--ratio': String(ratioOf(job)) } },
    openButton(job, pictureOf(job, 0, job.prompt ? titleOf(job) : ''), // else the name below has it
      el('span', { class: 'name' }, job.name)),
    ...familyLines(job), promptOf(job), el('p', { class: 'values', dir: 'auto' }, valueLine(job)), noteMark(job), ...pictureTools(job));
}

// Credits and values in a line of a card.
function valueLine(job) {
  job.caption ??= [job.generation ? takeOf(job) : null, credits(job.credits), ...valuesOf(job)].filter(Boolean).join(' · ');
  return job.caption;
}

const CLAMPED = 60; // letters that the two lines of a narrow caption show

// The prompt as a caption: clamped by the style sheet until it is clicked.
function promptOf(job) {
  if (!job.prompt) return null;
  if (job.prompt.length <= CLAMPED) return el('p', { class: 'prompt', dir: 'auto' }, job.prompt);
  return el('button', {
    type: 'button', class: 'prompt', dir: 'auto', 'aria-expanded': 'false', title: 'Show the full prompt, or two lines',
    onclick: ({ currentTarget: prompt }) => prompt.setAttribute('aria-expanded', String(prompt.ariaExpanded !== 'true')),
  }, job.prompt);
}

function troubleCard(job) {
  const reason = job.error ?? { code: STATES[job.status].toUpperCase(), message: stageWord(job) };
  return el('article', { class: `card trouble ${job.status}` },
    openButton(job, el('span', { class: 'code' }, reason.code), el('span', { class: 'why' }, reason.message),
      el('span', { class: 'who' }, job.name), sourceWords(job), el('span', { class: 'prompt' }, job.prompt ?? '')));
}

function waitingCard(job) {
  return el('article', { class: 'card waiting' },
    openButton(job, el('span', { class: 'name' }, job.name), sourceWords(job), el('span', { class: 'stage-word' }, stageWord(job))));
}

// What a job that isn't done is waiting for, by its newest attempt.
function stageWord(job) {
  const last = job.attempts.at(-1);
  if (!last && job.takes?.length) return `${plural(job.takes.length, 'take')} rejected`;
  return { held: 'being sent', accepted: 'at the gateway', succeeded: 'downloading' }[last?.status] ?? 'not started';
}
