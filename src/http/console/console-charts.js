// Charts on canvases. Each function draws one whole chart; colours are those of the style sheet.

const FONT = "11px system-ui, sans-serif";
const MARGIN = { left: 58, right: 10, top: 8, bottom: 20 };

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function series(index) {
  return colour(`series-${index % 8}`);
}

// Microseconds for people.
export function duration(us) {
  if (us == null || !Number.isFinite(us)) return "–";
  if (us < 1_000) return `${round(us)} µs`;
  if (us < 1_000_000) return `${round(us / 1_000)} ms`;
  return `${round(us / 1_000_000)} s`;
}

export function amount(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  const units = ["", "k", "M", "G", "T"];
  let unit = 0;
  while (Math.abs(value) >= 10_000 && unit < units.length - 1) { value /= 1_000; unit += 1; }
  return `${round(value)}${units[unit] && ` ${units[unit]}`}`;
}

export function bytes(value) {
  if (value == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) { value /= 1_024; unit += 1; }
  return `${round(value)} ${units[unit]}`;
}

function round(value) {
  const size = Math.abs(value);
  return value.toLocaleString("en", { maximumFractionDigits: size < 10 ? 2 : size < 100 ? 1 : 0 });
}

// A canvas cleared and scaled to the screen's pixels, and the box that is drawn into.
function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = FONT;
  const box = { x: MARGIN.left, y: MARGIN.top, w: width - MARGIN.left - MARGIN.right, h: height - MARGIN.top - MARGIN.bottom };
  return { pen, box, width, height };
}

function label(pen, text, x, y, align) {
  pen.fillStyle = colour("quiet");
  pen.textAlign = align;
  pen.fillText(text, x, y);
}

function horizontal(pen, box, at, text) {
  const y = box.y + box.h * (1 - at);
  pen.strokeStyle = colour("grid");
  pen.beginPath();
  pen.moveTo(box.x, y);
  pen.lineTo(box.x + box.w, y);
  pen.stroke();
  label(pen, text, box.x - 5, y + 4, "right");
}

function polyline(pen, points, style) {
  pen.strokeStyle = style;
  pen.lineWidth = 1.5;
  pen.beginPath();
  points.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.lineWidth = 1;
}

// The next round number that is not below.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

// Lines over time: `lines` are arrays of values, one a second, the newest last; `span` seconds are shown.
export function lines(canvas, all, span) {
  const { pen, box } = prepare(canvas);
  const top = ceiling(Math.max(1, ...all.flat()));
  for (const part of [0, 0.5, 1]) horizontal(pen, box, part, amount(top * part));
  label(pen, `${span} s ago`, box.x, box.y + box.h + 14, "left");
  label(pen, "now", box.x + box.w, box.y + box.h + 14, "right");
  all.forEach((values, index) => {
    const shown = values.slice(-span);
    const points = shown.map((value, at) => [box.x + (box.w * (span - shown.length + at + 1)) / span, box.y + box.h * (1 - value / top)]);
    polyline(pen, points, series(index));
  });
}

// Decades of microseconds that the charts of latency show.
const LOWEST = 0, HIGHEST = 7;

