// A note for each picture: a field in the page of a job, and a line in its caption.
function noteOf(job) {
  const area = el('textarea', { rows: '2', maxlength: NOTE_LETTERS, placeholder: 'Add a note', dir: 'auto', oninput: () => setNote(job, area.value) });
  area.value = noteText(job);
  return el('label', { class: 'note' }, el('span', { class: 'dim' }, 'Note'), area);
}

// The note in the caption of a picture.
function noteMark(job) {
  const note = noteText(job);
  return note ? el('p', { class: 'note-mark', dir: 'auto' }, note) : null;
}
