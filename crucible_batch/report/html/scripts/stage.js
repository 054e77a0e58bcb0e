// The open picture: large, with the buttons to decide and its neighbours below; beside its source or another take of it.
const PAIRINGS = { beside: 'Side by side', flip: 'Flip', picture: 'Alone' };
const NEIGHBOURS = 14; // on each side in the strip

function picturesKey(job) {
  return [...job.outputs, ...(job.takes ?? []), sourceOf(job)?.output].map((output) => output?.sha256).join();
}

function newStage() {
  const stage = el('div', { class: 'stage' },
    el('div', { class: 'frame' }), el('div', { class: 'pairing', role: 'group', 'aria-label': 'Compare with' }), el('div', { class: 'also' }),
    el('div', { class: 'deck' }, decideBar(), turnBar()), el('div', { class: 'strip', role: 'group', 'aria-label': 'Neighbours' }),
    el('span', { class: 'saving', role: 'status' }, document.querySelector('.saving')?.textContent));
  turnBySwipe(stage);
  return stage;
}

const SWIPE = 60; // pixels: less is a tap, or moves an enlarged picture about

function turnBySwipe(stage) {
  let begin = null;
  stage.addEventListener('touchstart', ({ touches, target }) => {
    begin = touches.length === 1 && target.closest('.frame') && !isZoomed(stage, stage.firstChild) ? touches[0] : null;
  }, { passive: true });
  stage.addEventListener('touchend', ({ changedTouches: [end] }) => {
    if (!begin) return;
    const [across, down] = [end.clientX - begin.clientX, end.clientY - begin.clientY];
    if (Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) turn(across < 0 ? 1 : -1);
  }, { passive: true });
}

// The pictures in the order of the page: each output, and each job without one.
function sequenceOf(jobs) {
  return jobs.flatMap((job) => (job.outputs.length ? job.outputs.map((_, at) => [job, at]) : [[job, 0]]));
}

function placeIn(sequence, job, at) {
  const place = sequence.findIndex(([one, its]) => one.index === job.index && its === at);
  return place >= 0 ? place : sequence.findIndex(([one]) => one.index === job.index);
}

// The job that is open, and its output that is shown, or undefined.
function shownPair() {
  const job = page.model.jobs[byId('detail').dataset.index];
  return [job, job.outputs[page.at]];
}

function showPicture(stage, job, at) {
  page.at = at;
  stage.dataset.pictures = picturesKey(job);
  stage.input = null;
  showFrame(stage, job);
  showStrip(stage, job);
  refreshStage();
  announceShown(stage);
  const [next, its] = page.sequence[placeIn(page.sequence, job, at) + 1] ?? [];
  if (next?.outputs[its]) new Image().src = fileAddress(next.outputs[its]); // is there when it is turned to
}

function showFrame(stage, job) {
  const [frame, tools, also] = stage.children;
  const output = job.outputs[page.at];
  const companion = companionOf(job);
  stage.versus = companion && !stage.input && pairing(companion) !== 'picture' ? pairOf(job, output, companion) : null;
  frame.classList.toggle('pair', Boolean(stage.versus));
  if (stage.versus) showPair(stage.versus, frame);
  else frame.replaceChildren(singlePicture(stage, job, output, frame));
  settleAlike(tools, companion ? pairingTools(job, stage, companion) : []);
  settleAlike(also, alsoOf(stage, job));
  showCaption(stage, job, output);
}

// Beside another picture, the mark is in the caption of its own.
function showCaption(stage, job, output) {
  const words = [markOf(job, output), reasonOf(job, output)].filter(Boolean).join(': ');
  const caption = stage.querySelector('.captions .mark');
  if (caption) caption.textContent = words ? ` · ${words}` : '';
}

function singlePicture(stage, job, output, frame) {
  if (stage.input) return fullPicture(job, { source: stage.input.small, small: stage.input.small, label: stage.input.label }, frame);
  if (!output) return el('div', { class: 'missing' }, job.error ? el('p', { class: 'code' }, job.error.code) : null, el('p', {}, job.error?.message ?? 'There is no picture of this job.'));
  return fullPicture(job, { source: fileAddress(output), small: smallOf(job, output), label: output.path }, frame);
}

// -- the neighbours ----------------------------------------------------------------------------------------------------

