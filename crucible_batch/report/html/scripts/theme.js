// Light, dark, or the system's setting. If the browser stores nothing for local pages, it lasts for the visit.
function setUpTheme() {
  const order = ['auto', 'light', 'dark'];
  let theme = recall('crucible-theme', 'auto');
  if (!order.includes(theme)) theme = 'auto';
  const toggle = byId('theme');
  const show = () => {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    toggle.textContent = { auto: '◐ Auto', light: '○ Light', dark: '● Dark' }[theme];
    toggle.setAttribute('aria-label', `Colours: ${theme}`);
  };
  toggle.onclick = () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    keep('crucible-theme', theme);
    show();
  };
  show();
}
