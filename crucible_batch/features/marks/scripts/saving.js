// Saves marks and notes with the run, as soon as they change. What can't be saved stays in the browser, and is shown.
const SAVE_AFTER_MS = 120;
const AGAIN_AFTER_MS = 3000;
const MOST_AT_ONCE = 300;
const MOST_TEXTS = 100; // notes, and rejections with their reasons
const MOST_KEPT_ALIVE = 20_000; // letters: a page that is closed may still send 64 KiB
const saving = { timer: null, isSending: false, hasSaved: false, problem: null };

function saveSoon(delay = SAVE_AFTER_MS) {
  clearTimeout(saving.timer);
  saving.timer = setTimeout(saveMarks, delay);
  showSaving();
}

// What is to be saved of the browser's marks: entries are [key, entry]. Jobs without an output have no bytes to mark.
function unsavedMarks() {
  const entries = [...marks.own].filter(([key]) => isOutputKey(key));
  return {
    marks: entries.slice(0, MOST_AT_ONCE),
    rejections: entries.filter(([key, entry]) => entry.mark !== undefined && rejectionIn(entry) !== rejectionIn(marks.saved.get(key))).slice(0, MOST_TEXTS),
    notes: unsavedNotes().slice(0, MOST_TEXTS),
  };
}

// What the file of rejections has of an entry.
function rejectionIn({ mark, reason = '' } = {}) {
  return mark === 'rejected' ? `rejected ${reason}` : '';
}

// Names that can't be in a manifest, in a run of another origin, are not saved.
function isOutputKey(key) {
  return /^[^/\p{Cc}]{1,1000}\/\d{1,9} [0-9a-f]{12}$/u.test(key);
}

function unsavedNotes() {
  return [...marks.ownNotes].filter(([name]) => /^[^/\p{Cc}]{1,1000}$/u.test(name));
}

async function saveMarks() {
  if (saving.isSending || session.token === null) {
    showSaving();
    return;
  }
  saving.isSending = true;
  dropSaved();
  const { marks: entries, rejections, notes } = unsavedMarks();
  const problems = [
    await problemOf(rejections.length > 0, () => sendRejections(rejections)),
    await problemOf(entries.length + notes.length > 0, () => sendMarks(entries, notes)),
  ].filter(Boolean);
  saving.isSending = false;
  saving.problem = problems[0]?.message ?? null;
  dropSaved();
  keepMarks();
  refreshStage();
  showNext();
  if (problems.some(({ isTemporary }) => isTemporary)) saveSoon(AGAIN_AFTER_MS);
  else if (!problems.length && unsavedCount()) saveSoon();
  showSaving();
}

async function problemOf(isNeeded, send) {
  if (!isNeeded) return null;
  try {
    await send();
    return null;
  } catch (error) {
    return error;
  }
}

async function sendMarks(entries, notes) {
  const changes = entries.map(([key, { mark, rating }]) => [key, { ...(mark === undefined ? {} : { mark: mark === 'picked' ? mark : null }), ...(rating === undefined ? {} : { rating }) }]);
  await post({ marks: Object.fromEntries(changes), notes: Object.fromEntries(notes) });
  for (const [key, { mark, rating }] of entries) {
    const known = marks.saved.get(key) ?? {};
    const isMarkSaved = mark !== undefined && mark !== 'rejected' && known.mark !== 'rejected';
    marks.saved.set(key, { ...known, ...(isMarkSaved ? { mark } : {}), ...(rating === undefined ? {} : { rating }) });
  }
  for (const [name, note] of notes) {
    marks.savedNotes.set(name, note);
    if (marks.ownNotes.get(name) === note) marks.ownNotes.delete(name);
  }
}

// A picture that the run doesn't have any more can't be rejected: the page is out of date. With another reason, a rejection
// is taken back and given again.
async function sendRejections(entries) {
  const isRejected = ([, { mark }]) => mark === 'rejected';
  const keysOf = (some) => some.map(([key]) => key);
  const rejected = entries.filter(isRejected);
  const { unknown } = await post({
    rejected: keysOf(rejected), reasons: Object.fromEntries(rejected.filter(([, { reason }]) => reason).map(([key, { reason }]) => [key, reason])),
    restored: keysOf(entries.filter(([key, entry]) => !isRejected([key, entry]) || marks.saved.get(key)?.mark === 'rejected')),
  });
  for (const [key, { mark, reason = '' }] of entries) {
    if (unknown.includes(key)) marks.own.delete(key);
    else marks.saved.set(key, { ...marks.saved.get(key), ...(mark === 'rejected' ? { mark, reason } : { mark: null, reason: '' }) });
  }
  if (unknown.length) throw problem(`${plural(unknown.length, 'picture')} can’t be rejected: the run no longer has ${unknown.length === 1 ? 'it' : 'them'}. Reload the page`);
}

// Forgets what is saved as it is here.
function dropSaved() {
  for (const [key, { mark, reason, rating }] of marks.own) {
    const known = marks.saved.get(key) ?? {};
    const isMarkSaved = mark === undefined || (mark === (known.mark ?? null) && rejectionIn({ mark, reason }) === rejectionIn(known));
    const isRatingSaved = rating === undefined || rating === (known.rating ?? 0);
    if (isMarkSaved && isRatingSaved) marks.own.delete(key);
  }
}

function unsavedCount() {
  return [...marks.own.keys()].filter(isOutputKey).length + unsavedNotes().length;
}

function problem(message, isTemporary = false) {
  return Object.assign(new Error(message), { isTemporary });
}

async function post(changes) {
  const body = JSON.stringify(changes);
  let answer;
  try {
    answer = await fetch(`/save/marks/${page.model.data.live.key}`, {
      method: 'POST', body, credentials: 'omit', keepalive: body.length < MOST_KEPT_ALIVE,
      headers: { 'content-type': 'application/json', 'x-crucible-control': session.token ?? '' },
    });
  } catch {
    throw problem('The viewer does not respond. Is it still running?', true);
  }
  if (answer.status === 403) session.token = null;
  const text = await answer.text();
  const found = answer.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : { message: text.trim() };
  if (!answer.ok) {
    showControls();
    throw problem([found.message, found.hint].filter(Boolean).join(' · '));
  }
  return found;
}

function showSaving() {
  const count = unsavedCount();
  const lacksToken = count > 0 && session.token === null;
  let words = saving.hasSaved ? 'Saved' : '';
  if (lacksToken) words = 'Not saved: enter the token of this session, at the top of the page';
  else if (saving.problem) words = `Not saved: ${saving.problem}`;
  else if (count) words = 'Saving…';
  else if (marks.problem) words = `Not shown: ${marks.problem}`;
  saving.hasSaved ||= count > 0;
  for (const one of document.querySelectorAll('.saving')) {
    one.classList.toggle('bad', Boolean(saving.problem || marks.problem) || lacksToken);
    if (one.textContent !== words) one.textContent = words;
  }
}

// A browser asks before it closes a page with something that could not be saved.
addEventListener('pagehide', () => { if (unsavedCount()) saveMarks(); });
addEventListener('beforeunload', (event) => { if (saving.problem && unsavedCount()) event.preventDefault(); });
page.saves = true;
showControls();
byId('feed').after(el('p', { class: 'saving', role: 'status' }));
onMarks(() => saveSoon());
onToken(() => saveSoon(0));
followers.push(showSaving);
saveSoon();
