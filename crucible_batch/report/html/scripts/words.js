// Numbers and moments as people read them. Credits stay the text that they are.
const STATES = {
  failed: 'failed', unknown: 'unknown', blocked: 'blocked', pending: 'not done yet', succeeded: 'succeeded',
};

const MARK_WORDS = { picked: 'picked', rejected: 'rejected', unmarked: 'unmarked' };

const SORTS = {
  manifest: 'Manifest order', newest: 'Newest first', rating: 'Best rating', credits: 'Most credits', name: 'By name',
};

const STAGES = {
  upload: 'uploading', send: 'sending', queue: 'in the queue', run: 'running', gateway: 'queue and run',
  download: 'downloading',
};

function plural(number, word) {
  return `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;
}

function credits(text) {
  return `${grouped(text)} ${text === '1' ? 'credit' : 'credits'}`;
}

// A decimal text with its thousands marked; no digit of it is touched.
function grouped(text) {
  const [integer, rest] = text.split('.');
  const marked = integer.replace(/\B(?=(\d{3})+$)/g, ',');
  return rest === undefined ? marked : `${marked}.${rest}`;
}

function lasting(seconds) {
  if (seconds < 0.1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function moment(value) {
  const date = typeof value === 'number' ? new Date(value * 1000) : new Date(value);
  return date.toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
}

function bytes(number) {
  if (number < 1e6) return `${Math.max(1, Math.round(number / 1e3))} kB`;
  return `${(number / 1e6).toFixed(1)} MB`;
}
