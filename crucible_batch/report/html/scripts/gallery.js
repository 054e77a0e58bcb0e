// The gallery: what went wrong first, then the pictures. Cards are made as they come near.
const AT_ONCE = 120;
const WALL = 4 * AT_ONCE; // what is laid out as one: a browser passes over the walls that are out of sight
const ends = new WeakMap(); // of each section: what watches for its end coming near

function renderGallery(shown) {
  const view = byId('view-gallery');
  const focused = view.contains(document.activeElement) ? document.activeElement.dataset.job : undefined;
  const sections = groupsOf(shown).map((group) => (group.length === 3 ? lineOf(view, ...group) : sectionOf(view, ...group)));
  if (!shown.length) sections.push(el('div', { class: 'nothing' }, el('p', {}, 'No jobs match the filter.'), button('Clear the filter', clearFilter)));
  settle(view, sections);
  if (focused !== undefined && document.activeElement === document.body) view.querySelector(`[data-job="${focused}"]`)?.focus({ preventScroll: true });
}

// What failed, what was not started as a line for each reason, the pictures, and what is under way in a live run.
function groupsOf(shown) {
  const running = page.model.data.live?.running;
  const kinds = { trouble: [], idle: [], pictures: [], waiting: [] };
  for (const job of shown) kinds[kindOf(job, running)].push(job);
  const { trouble, idle, pictures, waiting } = kinds;
  const lines = reasonsOf(idle);
  const groups = [
    ['trouble', trouble.length ? troubleTitle(trouble) : null, trouble, troubleCard],
    ['pictures', trouble.length || idle.length ? plural(pictures.length, 'picture') : null, pictures, pictureCard],
    ['waiting', `${plural(waiting.length, 'job')} in progress`, waiting, waitingCard],
  ].filter(([, , jobs]) => jobs.length);
  return running ? [...groups, ...lines] : [...groups.slice(0, trouble.length ? 1 : 0), ...lines, ...groups.slice(trouble.length ? 1 : 0)];
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
  return [...reasons].map(([key, alike]) => [key, alike, waitingCard]);
}

function lineOf(view, key, jobs, make) {
  const section = [...view.children].find((child) => child.dataset.group === key)
    ?? el('section', { class: 'group idle', 'data-group': key }, el('details', {}, el('summary', {})));
  const details = section.querySelector('details');
  const { status, error } = jobs[0];
  const title = `${plural(jobs.length, 'job')} ${STATES[status]}`;
  section.setAttribute('aria-label', title);
  settleAlike(details.firstChild, [el('b', {}, title), ...(error ? [el('span', { class: 'code' }, error.code), el('span', { class: 'why', dir: 'auto' }, error.message)] : [])]);
  fill(details, jobs, make);
  return section;
}

function sectionOf(view, name, title, jobs, make) {
  const section = view.querySelector(`[data-group=${name}]`)
    ?? el('section', { class: 'group', 'data-group': name }, el('header', {}));
  section.setAttribute('aria-label', title ?? 'Pictures');
  const head = [title ? el('h2', {}, title) : el('h2', { class: 'unseen' }, 'Pictures')];
  const advised = page.model.data.advice.command === page.model.data.retry; // the summary has it already
  if (!advised && jobs.some(mayRetry)) head.push(commandLine(page.model.data.retry));
  settleAlike(section.firstChild, head);
  fill(section, jobs, make);
  return section;
}

// Shows cards up to the end of the window and a little beyond; more are added on scrolling.
function fill(section, jobs, make) {
  ends.get(section)?.disconnect();
  section.querySelector('.end')?.remove();
  let shown = Math.max(AT_ONCE, section.querySelectorAll('.card').length);
  const show = () => settleWalls(section, cardsOf(section, jobs.slice(0, shown), make));
  show();
  if (shown >= jobs.length) return;
  const end = el('div', { class: 'end', 'aria-hidden': 'true' });
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || !section.isConnected) return;
    shown += AT_ONCE;
    show();
    observer.unobserve(end);
    if (shown < jobs.length) observer.observe(end);
  }, { rootMargin: '1500px' });
  ends.set(section, observer);
  section.append(end);
  queueMicrotask(() => observer.observe(end));
}

function settleWalls(section, cards) {
  const walls = [...section.querySelectorAll('.wall')];
  const end = section.querySelector('.end');
  for (let at = 0; at * WALL < cards.length; at += 1) {
    if (!walls[at]) {
      walls.push(el('div', { class: 'wall' }));
      section.insertBefore(walls[at], end);
    }
    settle(walls[at], cards.slice(at * WALL, (at + 1) * WALL));
  }
  for (const wall of walls.slice(Math.ceil(cards.length / WALL))) wall.remove();
  section.classList.toggle('long', cards.length > WALL);
}

// A card whose job is as it was stays as it is.
function cardsOf(section, jobs, make) {
  const kept = new Map([...section.querySelectorAll('.card')].map((card) => [card.dataset.card, card]));
  return jobs.map((job) => {
    const key = `${job.index}.${familyVersion(job)}`;
    const card = kept.get(key) ?? make(job);
    card.dataset.card = key;
    return card;
  });
}

function pictureCard(job) {
  return el('article', { class: 'card', css: { '--ratio': String(ratioOf(job)) } },
    openButton(job, pictureOf(job),
      el('span', { class: 'name' }, job.name)),
    ...familyLines(job), promptOf(job), el('p', { class: 'values', dir: 'auto' }, [credits(job.credits), ...valuesOf(job)].join(' · ')), noteMark(job), ...pictureTools(job));
}

const CLAMPED = 60; // letters that the two lines of a narrow caption show

// The prompt as a caption: clamped to two lines by the style sheet until it is clicked.
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
  return { held: 'being sent', accepted: 'at the gateway', succeeded: 'downloading' }[last?.status] ?? 'not started';
}
