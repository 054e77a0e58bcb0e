// The gallery: what went wrong first, then the pictures. Cards are made as they come near.
const AT_ONCE = 120;
const WALL = 4 * AT_ONCE; // what is laid out as one: a browser passes over the walls that are out of sight
const ends = new WeakMap(); // of each section: what watches for its end coming near

function renderGallery(shown) {
  const view = byId('view-gallery');
  const focused = view.contains(document.activeElement) ? document.activeElement.dataset.job : undefined;
  const sections = groupsOf(shown).map((group) => sectionOf(view, ...group));
  if (!shown.length) sections.push(el('div', { class: 'nothing' }, el('p', {}, 'No job is like that.'), button('Clear the filter', clearFilter)));
  settle(view, sections);
  if (focused !== undefined && document.activeElement === document.body) view.querySelector(`[data-job="${focused}"]`)?.focus({ preventScroll: true });
}

// What went wrong, the pictures, and in a run that is going on what is still to come: that is no trouble yet.
function groupsOf(shown) {
  const kindOf = (job) => (job.status === 'succeeded' ? 'pictures' : job.status === 'pending' && page.model.data.live?.running ? 'waiting' : 'trouble');
  const kinds = { trouble: [], pictures: [], waiting: [] };
  for (const job of shown) kinds[kindOf(job)].push(job);
  const { trouble, pictures, waiting } = kinds;
  return [
    ['trouble', trouble.length ? troubleTitle(trouble) : null, trouble, troubleCard],
    ['pictures', trouble.length ? plural(pictures.length, 'picture') : null, pictures, pictureCard],
    ['waiting', `${plural(waiting.length, 'job')} to come`, waiting, waitingCard],
  ].filter(([, , jobs]) => jobs.length);
}

function troubleTitle(trouble) {
  const failed = trouble.filter((job) => job.status === 'failed').length;
  const rest = trouble.length - failed;
  return [failed ? `${plural(failed, 'job')} failed` : null, rest ? `${plural(rest, 'job')} not done` : null].filter(Boolean).join(', ');
}

function sectionOf(view, name, title, jobs, make) {
  const section = view.querySelector(`[data-group=${name}]`)
    ?? el('section', { class: 'group', 'data-group': name }, el('header', {}));
  section.setAttribute('aria-label', title ?? 'Pictures');
  const head = [title ? el('h2', {}, title) : el('h2', { class: 'unseen' }, 'Pictures')];
  const said = page.model.data.advice.command === page.model.data.retry; // the summary has it already
  if (!said && jobs.some((job) => job.status === 'failed')) head.push(commandLine(page.model.data.retry));
  settleAlike(section.firstChild, head);
  fill(section, jobs, make);
  return section;
}

// Shows cards up to the window's end and a little beyond, and goes on when that comes near.
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
    const key = `${job.index}.${job.version}`;
    const card = kept.get(key) ?? make(job);
    card.dataset.card = key;
    return card;
  });
}

function pictureCard(job) {
  return el('article', { class: 'card', css: { '--ratio': String(ratioOf(job)) } },
    openButton(job, pictureOf(job),
      el('span', { class: 'caption' }, el('span', { class: 'name' }, job.name), el('span', { class: 'credits' }, job.credits))),
    ...pictureTools(job));
}

function troubleCard(job) {
  const reason = job.error ?? { code: STATES[job.status].toUpperCase(), message: stageWord(job) };
  return el('article', { class: `card trouble ${job.status}` },
    openButton(job, el('span', { class: 'code' }, reason.code), el('span', { class: 'why' }, reason.message),
      el('span', { class: 'who' }, job.name), el('span', { class: 'prompt' }, job.prompt ?? '')));
}

function waitingCard(job) {
  return el('article', { class: 'card waiting' },
    openButton(job, el('span', { class: 'name' }, job.name), el('span', { class: 'stage-word' }, stageWord(job))));
}

// What a job that isn't done is waiting for, by its newest attempt.
function stageWord(job) {
  const last = job.attempts.at(-1);
  return { held: 'being sent', accepted: 'at the gateway', succeeded: 'downloading' }[last?.status] ?? 'waiting';
}
