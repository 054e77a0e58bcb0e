// Two pictures in turn at the same place, or side by side; both keep the same zoom and the same corner.
function versusOf(panes, { beside, shown }) {
  const box = el('div', { class: 'panes' }, ...panes);
  const versus = { box, panes, beside, top: 0, scale: 1 };
  versus.show = (change = {}) => {
    Object.assign(versus, change);
    box.classList.toggle('beside', versus.beside);
    panes.forEach((pane, at) => pane.classList.toggle('under', !versus.beside && at !== versus.top));
    shown(versus);
  };
  versus.flip = () => versus.show({ top: 1 - versus.top });
  versus.zoom = (scale) => {
    versus.scale = scale;
    zoom.value = String(scale);
    panes.forEach((pane) => zoomPane(pane, scale));
  };
  const zoom = el('input', { type: 'range', min: '1', max: '6', step: '0.1', value: '1', oninput: () => versus.zoom(Number(zoom.value)) });
  versus.zoomer = el('label', { class: 'zoomer' }, 'Zoom', zoom);
  for (const pane of panes) pane.addEventListener('click', () => { if (!versus.beside) versus.flip(); });
  scrollTogether(panes);
  return versus;
}

// One output of a job; its small picture if the file is not there, and words if that is missing too.
function paneOf(job, output = job.outputs[0]) {
  const pane = el('div', { class: 'pane', 'data-name': job.name });
  const small = smallOf(job, output);
  const lack = () => el('p', { class: 'missing' }, output ? `${output.path} is not beside this page, or is not in a format that the browser can show.` : `There is no picture of ${job.name}.`);
  if (!output && !small) {
    pane.append(lack());
    return pane;
  }
  const image = el('img', { src: output ? fileAddress(output) : small, alt: titleOf(job) });
  image.addEventListener('error', () => {
    if (small && image.getAttribute('src') !== small) image.src = small;
    else image.replaceWith(lack());
  });
  pane.append(image);
  return pane;
}

// The small picture of an output; null for another take of a job.
function smallOf(job, output) {
  return job.thumbnails[output ? job.outputs.indexOf(output) : 0]?.[0] ?? null;
}

function zoomPane(pane, scale) {
  const middle = [(pane.scrollLeft + pane.clientWidth / 2) / pane.scrollWidth, (pane.scrollTop + pane.clientHeight / 2) / pane.scrollHeight];
  pane.classList.toggle('zoomed', scale > 1);
  const image = pane.querySelector('img');
  if (image) image.style.width = image.style.height = scale > 1 ? `${scale * 100}%` : '';
  pane.scrollTo(middle[0] * pane.scrollWidth - pane.clientWidth / 2, middle[1] * pane.scrollHeight - pane.clientHeight / 2);
}

function scrollTogether(panes) {
  panes.forEach((pane, at) => pane.addEventListener('scroll', () => {
    const other = panes[1 - at];
    if (other.scrollLeft !== pane.scrollLeft) other.scrollLeft = pane.scrollLeft;
    if (other.scrollTop !== pane.scrollTop) other.scrollTop = pane.scrollTop;
  }, { passive: true }));
}
