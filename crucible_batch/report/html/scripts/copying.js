// Copying to the clipboard, also where a browser doesn't trust pages on a disk with it.
function copyButton(label, textOf) {
  const copy = button(label, async () => {
    const done = await copyText(textOf());
    copy.textContent = done ? 'Copied' : 'Press Ctrl-C';
    setTimeout(() => { copy.textContent = label; }, 1600);
  });
  return copy;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el('textarea', { class: 'unseen', 'aria-hidden': 'true' });
    area.value = text;
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
