// Why pictures are rejected: typed, or chosen from what was given before.
const BY_CHECK = /^check [a-z]+: /;
const MOST_REASONS = 6;

// Rejects pictures for a reason, which may be empty: typed, or one that was given before. Then calls `done`.
function askReason(pairs, done) {
  if (!pairs.length || !MARKS.rejected) return;
  const reject = (text) => {
    dialog.close();
    setMarks(pairs, { mark: 'rejected', reason: plainReason(text) });
    done();
  };
  const known = [...new Set(pairs.map(([job, output]) => reasonOf(job, output)))];
  const field = el('input', { id: 'reason-text', maxlength: REASON_LETTERS, autocomplete: 'off', dir: 'auto', 'aria-describedby': 'reason-about' });
  field.value = known.length === 1 ? known[0] : '';
  const about = pairs.length === 1 ? nameOf(...pairs[0]) : plural(pairs.length, 'picture');
  const dialog = openDialog('reason', 'Reject with a reason', el('form', { onsubmit: (event) => { event.preventDefault(); reject(field.value); } },
    el('label', { for: 'reason-text' }, 'Reason'), el('span', { class: 'dim', id: 'reason-about' }, 'to reject ', el('bdi', {}, about)),
    el('div', { class: 'line' }, field, el('button', { class: 'decision' }, '✕ Reject')),
    el('div', { class: 'chips' }, ...givenReasons().map((reason) => button(reason, () => reject(reason), { class: 'chip', title: reason, dir: 'auto' })))));
  field.focus();
  field.select();
}

// As it stands in a line of rejects.txt: characters that are not seen could hide what a command does.
function plainReason(text) {
  const reason = text.replace(/\p{C}/gu, ' ').replace(/\s+/gu, ' ').trim();
  return BY_CHECK.test(reason) ? `C${reason.slice(1)}` : reason;
}

// What people have given as reasons in this run, the most frequent first.
function givenReasons() {
  const counts = new Map();
  for (const [job, output] of rejectedPairs()) {
    const reason = reasonOf(job, output);
    if (reason && !BY_CHECK.test(reason)) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts].sort(([, one], [, other]) => other - one).slice(0, MOST_REASONS).map(([reason]) => reason);
}

// Of the outputs of a job that count.
function jobReasons(job) {
  return marksOf(job).marks.includes('rejected') ? [...new Set(job.outputs.map((output) => reasonOf(job, output)))].filter(Boolean) : [];
}
