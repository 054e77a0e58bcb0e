// The note of a job: where it is written, and in the caption of a picture.
function noteOf(job) {
  const area = el('textarea', { rows: '2', maxlength: NOTE_LETTERS, placeholder: 'Add a note', dir: 'auto', oninput: () => setNote(job, area.value) });
  area.value = noteText(job);
  return el('label', { class: 'note' }, el('span', { class: 'dim' }, 'Note (n)'), area);
}

function noteMark(job) {
  const note = noteText(job);
  return note ? el('p', { class: 'note-mark', dir: 'auto' }, note) : null;
}

function showNote(card, job) {
  card?.querySelector('.note-mark')?.remove();
  card?.append(...[noteMark(job)].filter(Boolean));
}

// What was written elsewhere, unless it is being written here.
function showOpenNote(job) {
  const area = document.querySelector('#detail .note textarea');
  if (area && area !== document.activeElement) area.value = noteText(job);
}
