// Light, dark, or what the system says. Where the browser keeps nothing for pages on a disk, it lasts for the visit.
function setUpTheme() {
  const order = ['auto', 'light', 'dark'];
  let theme = remembered();
  const toggle = byId('theme');
  const show = () => {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    toggle.textContent = { auto: '◐ Auto', light: '○ Light', dark: '● Dark' }[theme];
    toggle.setAttribute('aria-label', `Colours: ${theme}`);
  };
  toggle.onclick = () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    try { localStorage.setItem('crucible-theme', theme); } catch { /* kept for the visit only */ }
    show();
  };
  show();

  function remembered() {
    try {
      const kept = localStorage.getItem('crucible-theme');
      return order.includes(kept) ? kept : 'auto';
    } catch { return 'auto'; }
  }
}
