// Two chosen pictures in turn at the same place, or side by side; both keep the same zoom and the same corner.
function pin(index) {
  const at = page.pins.indexOf(index);
  if (at >= 0) page.pins.splice(at, 1);
  else page.pins.push(index);
  if (page.pins.length > 2) page.pins.shift();
  for (const one of document.querySelectorAll('[data-pin]')) {
    const chosen = page.pins.includes(Number(one.dataset.pin));
    one.setAttribute('aria-pressed', String(chosen));
    one.textContent = chosen ? '✓' : '+';
  }
  renderTray();
}

function renderTray() {
  const tray = byId('tray');
  tray.hidden = page.pins.length === 0;
  const names = page.pins.map((index) => page.model.jobs[index].name);
  const clear = button('Clear', () => { [...page.pins].forEach(pin); }, { class: null });
  if (names.length === 2) tray.replaceChildren(el('span', {}, `${names[0]} and ${names[1]}`), button('Compare', showFlip, { class: 'go' }), clear);
  else tray.replaceChildren(el('span', {}, `${names[0] ?? ''} · select another to compare`), clear);
}

function showFlip() {
  const [first, second] = page.pins.map((index) => page.model.jobs[index]);
  const panes = [paneOf(first), paneOf(second)];
  const body = el('div', { class: 'flip' });
  const letter = el('span', { class: 'letter' });
  const name = el('span', { class: 'name', 'aria-live': 'polite' });
  let top = 0;
  const show = () => {
    panes.forEach((pane, at) => pane.classList.toggle('under', at !== top));
    body.dataset.top = 'ab'[top];
    letter.textContent = 'AB'[top];
    name.textContent = body.classList.contains('beside') ? `${first.name}  |  ${second.name}` : [first, second][top].name;
  };
  const flip = () => { top = 1 - top; show(); };
  for (const pane of panes) pane.addEventListener('click', () => { if (!body.classList.contains('beside')) flip(); });
  const beside = button('Side by side', () => { beside.setAttribute('aria-pressed', String(body.classList.toggle('beside'))); show(); }, { 'aria-pressed': 'false' });
  const zoom = el('input', { type: 'range', min: '1', max: '6', step: '0.1', value: '1', oninput: () => panes.forEach((pane) => zoomPane(pane, Number(zoom.value))) });
  body.append(el('header', {}, letter, name, betweenOf(first, second)), el('div', { class: 'panes' }, ...panes),
    el('footer', {}, button('Flip', flip, { id: 'flip-now' }), beside, el('label', {}, 'Zoom', zoom), el('span', { class: 'dim' }, 'Space or a click flips')));
  scrollTogether(panes);
  const dialog = openDialog('flip', 'Two pictures compared', body);
  show();
  byId('flip-now').focus();
  dialog.addEventListener('keydown', (event) => {
    if (event.target === zoom && event.key !== ' ') return;
    if ([' ', 'ArrowLeft', 'ArrowRight', 'f'].includes(event.key)) {
      event.preventDefault();
      event.stopPropagation();
      flip();
    }
  });
  dialog.addEventListener('keyup', (event) => { if (event.key === ' ') event.preventDefault(); });
}

// The differences of prompt and parameters between the two.
function betweenOf(first, second) {
  const found = differencesOf(first, second);
  if (!found.length) return el('p', { class: 'between dim' }, 'same prompt and parameters');
  return el('ul', { class: 'between' }, ...found.slice(0, 6).map(([name, one, other]) =>
    el('li', { dir: 'auto' }, el('span', { class: 'dim' }, `${name} `), el('span', { class: 'a' }, one), ' → ', el('span', { class: 'b' }, other))));
}

function differencesOf(first, second) {
  const found = [];
  const note = (name, one = '–', other = '–') => {
    if (one !== other && !found.some((known) => known[1] === one && known[2] === other)) found.push([name, one, other]);
  };
  note('workflow', first.workflow_id, second.workflow_id);
  for (const [list, other] of [[first, second].map(axesAndInputs), [first, second].map(ownParams)]) {
    for (const name of new Set([...list.keys(), ...other.keys()])) note(name, list.get(name), other.get(name));
  }
  if (!found.length) note('prompt', first.prompt, second.prompt);
  return found;
}

function axesAndInputs(job) {
  return new Map([...Object.entries(job.facets).map(([axis, value]) => [axisLabel(axis), value]), ...job.inputs.map(([param, name]) => [param, name])]);
}

// Without the prompt: that differs wherever an axis does.
function ownParams(job) {
  return new Map(job.params.filter(([, value]) => value !== job.prompt));
}

function paneOf(job) {
  const [source] = job.thumbnails[0] ?? [null];
  const image = el('img', { src: job.outputs[0] ? fileAddress(job.outputs[0].path) : source, alt: titleOf(job) });
  image.addEventListener('error', () => { if (source && image.getAttribute('src') !== source) image.src = source; });
  return el('div', { class: 'pane', 'data-name': job.name }, image);
}

function zoomPane(pane, scale) {
  pane.classList.toggle('zoomed', scale > 1);
  const image = pane.querySelector('img');
  image.style.width = image.style.height = scale > 1 ? `${scale * 100}%` : '';
}

function scrollTogether(panes) {
  panes.forEach((pane, at) => pane.addEventListener('scroll', () => {
    const other = panes[1 - at];
    if (other.scrollLeft !== pane.scrollLeft) other.scrollLeft = pane.scrollLeft;
    if (other.scrollTop !== pane.scrollTop) other.scrollTop = pane.scrollTop;
  }, { passive: true }));
}