function showStrip(stage, job) {
  const strip = stage.querySelector('.strip');
  const place = placeIn(page.sequence, job, page.at);
  const begin = Math.max(0, place - NEIGHBOURS);
  const known = new Map([...strip.children].map((one) => [one.dataset.place, one]));
  settle(strip, page.sequence.slice(begin, place + NEIGHBOURS + 1).map(([one, at], offset) => neighbourOf(one, at, String(begin + offset), known)));
  for (const one of strip.children) {
    if (one.dataset.place === String(place)) one.setAttribute('aria-current', 'true');
    else one.removeAttribute('aria-current');
  }
  const current = strip.querySelector('[aria-current]');
  if (current) strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
}

function neighbourOf(job, at, place, known) {
  const output = job.outputs[at];
  const key = `${job.index}.${at}.${job.version}`;
  const old = known.get(place);
  if (old?.dataset.key === key) return old;
  const small = smallOf(job, output);
  const [, width, height] = job.thumbnails[at] ?? [null, 1, 1];
  const ratio = String(Math.min(1.8, Math.max(0.6, width / height)));
  return el('button', { type: 'button', css: { '--ratio': ratio }, 'data-place': place, 'data-key': key, 'data-strip': job.index, 'data-at': at, title: nameOf(job, output), onclick: () => turnTo(job, at) },
    small ? el('img', { src: small, alt: '' }) : el('span', { class: 'label' }, STATES[job.status]));
}

function turnBar() {
  return el('div', { class: 'turn' },
    el('button', { type: 'button', 'aria-label': 'Previous picture', 'data-turn': '-1', onclick: () => turn(-1) }, '←'),
    el('span', { class: 'place' }),
    el('button', { type: 'button', 'aria-label': 'Next picture', 'data-turn': '1', onclick: () => turn(1) }, '→'),
    el('span', { class: 'tally' }), el('span', { class: 'spoken unseen', role: 'status' }));
}

function turn(step) {
  const [job] = shownPair();
  const next = page.sequence[placeIn(page.sequence, job, page.at) + step];
  if (next) turnTo(...next);
  return Boolean(next);
}

// Shows another picture without drawing the page behind it again.
function turnTo(job, at) {
  page.state.job = job.index;
  history.replaceState(history.state, '', addressOf(page.state));
  showDetail(page.model.jobs[job.index], at);
}

// -- deciding ----------------------------------------------------------------------------------------------------------

function decideBar() {
  const decisions = Object.entries(MARKS).map(([mark, { verb, key, sign }]) => el('button', { type: 'button', class: 'decision', 'data-decide': mark, onclick: () => decideShown(mark) },
    el('span', { 'aria-hidden': 'true' }, sign), ` ${verb} `, el('kbd', { 'aria-hidden': 'true' }, key)));
  if (MARKS.rejected) decisions.push(el('button', { type: 'button', class: 'decision more', 'data-ask': true, 'aria-label': 'Reject with a reason', title: 'Reject with a reason (r)', onclick: askShown }, '…'));
  const ratings = Array.from({ length: MOST_RATING }, (_, at) => el('button', { type: 'button', 'data-rate': at + 1, 'aria-label': `Rate ${at + 1} of ${MOST_RATING}`, title: `Rate (${at + 1})`, onclick: () => rateShown(at + 1) }));
  return el('div', { class: 'decide' },
    ...decisions, el('span', { class: 'rating', role: 'group', 'aria-label': 'Rating' }, ...ratings),
    el('button', { type: 'button', class: 'decision', 'data-undo': true, onclick: undoShown }, 'Undo ', el('kbd', { 'aria-hidden': 'true' }, 'u')));
}

// For screen readers: the picture that is shown, after what was decided about the one before.
function announceShown(stage, decided = '') {
  const [job, output] = shownPair();
  const rating = ratingOf(job, output);
  const words = [nameOf(job, output), markOf(job, output), reasonOf(job, output), rating ? `rated ${rating}` : null, stage.querySelector('.place').textContent];
  stage.querySelector('.spoken').textContent = `${decided}${words.filter(Boolean).join(', ')}`;
}

// Picks or rejects the picture, and turns to the next one; if it had the mark, removes it and stays.
function decideShown(mark) {
  const [job, output] = shownPair();
  if (!output) return;
  const isGiven = toggleMark([[job, output]], mark);
  if (isGiven) turn(1);
  announceShown(document.querySelector('#detail .stage'), isGiven ? `${nameOf(job, output)} ${mark}. ` : '');
}

function askShown() {
  const [job, output] = shownPair();
  if (!output) return;
  askReason([[job, output]], () => {
    turn(1);
    announceShown(document.querySelector('#detail .stage'), `${nameOf(job, output)} rejected. `);
  });
}