function decade(us) {
  return (Math.min(Math.max(Math.log10(us), LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST);
}

function decades(pen, box) {
  for (let power = LOWEST; power <= HIGHEST; power += 1) horizontal(pen, box, (power - LOWEST) / (HIGHEST - LOWEST), duration(10 ** power));
}

function blend(low, high, share) {
  const [a, b] = [low, high].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return `rgb(${a.map((from, at) => Math.round(from + (b[at] - from) * share)).join(" ")})`;
}

// Counts by bucket over time: `columns` are maps from upper bound in microseconds to count, one a second, the newest last.
export function heat(canvas, columns, span) {
  const { pen, box } = prepare(canvas);
  decades(pen, box);
  const shown = columns.slice(-span);
  const most = Math.max(1, ...shown.flatMap((column) => [...column.values()]));
  const [low, high] = [colour("heat-low"), colour("heat-high")];
  const width = box.w / span;
  shown.forEach((column, at) => {
    const x = box.x + width * (span - shown.length + at);
    for (const [upper, count] of column) {
      const lower = Number.isFinite(upper) ? upper / 1.26 : 10 ** HIGHEST / 1.26;
      const [y, end] = [decade(upper), decade(lower)].map((part) => box.y + box.h * (1 - part));
      // Few among many should still be seen.
      pen.fillStyle = blend(low, high, Math.log1p(count) / Math.log1p(most));
      pen.fillRect(x, y, Math.max(width, 1) + 0.5, Math.max(end - y, 2));
    }
  });
  label(pen, `${span} s ago`, box.x, box.y + box.h + 14, "left");
  label(pen, "now", box.x + box.w, box.y + box.h + 14, "right");
}

// The value at a percentile of counts by upper bound.
export function percentile(counts, percent) {
  const sorted = [...counts].sort(([a], [b]) => a - b);
  const total = sorted.reduce((sum, [, count]) => sum + count, 0);
  if (!total) return null;
  let below = 0;
  for (const [upper, count] of sorted) {
    below += count;
    if (below >= (total * percent) / 100 - 1e-9) return upper;
  }
  return sorted.at(-1)[0];
}

const NINES = [0, 50, 90, 99, 99.9, 99.99, 99.999];

// Latency by percentile, an equal step for each further nine.
export function percentiles(canvas, all) {
  const { pen, box } = prepare(canvas);
  decades(pen, box);
  const place = (at) => box.x + (box.w * at) / (NINES.length - 1);
  NINES.forEach((percent, at) => label(pen, `${percent}`, place(at), box.y + box.h + 14, at === 0 ? "left" : at === NINES.length - 1 ? "right" : "center"));
  all.forEach((counts, index) => {
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
    if (!total) return;
    // Beyond one in all there is nothing to tell.
    const told = NINES.map((percent, at) => [percent, at]).filter(([percent]) => percent <= 100 - 100 / total || percent <= 50);
    polyline(pen, told.map(([percent, at]) => [place(at), box.y + box.h * (1 - decade(percentile(counts, percent)))]), series(index));
  });
}

// A bar a core, from 0 to 1.
export function bars(canvas, shares) {
  const { pen, box } = prepare(canvas);
  for (const part of [0, 0.5, 1]) horizontal(pen, box, part, `${part * 100} %`);
  const step = box.w / Math.max(shares.length, 1);
  shares.forEach((share, index) => {
    const height = box.h * Math.min(Math.max(share, 0), 1);
    pen.fillStyle = series(index);
    pen.fillRect(box.x + step * index + step * 0.2, box.y + box.h - height, step * 0.6, height);
    label(pen, `core ${index}: ${Math.round(share * 100)} %`, box.x + step * (index + 0.5), box.y + box.h + 14, "center");
  });
}

// Keys against positions, tablet by tablet: dots where they are, a line where the models expect them.
export function picture(canvas, tablets) {
  const { pen, box } = prepare(canvas);
  const keys = tablets.flatMap((tablet) => tablet.map((point) => point.key));
  const [first, last] = [Math.min(...keys), Math.max(...keys)];
  const most = Math.max(1, ...tablets.flatMap((tablet) => tablet.map((point) => Math.max(point.position, point.predicted))));
  for (const part of [0, 0.25, 0.5, 0.75, 1]) horizontal(pen, box, part, amount(most * part));
  label(pen, "position in the tablet", box.x + 4, box.y + 10, "left");
  const x = (key) => box.x + (last > first ? (box.w * (key - first)) / (last - first) : box.w / 2);
  const y = (position) => box.y + box.h * (1 - position / most);
  tablets.forEach((tablet, index) => {
    polyline(pen, tablet.map((point) => [x(point.key), y(point.predicted)]), series(index));
    pen.fillStyle = colour("text");
    for (const point of tablet) pen.fillRect(x(point.key) - 1, y(point.position) - 1, 2, 2);
  });
  const ends = tablets.flat().sort((a, b) => a.key - b.key);
  if (ends.length) {
    label(pen, `key ${ends[0].key_text}`, box.x, box.y + box.h + 14, "left");
    label(pen, ends.at(-1).key_text, box.x + box.w, box.y + box.h + 14, "right");
  }
}
