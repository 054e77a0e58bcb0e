// Elements: text goes in as text, and nothing is ever parsed as markup.
function el(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') element.className = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'css') for (const [key, style] of Object.entries(value)) element.style.setProperty(key, style);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Makes `parent` contain exactly these elements without moving those in the right place, which keep focus and picture.
function settle(parent, elements) {
  const wanted = new Set(elements);
  for (const old of [...parent.childNodes]) if (!wanted.has(old)) old.remove();
  let at = parent.firstChild;
  for (const element of elements) {
    if (element === at) at = at.nextSibling;
    else parent.insertBefore(element, at);
  }
}

// The same for elements that are created each time: an element that equals an existing one is not replaced.
function settleAlike(parent, elements) {
  const old = [...parent.children];
  settle(parent, elements.map((element, at) => (old[at]?.isEqualNode(element) ? old[at] : element)));
}

function byId(id) {
  return document.getElementById(id);
}

function button(text, onclick, options = {}) {
  return el('button', { type: 'button', class: 'quiet', onclick, ...options }, text);
}

// A dialog that gives the focus back, and whose backdrop closes it. `onclose` runs immediately and not with the event "close",
// which comes later: a page that is loaded again in between would show the dialog again.
function openDialog(id, label, content, onclose) {
  byId(id)?.remove();
  const dialog = el('dialog', { id, 'aria-label': label }, content);
  const leave = () => {
    if (!dialog.isConnected) return;
    dialog.close();
    dialog.remove();
    onclose?.();
  };
  dialog.append(el('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: leave }, '×'));
  dialog.addEventListener('click', (event) => { if (event.target === dialog) leave(); });
  dialog.addEventListener('cancel', (event) => { event.preventDefault(); leave(); });
  dialog.addEventListener('close', leave);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// Values that the browser keeps. One that keeps nothing for pages on a disk returns the fallback; nothing fails.
function recall(key, fallback) {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch { return fallback; }
}

function keep(key, value) {
  try { localStorage.setItem(key, value); } catch { /* kept until the page is closed */ }
}
