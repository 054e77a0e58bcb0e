// A note for each picture, kept by the browser like the stars.
const NOTE_LETTERS = 1000;

function setUpNotes() {
  try {
    const kept = JSON.parse(recall(notesKey(), '{}'));
    page.notes = new Map(Object.entries(kept ?? {}).filter(([, note]) => typeof note === 'string'));
  } catch { /* kept by another program: it is replaced by the next note */ }
}

function notesKey() {
  return `crucible-notes:${location.pathname}`;
}

function noteOf(job) {
  const area = el('textarea', { rows: '2', maxlength: NOTE_LETTERS, placeholder: 'Add a note', dir: 'auto', oninput: () => setNote(job, area.value) });
  area.value = page.notes.get(job.name) ?? '';
  return el('label', { class: 'note' }, el('span', { class: 'dim' }, 'Note'), area);
}

function setNote(job, text) {
  if (text.trim()) page.notes.set(job.name, text.slice(0, NOTE_LETTERS));
  else page.notes.delete(job.name);
  keep(notesKey(), JSON.stringify(Object.fromEntries(page.notes)));
  const card = document.querySelector(`#view-gallery [data-job="${job.index}"]`)?.closest('.card');
  card?.querySelector('.note-mark')?.remove();
  card?.append(...[noteMark(job)].filter(Boolean));
}

// The note in the caption of a picture.
function noteMark(job) {
  const note = page.notes.get(job.name);
  return note === undefined ? null : el('p', { class: 'note-mark', dir: 'auto' }, note);
}
