// Small plots, drawn by hand as SVG. A hole in the data is a hole in the line.

const NS = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, ...children) {
  const el = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, String(value));
  el.append(...children);
  return el;
}

/** The runs of points that follow each other, as paths. */
function paths(values, x, y) {
  const runs = [];
  let run = [];
  values.forEach((v, i) => {
    if (v !== null) run.push([x(i), y(v)]);
    if ((v === null || i === values.length - 1) && run.length > 0) runs.push(run), run = [];
  });
  return runs;
}

const line = (run) => `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}${run.length === 1 ? "h.1" : ""}`;

/** A line with its area, without axes. @param {SVGElement} el @param {(number | null)[]} values */
export function spark(el, values, { width = 240, height = 48 } = {}) {
  const top = Math.max(...values.map((v) => v ?? 0), 1) * 1.12;
  const x = (i) => (i / (values.length - 1)) * width;
  const y = (v) => height - 1.5 - (v / top) * (height - 4);
  el.setAttribute("viewBox", `0 0 ${width} ${height}`);
  el.setAttribute("preserveAspectRatio", "none");
  const runs = paths(values, x, y);
  el.replaceChildren(
    ...runs.map((run) => svg("path", { class: "area", d: `${line(run)}L${run.at(-1)[0]} ${height}L${run[0][0]} ${height}Z` })),
    ...runs.map((run) => svg("path", { class: "line", d: line(run) })));
}

const MARGIN = { right: 10, top: 12, bottom: 24 };
const DIGIT = 7.2; // px, the widest that a character of an axis takes

/**
 * Lines over time with axes.
 * @param {SVGElement} el its own width and height are used
 * @param {{name: string, values: (number | null)[]}[]} lines the name is the class
 * @param {{format: (v: number) => string, minutes: number}} how
 */
export function plot(el, lines, { format, minutes }) {
  const width = el.clientWidth || 600;
  const height = el.clientHeight || 220;
  const n = lines[0].values.length;
  const ticks = scale(Math.max(...lines.flatMap((l) => l.values.map((v) => v ?? 0)), 1));
  const top = ticks.at(-1);
  const left = 12 + DIGIT * Math.max(5, ...ticks.map((v) => format(v).length));
  const x = (i) => left + (i / (n - 1)) * (width - left - MARGIN.right);
  const y = (v) => height - MARGIN.bottom - (v / top) * (height - MARGIN.top - MARGIN.bottom);
  const parts = ticks.map((v) => svg("g", { class: "tick" },
    svg("line", { x1: left, x2: width - MARGIN.right, y1: y(v), y2: y(v) }),
    svg("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, format(v))));
  for (let m = minutes; m >= 0; m -= minutes / (width < 480 ? 2 : minutes === 10 ? 5 : 4)) {
    const at = x((n - 1) * (1 - m / minutes));
    parts.push(svg("text", { class: "when", x: at, y: height - 6, "text-anchor": m === 0 ? "end" : m === minutes ? "start" : "middle" }, m === 0 ? "now" : minutes > 2 || m === 2 ? `−${+m.toFixed(2)} min` : `−${m * 60} s`));
  }
  for (const { name, values } of lines) for (const run of paths(values, x, y)) parts.push(svg("path", { class: `line ${name}`, d: line(run) }));
  const cross = svg("g", { class: "cross", visibility: "hidden" }, svg("line", { y1: MARGIN.top, y2: height - MARGIN.bottom }));
  el.setAttribute("viewBox", `0 0 ${width} ${height}`);
  el.replaceChildren(...parts, cross);
  return { cross, index: (px) => Math.round(((px - left) / (width - left - MARGIN.right)) * (n - 1)), x };
}

/** Round numbers from 0 to a bit above the highest. */
function scale(highest) {
  const rough = highest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough);
  return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, i) => i * step);
}
