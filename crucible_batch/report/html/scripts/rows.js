// The geometry of the gallery. It is computed from the ratios of the pictures, so that the list has its full height and
// each row its place before any of them is drawn.
const LOOSEST = 1.4; // how much higher than asked for a full row may be

// Rows of pictures side by side, all of one height and as wide as the window. Of the two rows that a picture could begin
// or end, that whose height is nearer to the wanted one is taken. Returns [{ from, to, height }].
function pictureRows(ratios, width, wanted, gap) {
  const rows = [];
  let from = 0;
  let sum = 0;
  const heightOf = (ratio, count) => Math.max(1, (width - gap * (count - 1)) / ratio);
  for (let at = 0; at < ratios.length; at += 1) {
    const before = at > from ? heightOf(sum, at - from) : Infinity;
    sum += ratios[at];
    const height = heightOf(sum, at + 1 - from);
    if (height > wanted) continue;
    if (before <= wanted * LOOSEST && before / wanted < wanted / height) {
      rows.push({ from, to: at, height: before, isFull: true });
      [from, sum] = [at, ratios[at]];
      if (heightOf(sum, 1) > wanted) continue;
    }
    rows.push({ from, to: at + 1, height: heightOf(sum, at + 1 - from), isFull: true });
    [from, sum] = [at + 1, 0];
  }
  if (from < ratios.length) rows.push({ from, to: ratios.length, height: Math.min(wanted, heightOf(sum, ratios.length - from)), isFull: false });
  return rows;
}

// Rows of cells of one size: as many side by side as fit.
function cellRows(count, width, least, gap) {
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  return Array.from({ length: Math.ceil(count / columns) }, (_, at) => ({ from: at * columns, to: Math.min(count, (at + 1) * columns), columns }));
}

// The first row whose lower edge is below `y`.
function rowAt(rows, y) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height > y) high = middle;
    else low = middle + 1;
  }
  return Math.min(low, rows.length - 1);
}
