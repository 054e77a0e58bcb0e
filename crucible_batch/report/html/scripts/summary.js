// The head of the page: how it went, what it cost, and what to do next.
function renderSummary({ data }) {
  byId('when').textContent = [
    data.run_id === 'default' ? null : data.run_id, moment(data.finished_at ?? data.started_at), data.live?.standing ?? data.ending,
  ].filter(Boolean).join(' · ');
  const facts = el('div', { class: 'facts' }, countFact(data.counts), ...troubleFacts(data), creditsFact(data.credits, data.period));
  if (data.finished_at) facts.append(fact(lasting((new Date(data.finished_at) - new Date(data.started_at)) / 1000), 'from first start to last end', 'lasting'));
  settleAlike(byId('summary'), [facts, outcomeOf(data)]);
}

// The notes and the next step; in a narrow window a line that opens, so that the pictures stay in sight.
function outcomeOf(data) {
  const outcome = byId('outcome') ?? el('details', { id: 'outcome', open: innerWidth > 640 });
  settleAlike(outcome, [el('summary', {}, 'Details and next step'), ...notesOf(data), nextOf(data)]);
  outcome.hidden = outcome.querySelectorAll('li, .next > *').length === 0;
  return outcome;
}

function fact(figure, label, tone) {
  const shown = el('p', { class: 'figure' });
  shown.append(...[figure].flat());
  return el('div', { class: `fact ${tone ?? ''}` }, shown, el('p', { class: 'label' }, label));
}

function countFact(counts) {
  const reused = counts.reused ? `, ${counts.reused} found at the gateway` : '';
  return fact([String(counts.succeeded.toLocaleString('en')), el('small', {}, ` of ${counts.total.toLocaleString('en')}`)], `succeeded${reused}`);
}

function troubleFacts({ counts, live }) {
  const toneOf = (state) => (state === 'failed' ? 'bad' : state === 'pending' && live?.running ? '' : 'warn');
  return ['failed', 'unknown', 'blocked', 'pending'].filter((state) => counts[state])
    .map((state) => fact(counts[state].toLocaleString('en'), STATES[state], toneOf(state)));
}

function creditsFact(books, period) {
  const budget = books.budget === undefined || books.budget === null ? null : books.budget;
  const over = Number(books.over_budget) > 0;
  const parts = [
    Number(books.reused) ? `${books.reused} for reused jobs, paid before` : null,
    Number(books.held) ? `${books.held} held` : null, Number(books.refunded) ? `${books.refunded} refunded` : null,
    Number(books.uploads) ? `${books.uploads} for uploads` : null, over ? `${books.over_budget} over budget` : null,
  ].filter(Boolean);
  const shown = fact([grouped(books.spent), el('small', {}, budget === null ? ' credits, no budget' : ` of ${grouped(budget)} credits${period ? ` allowed within the budget of the ${period.per}` : ''}`)], parts.join(' · ') || 'spent', over ? 'bad' : '');
  if (budget !== null) shown.insertBefore(meter(books, Number(budget)), shown.lastChild);
  return shown;
}

function meter(books, budget) {
  const share = (amount) => `${Math.min(100, (100 * amount) / Math.max(budget, 1e-9))}%`;
  const spent = Number(books.spent);
  return el('div', { class: 'meter', 'aria-hidden': 'true' },
    el('span', { class: 'spent', css: { left: '0', width: share(spent) } }),
    el('span', { class: 'held', css: { left: share(spent), width: share(Math.min(Number(books.held), Math.max(0, budget - spent))) } }));
}

function notesOf(data) {
  const notes = el('ul', { class: 'notes' });
  const seen = new Set();
  for (const stop of Object.values(data.stops ?? {})) {
    if (seen.has(stop.code)) continue;
    seen.add(stop.code);
    notes.append(el('li', { class: 'bad' }, el('span', { class: 'mono' }, stop.code), ` ${sentences(stop.message, stop.hint)}`));
  }
  for (const stage of data.waiting ?? []) {
    notes.append(el('li', { class: 'warn' }, el('b', {}, el('bdi', {}, stage.name)), ' waits for ', el('bdi', { class: 'mono' }, stage.pick), `: pick from ${plural(stage.choices, 'job')} named `, el('bdi', { class: 'mono' }, stage.sources)));
  }
  for (const text of data.notes ?? []) notes.append(el('li', {}, text));
  return notes.children.length ? [notes] : [];
}

// A hint is written to stand behind a label; behind another sentence it is one of its own.
function sentences(message, hint) {
  return hint ? `${message}. ${hint[0].toUpperCase()}${hint.slice(1)}.` : message;
}

function nextOf(data) {
  const next = el('div', { class: 'next' });
  const rejected = data.live?.running ? [] : rejectedNow();
  if (data.advice.command || (data.live && !rejected.length)) next.append(el('p', {}, data.advice.text));
  if (data.advice.command) next.append(commandLine(data.advice.command));
  if (rejected.length) next.append(...rejectedStep(rejected, data));
  return next;
}

function rejectedStep(rejected, data) {
  const them = rejected.length === 1 ? 'it' : 'them';
  const count = `${plural(rejected.length, 'picture')} rejected`;
  if (areSaved(rejected)) return [el('p', {}, `${count}. To buy ${them} again, within the budget:`), commandLine(data.again)];
  return [el('p', {}, `${count}, in this browser only. `, button(`How to buy ${them} again`, showRejects, { 'aria-haspopup': 'dialog' }))];
}
