// The gallery: what went wrong first, then the pictures. Cards are made as they come near.
const AT_ONCE = 120;
let nearness = null;

function renderGallery(shown) {
  const view = byId('view-gallery');
  nearness?.disconnect();
  const trouble = shown.filter((job) => job.status !== 'succeeded');
  const pictures = shown.filter((job) => job.status === 'succeeded');
  view.replaceChildren();
  if (trouble.length) view.append(group('trouble', troubleTitle(trouble), trouble, troubleCard));
  if (pictures.length) view.append(group('pictures', trouble.length ? plural(pictures.length, 'picture') : null, pictures, pictureCard));
  if (!shown.length) view.append(el('div', { class: 'nothing' }, el('p', {}, 'No job is like that.'), button('Clear the filter', clearFilter)));
}

function troubleTitle(trouble) {
  const failed = trouble.filter((job) => job.status === 'failed').length;
  const rest = trouble.length - failed;
  return [failed ? `${plural(failed, 'job')} failed` : null, rest ? `${plural(rest, 'job')} not done` : null].filter(Boolean).join(', ');
}

function group(name, title, jobs, make) {
  const wall = el('div', { class: 'wall' });
  const section = el('section', { class: 'group', 'aria-label': title ?? 'Pictures' });
  const header = el('header', {});
  if (title) header.append(el('h2', {}, title));
  const said = page.model.data.advice.command === page.model.data.retry; // the summary has it already
  if (!said && jobs.some((job) => job.status === 'failed')) header.append(commandLine(page.model.data.retry));
  if (header.children.length) section.append(header);
  else section.append(el('h2', { class: 'unseen' }, 'Pictures'), el('header', {}));
  section.append(wall);
  fill(wall, jobs, make);
  return section;
}

// Adds cards up to the window's end and a little beyond, and goes on when that comes near.
function fill(wall, jobs, make) {
  let next = 0;
  const more = () => {
    wall.append(...jobs.slice(next, next + AT_ONCE).map(make));
    next += AT_ONCE;
    return next < jobs.length;
  };
  if (!more()) return;
  const end = el('div', { 'aria-hidden': 'true' });
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || !wall.isConnected) return;
    if (more()) {
      observer.unobserve(end);
      observer.observe(end);
    } else observer.disconnect();
  }, { rootMargin: '1500px' });
  nearness = observer;
  queueMicrotask(() => { wall.after(end); observer.observe(end); });
}

function pictureCard(job) {
  return el('article', { class: 'card', css: { '--ratio': String(ratioOf(job)) } },
    openButton(job, pictureOf(job),
      el('span', { class: 'caption' }, el('span', { class: 'name' }, job.name), el('span', { class: 'credits' }, job.credits))),
    pinButton(job));
}

function troubleCard(job) {
  const reason = job.error ?? { code: STATES[job.status].toUpperCase(), message: 'Not done yet.' };
  return el('article', { class: `card trouble ${job.status}` },
    openButton(job, el('span', { class: 'code' }, reason.code), el('span', { class: 'why' }, reason.message),
      el('span', { class: 'who' }, job.name), el('span', { class: 'prompt' }, job.prompt ?? '')));
}
