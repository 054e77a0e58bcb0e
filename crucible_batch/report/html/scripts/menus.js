// Menus of the page: a summary that opens a panel. One is open at a time; a click elsewhere and Escape close it.
function setUpMenus() {
  document.addEventListener('click', (event) => closeMenus(event.target.closest?.('.menu')));
  document.addEventListener('toggle', ({ target: menu }) => {
    if (!menu.open || !menu.classList.contains('menu')) return;
    const items = menu.querySelector('.items');
    items.classList.remove('end');
    items.classList.toggle('end', items.getBoundingClientRect().right > document.documentElement.clientWidth - 8);
  }, true);
  document.addEventListener('keydown', (event) => {
    const menu = document.activeElement?.closest?.('.menu[open]');
    if (!menu) return;
    if (event.key === 'Escape') {
      closeMenus();
      menu.firstChild.focus();
      event.stopPropagation();
    } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      const items = [menu.firstChild, ...menu.querySelectorAll('.items :is(input, button):not([disabled])')];
      const at = items.indexOf(document.activeElement) + (event.key === 'ArrowDown' ? 1 : -1);
      items[Math.max(0, Math.min(items.length - 1, at))].focus();
      event.preventDefault();
      event.stopPropagation();
    }
  }, true);
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll('.menu[open]')) if (menu !== except) menu.open = false;
}
