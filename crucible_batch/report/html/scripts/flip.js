// Two chosen pictures, compared.
function showFlip() {
  const [first, second] = page.pins.map((index) => page.model.jobs[index]);
  const body = el('div', { class: 'flip' });
  const letter = el('span', { class: 'letter' });
  const name = el('span', { class: 'name', 'aria-live': 'polite' });
  const versus = versusOf([paneOf(first), paneOf(second)], { beside: false, shown: ({ top, beside }) => {
    body.dataset.top = 'ab'[top];
    body.classList.toggle('beside', beside);
    letter.textContent = 'AB'[top];
    name.textContent = beside ? `${first.name}  |  ${second.name}` : [first, second][top].name;
  } });
  const beside = button('Side by side', () => {
    versus.show({ beside: !versus.beside });
    beside.setAttribute('aria-pressed', String(versus.beside));
  }, { 'aria-pressed': 'false' });
  body.append(el('header', {}, letter, name, betweenOf(first, second)), versus.box,
    el('footer', {}, button('Flip', versus.flip, { id: 'flip-now' }), beside, versus.zoomer, el('span', { class: 'dim' }, 'Space or a click flips')));
  const dialog = openDialog('flip', 'Two pictures compared', body);
  versus.show();
  byId('flip-now').focus();
  dialog.addEventListener('keydown', (event) => {
    if (event.target.matches('input') && event.key !== ' ') return;
    if ([' ', 'ArrowLeft', 'ArrowRight', 'f'].includes(event.key)) {
      event.preventDefault();
      event.stopPropagation();
      versus.flip();
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
