// The token of this session is in the fragment of the printed address, which is never sent to a server. It is kept for
// this tab only, and removed from the address before anything else reads that.
const session = { token: null };
try {
  const given = /^#control=([\w-]{20,200})$/.exec(location.hash);
  if (given) {
    sessionStorage.setItem('control', given[1]);
    history.replaceState(null, '', location.pathname + location.search);
  }
  session.token = sessionStorage.getItem('control');
} catch { /* storage is blocked: the page asks for the token */ }
