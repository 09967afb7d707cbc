// Text for people: links, times, names, colours. What others wrote becomes text nodes and nothing else.

const LINK = /(?:https?:\/\/|mailto:)[^\s<>"'`\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gi;
const SAFE = new Set(["http:", "https:", "mailto:"]);

/** Splits text into plain parts and links. @returns {{text: string, href?: string}[]} */
export function linkParts(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const raw = trimLink(match[0]);
    let url;
    try { url = new URL(raw); } catch { continue; }
    if (!SAFE.has(url.protocol)) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: raw, href: url.href });
    end = match.index + raw.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/** The full stop after a link is the sentence's, and so is a bracket that was opened before it. */
function trimLink(link) {
  for (;;) {
    const last = link.at(-1);
    const closes = last === ")" && link.split(")").length > link.split("(").length;
    if (!closes && !".,;:!?]}…".includes(last)) return link;
    link = link.slice(0, -1);
  }
}

/** Text with its links, for appending. */
export function linked(text) {
  return linkParts(text).map((part) => (part.href ? link(part) : part.text));
}

function link({ text, href }) {
  return element("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, text);
}

/** An element with attributes and children; strings become text nodes. */
export function element(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children);
  return el;
}

/** What a body says: the text of `{text}`, or the JSON of whatever else was sent. @returns {{text: string, code: boolean}} */
export function bodyText(body) {
  if (typeof body === "string") return { text: body, code: false };
  if (typeof body?.text === "string") return { text: body.text, code: false };
  return { text: JSON.stringify(body) ?? "", code: true };
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const SHORT = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export const clock = (ts) => TIME.format(ts);
export const fullTime = (ts) => FULL.format(ts);
export const dayKey = (ts) => new Date(ts).toDateString();

export function dayName(ts, now = Date.now()) {
  if (dayKey(ts) === dayKey(now)) return "Today";
  if (dayKey(ts) === dayKey(now - 24 * 3600_000)) return "Yesterday";
  return DAY.format(ts);
}

/** For a list: the time of today's, the date of older ones. */
export const shortTime = (ts, now = Date.now()) => (dayKey(ts) === dayKey(now) ? clock(ts) : SHORT.format(ts));

/** One colour for one name, on every device. */
export function hue(name) {
  let h = 7;
  for (const c of name) h = (h * 31 + c.codePointAt(0)) % 3600;
  return (h * 7) % 360;
}

export function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[1]].map((w) => [...w][0]) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toUpperCase();
}

/** Gives an element the colour of a name. By property: the page's policy allows no style attributes. */
export function tint(el, name) {
  el.style.setProperty("--hue", hue(name));
  return el;
}

export function avatar(el, name) {
  el.textContent = initials(name);
  return tint(el, name);
}

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;