// The same rating again removes it.
function rateShown(rating) {
  const [job, output] = shownPair();
  if (output) setMarks([[job, output]], { rating: ratingOf(job, output) === rating ? 0 : rating });
}

function undoShown() {
  const undone = undoMarks();
  if (!undone) return;
  const [job, output] = undone;
  const at = Math.max(0, job.outputs.findIndex((one) => one.index === output?.index));
  if (placeIn(page.sequence, job, at) >= 0) turnTo(job, at);
}

// The buttons, the strip and the counts of the open picture, by its marks. They are disabled for a job without a picture.
function refreshStage() {
  const stage = document.querySelector('#detail .stage');
  if (!stage) return;
  const [job, output] = shownPair();
  const mark = markOf(job, output);
  const rating = ratingOf(job, output);
  const reason = reasonOf(job, output);
  stage.dataset.mark = mark ?? '';
  stage.dataset.reason = reason ? ` · ${reason}` : '';
  showCaption(stage, job, output);
  showOpenNote(job);
  for (const one of stage.querySelectorAll('[data-decide]')) one.setAttribute('aria-pressed', String(one.dataset.decide === mark));
  for (const one of stage.querySelectorAll('[data-rate]')) {
    one.classList.toggle('full', Number(one.dataset.rate) <= rating);
    one.textContent = Number(one.dataset.rate) <= rating ? '★' : '☆';
    one.setAttribute('aria-pressed', String(Number(one.dataset.rate) === rating));
  }
  for (const one of stage.querySelectorAll('[data-decide], [data-ask], [data-rate]')) one.disabled = !output;
  stage.querySelector('[data-undo]').disabled = !marks.steps.length;
  for (const one of stage.querySelectorAll('[data-strip]')) showNeighbour(one);
  const place = placeIn(page.sequence, job, page.at);
  stage.querySelector('.place').textContent = `${(place + 1).toLocaleString('en')} of ${page.sequence.length.toLocaleString('en')}`;
  for (const one of stage.querySelectorAll('[data-turn]')) one.disabled = !page.sequence[place + Number(one.dataset.turn)];
  const tally = tallyWords(tallyOf(page.sequence.map(([each, at]) => [each, each.outputs[at]])));
  if (stage.querySelector('.tally').textContent !== tally) stage.querySelector('.tally').textContent = tally;
}

function showNeighbour(one) {
  const job = page.model.jobs[one.dataset.strip];
  const output = job.outputs[one.dataset.at];
  const mark = markOf(job, output);
  const rating = ratingOf(job, output);
  one.dataset.marked = mark ?? '';
  one.dataset.rated = rating ? '★'.repeat(rating) : '';
  one.setAttribute('aria-label', [`Show ${nameOf(job, output)}`, mark, rating ? `rated ${rating}` : null].filter(Boolean).join(', '));
}

// -- the picture and its source, or another take -----------------------------------------------------------------------

// What a picture is compared with: its source, and the other takes of the same output, the newest first.
function companionsOf(job) {
  const source = sourceOf(job);
  const index = job.outputs[page.at]?.index ?? 0;
  const takes = (job.takes ?? []).filter((take) => take.index === index).sort((a, b) => (b.generation ?? 0) - (a.generation ?? 0));
  return [
    ...(source?.output ? [{ kind: 'source', job: source.job, output: source.output, label: source.label, words: 'source' }] : []),
    ...takes.map((output) => ({ kind: 'take', job, output, label: takeName(output), words: takeWords(job, output) })),
  ];
}

function companionOf(job) {
  const companions = companionsOf(job);
  return companions[page.companion] ?? companions[0];
}

function takeName(take) {
  return `take ${(take.generation ?? 0) + 1}`;
}

// That of the picture that counts; undefined without one.
function takeOf(job) {
  return job.outputs.length ? takeName(job) : undefined;
}

function takeWords(job, take) {
  if (markOf(job, take) !== 'rejected') return 'not rejected';
  const reason = reasonOf(job, take);
  return reason ? `rejected: ${reason}` : 'rejected';
}

const PAIRING_KEYS = { source: ['crucible-pairing', 'beside'], take: ['crucible-takes', 'picture'] };

function pairing({ kind }) {
  const [key, fallback] = PAIRING_KEYS[kind];
  const kept = recall(key, null) ?? page.pairing?.[kind];
  return Object.hasOwn(PAIRINGS, kept) ? kept : fallback;
}

function setPairing({ kind }, chosen) {
  page.pairing = { ...page.pairing, [kind]: chosen };
  keep(PAIRING_KEYS[kind][0], chosen);
}

