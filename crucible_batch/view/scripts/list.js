// The list as the server draws it, drawn again when anything in it is another: only that is replaced.
let source = null;
let asking = false;

function listen() {
  source = new EventSource('/events');
  source.addEventListener('changed', refresh);
  source.addEventListener('open', () => say(''));
  source.addEventListener('error', () => say('The viewer doesn’t answer: is it still running?'));
}

function refresh() {
  if (asking) return;
  asking = true;
  const asked = new XMLHttpRequest();
  asked.responseType = 'document'; // the browser's own parser runs nothing of it
  asked.addEventListener('loadend', () => {
    asking = false;
    if (asked.status === 200) arrange(document.importNode(asked.response.getElementById('runs'), true));
  });
  asked.open('GET', '/');
  asked.send();
}

function arrange(fresh) {
  localTimes(fresh);
  settle(byId('runs'), [...fresh.children].map((run) => {
    const old = byId(run.id);
    if (!old) return run;
    keepPictures(old.querySelector('.strip'), run.querySelector('.strip'));
    settleAlike(old, [...run.children]);
    return old;
  }));
}

// A picture that is shown already moves along, and needs not be loaded again.
function keepPictures(old, fresh) {
  for (const picture of fresh?.children ?? []) {
    const shown = [...(old?.children ?? [])].find((one) => one.src === picture.src);
    if (shown) picture.replaceWith(shown);
  }
}

function localTimes(within) {
  for (const time of within.querySelectorAll('time')) {
    time.textContent = new Date(time.dateTime).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
  }
}

function say(words) {
  if (byId('feed').textContent !== words) byId('feed').textContent = words;
}

// A browser has few connections for one server: a page that nobody sees keeps none of them.
function mind() {
  source?.close();
  if (!document.hidden) listen();
}

setUpTheme();
localTimes(document);
document.addEventListener('visibilitychange', mind);
addEventListener('pagehide', () => source?.close());
addEventListener('pageshow', (event) => { if (event.persisted) mind(); });
mind();
