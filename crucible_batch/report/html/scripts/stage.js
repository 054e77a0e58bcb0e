// The picture of the job that is open, in full; beside its source, if it was made from another picture.
const PAIRINGS = { beside: 'Side by side', flip: 'Flip', picture: 'Alone' };

function picturesKey(job) {
  return [...job.outputs, sourceOf(job)?.output].map((output) => output?.sha256).join();
}

function turnTo(job, order, step) {
  const next = order[order.indexOf(job) + step];
  if (next) go({ job: next.index });
}

function stageOf(job, order) {
  const frame = el('div', { class: 'frame' });
  const stage = el('div', { class: 'stage', 'data-pictures': picturesKey(job) }, frame);
  const pictures = picturesOf(job);
  const tools = el('div', { class: 'pairing', role: 'group', 'aria-label': 'The picture and its source' });
  const show = (at) => {
    page.at = pictures[at]?.output ? at : 0;
    stage.versus = isPaired(job, pictures[at]) ? pairOf(job, page.at) : null;
    frame.classList.toggle('pair', Boolean(stage.versus));
    if (stage.versus) showPair(stage.versus, frame);
    else frame.replaceChildren(pictures[at] ? fullPicture(job, pictures[at], frame) : el('p', { class: 'missing' }, 'There is no picture of this job.'));
    tools.replaceChildren(...pairingTools(job, stage, () => show(at)));
    stage.querySelectorAll('.strip button').forEach((one, index) => {
      if (index === at) one.setAttribute('aria-current', 'true');
      else one.removeAttribute('aria-current');
    });
    markStars(job);
  };
  if (sourceOf(job)?.output) stage.append(tools);
  if (pictures.length > 1) stage.append(stripOf(job, pictures, show));
  stage.append(turnOf(job, order));
  show(0);
  return stage;
}

// The outputs, and the input images except the source, which stands beside them.
function picturesOf(job) {
  return [
    ...job.outputs.map((output, at) => ({ source: fileAddress(output.path), small: job.thumbnails[at][0], label: output.path, output })),
    ...inputsOf(job).map(([name, small]) => ({ source: small, small, label: `input: ${name}` })),
  ];
}

function stripOf(job, pictures, show) {
  return el('div', { class: 'strip' }, ...pictures.map((picture, at) =>
    el('button', { type: 'button', title: picture.label, 'aria-label': `Show ${picture.label}`, 'data-starred-of': picture.output ? job.index : null, onclick: () => show(at) },
      picture.small ? el('img', { src: picture.small, alt: '' }) : el('span', { class: 'label' }, picture.label))));
}

function turnOf(job, order) {
  const at = order.indexOf(job);
  return el('div', { class: 'turn' },
    el('button', { type: 'button', 'aria-label': 'Previous job', disabled: at <= 0, onclick: () => turnTo(job, order, -1) }, '←'),
    el('span', {}, `${at + 1} of ${order.length}`),
    el('button', { type: 'button', 'aria-label': 'Next job', disabled: at >= order.length - 1, onclick: () => turnTo(job, order, 1) }, '→'));
}

// -- the picture and its source ---------------------------------------------------------------------------------------

function pairing() {
  const kept = recall('crucible-pairing', null) ?? page.pairing;
  return Object.hasOwn(PAIRINGS, kept) ? kept : 'beside';
}

function isPaired(job, picture) {
  return Boolean(sourceOf(job)?.output) && (!picture || Boolean(picture.output)) && pairing() !== 'picture';
}

function pairOf(job, at) {
  const source = sourceOf(job);
  const captions = [captionOf(source.job, source.at, 'source', source.label), captionOf(job, at, null, outputName(job, job.outputs[at]?.index))];
  const versus = versusOf([paneOf(source.job, source.at), paneOf(job, at)], { beside: pairing() === 'beside', shown: ({ top, beside }) => {
    captions.forEach((caption, side) => caption.classList.toggle('under', !beside && side !== top));
    versus.captions.classList.toggle('beside', beside);
  } });
  versus.captions = el('div', { class: 'captions', 'aria-live': 'polite' }, ...captions);
  return versus;
}

function captionOf(job, at, role, label) {
  const output = job.outputs[at];
  const name = role ? openJob(job, { class: 'link', title: `Open ${label}` }, el('bdi', {}, label)) : el('b', {}, el('bdi', {}, label));
  return el('p', {}, name, el('span', { class: 'dim' }, [role, output ? `${output.width} × ${output.height}` : null].filter(Boolean).map((word) => ` · ${word}`).join('')));
}

function showPair(versus, frame) {
  frame.classList.remove('real');
  frame.replaceChildren(versus.box, versus.captions);
  versus.show({ top: 1 });
}

function pairingTools(job, stage, show) {
  const choose = (chosen) => {
    page.pairing = chosen;
    keep('crucible-pairing', chosen);
    show();
    stage.querySelector('.pairing [aria-pressed=true]')?.focus();
  };
  const choices = Object.entries(PAIRINGS).map(([key, label]) => button(label, () => choose(key), { class: 'chip', 'aria-pressed': String(key === pairing()) }));
  return [...choices, ...(stage.versus ? [stage.versus.zoomer] : [])];
}

// In turn with the source: from any of the three views.
function flipSource(stage) {
  if (!sourceOf(page.model.jobs[page.state.job])?.output) return false;
  if (pairing() !== 'flip') stage.querySelectorAll('.pairing .chip')[1].click();
  stage.versus?.flip();
  return true;
}

// -- one picture -------------------------------------------------------------------------------------------------------

// A path of the run directory as an address beside this page.
function fileAddress(path) {
  return path.split('/').map(encodeURIComponent).join('/');
}

function inputsOf(job) {
  const source = sourceOf(job);
  return job.inputs.filter(([, , sha]) => !source?.output || sha !== source.output.sha256)
    .map(([, name, sha]) => [name, inputPicture(sha)?.[0]]).filter(([, small]) => small);
}

// The small picture of an input image with its size: that of the output, if it is one of this report.
function inputPicture(sha) {
  return page.model.data.inputs[sha]?.[0] ? page.model.data.inputs[sha] : page.model.outputs.get(sha)?.();
}

function fullPicture(job, picture, frame) {
  const image = el('img', { src: picture.source, alt: titleOf(job), decoding: 'async', onclick: () => zoomFrame(frame) });
  image.addEventListener('error', () => {
    if (picture.small && image.getAttribute('src') !== picture.small) image.src = picture.small;
    else frame.replaceChildren(el('p', { class: 'missing' }, `${picture.label} is not beside this page, or is not in a format that the browser can show.`));
  });
  frame.classList.remove('real');
  return image;
}

// To its real size and back; enlarged it has the focus, so that the arrows move it about.
function zoomFrame(frame) {
  if (!frame.classList.toggle('real')) return;
  frame.tabIndex = -1;
  frame.focus();
}

function zoomStage({ versus }, frame) {
  if (!versus) {
    zoomFrame(frame);
    return;
  }
  versus.zoom(versus.scale > 1 ? 1 : 3);
  const pane = versus.panes[versus.beside ? 1 : versus.top];
  pane.tabIndex = -1;
  pane.focus();
}

function isZoomed({ versus }, frame) {
  return versus ? versus.scale > 1 : frame.classList.contains('real');
}