function pairOf(job, output, companion) {
  const own = companion.kind === 'take' ? `${nameOf(job, output)}, ${output ? takeName(output) : 'no take'}` : nameOf(job, output);
  const captions = [captionOf(companion, companion.output), captionOf({ label: own }, output)];
  captions[1].append(el('span', { class: 'mark' }));
  const versus = versusOf([paneOf(companion.job, companion.output), paneOf(job, output)], { beside: pairing(companion) === 'beside', shown: ({ top, beside }) => {
    captions.forEach((caption, side) => caption.classList.toggle('under', !beside && side !== top));
    versus.captions.classList.toggle('beside', beside);
  } });
  versus.captions = el('div', { class: 'captions', 'aria-live': 'polite' }, ...captions);
  return versus;
}

function captionOf({ kind, job, label, words }, output) {
  const name = kind === 'source' ? openJob(job, { class: 'link', title: `Open ${label}` }, el('bdi', {}, label)) : el('b', {}, el('bdi', {}, label));
  return el('p', {}, name, el('span', { class: 'dim' }, [words, output ? `${output.width} × ${output.height}` : null].filter(Boolean).map((word) => ` · ${word}`).join('')));
}

function showPair(versus, frame) {
  frame.classList.remove('real');
  frame.replaceChildren(versus.box, versus.captions);
  versus.show({ top: 1 });
}

function pairingTools(job, stage, companion) {
  const choose = (chosen) => {
    setPairing(companion, chosen);
    stage.input = null;
    showFrame(stage, job);
    stage.querySelector('.pairing [aria-pressed=true]')?.focus();
  };
  const choices = Object.entries(PAIRINGS).map(([key, label]) => button(label, () => choose(key), { class: 'chip', 'aria-pressed': String(key === pairing(companion)) }));
  return [...choices, ...(stage.versus ? [stage.versus.zoomer] : [])];
}

// In turn with the source or the other take: from any of the three views.
function flipCompanion(stage) {
  const job = shownPair()[0];
  const companion = companionOf(job);
  if (!companion) return false;
  if (!stage.versus || stage.versus.beside) {
    setPairing(companion, 'flip');
    stage.input = null;
    showFrame(stage, job);
  }
  stage.versus.flip();
  return true;
}

// Small pictures to choose from: the input images, and what the picture may be compared with, if that is more than one.
function alsoOf(stage, job) {
  const companions = companionsOf(job);
  const inputs = inputsOf(job).map(([name, small]) => alsoButton(`input: ${name}`, small, stage.input?.small === small, () => {
    stage.input = stage.input?.small === small ? null : { small, label: `input: ${name}` };
    showFrame(stage, job);
  }));
  const others = companions.length < 2 && companions[0]?.kind !== 'take' ? [] : companions.map((one, at) =>
    alsoButton(`${one.label} (${one.words})`, one.kind === 'take' ? fileAddress(one.output) : smallOf(one.job, one.output), stage.versus && companionOf(job).output === one.output, () => chooseCompanion(stage, job, at)));
  return [...others, ...inputs];
}

function alsoButton(label, small, isShown, act) {
  return el('button', { type: 'button', title: label, 'aria-label': `Show ${label}`, 'aria-pressed': String(Boolean(isShown)), onclick: act },
    small ? tinyPicture(small) : el('span', { class: 'label' }, label));
}

// A picture from the file itself, which may be missing beside the page.
function tinyPicture(source) {
  const image = el('img', { src: source, alt: '', loading: 'lazy', onerror: () => image.replaceWith(el('span', { class: 'blank', 'aria-hidden': 'true' })) });
  return image;
}

function chooseCompanion(stage, job, at) {
  page.companion = at;
  stage.input = null;
  const companion = companionOf(job);
  if (pairing(companion) === 'picture') setPairing(companion, 'beside');
  showFrame(stage, job);
}

// The next take of several.
function nextCompanion(stage) {
  const [job] = shownPair();
  const companions = companionsOf(job);
  if (!companions.length) return;
  chooseCompanion(stage, job, stage.versus ? ((page.companion ?? 0) + 1) % companions.length : 0);
}

// -- one picture -------------------------------------------------------------------------------------------------------

// The file of an output as an address beside this page. A served page names its bytes as well, since another picture may
// be at the path after the next run, and the browser has kept the first one.
function fileAddress({ path, sha256 }) {
  const address = path.split('/').map(encodeURIComponent).join('/');
  return page.model.data.live ? `${address}?${sha256.slice(0, 12)}` : address;
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
