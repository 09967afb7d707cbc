// What the board knows: the samples of every process, and what follows from them. Nothing of the page is known here.
// What processes count goes up from their start, so a rate is the difference of two samples, whatever was lost between.

export const SPAN = 10 * 60_000; // ms that plots show
export const STEP = 5000; // ms between two points of a plot
const SILENT = 3500; // ms without a word: a process that is well speaks each second
const GONE = 60_000; // ms until it is no longer listed
const NEAR = 8000; // ms that a sample stands for its process

/**
 * @typedef {Record<string, any>} Sample as in docs/events.md
 * @typedef {{key: string, service: string, name: string, tag: string, list: Sample[], last: Sample, heard: number}} Process
 * @typedef {{at: number, connections: number, rooms: number | null, messages: number | null, deliveries: number | null,
 *   p50: number | null, p99: number | null}} Point
 */

export class Model {
  /** @type {Map<string, Process>} */ processes = new Map();

  /** @param {Sample[]} samples @param {number} now local ms */
  take(samples, now) {
    for (const sample of samples) {
      const key = `${sample.service} ${sample.process}`;
      const known = this.processes.get(key);
      const p = known ?? { key, ...naming(sample), list: [], last: sample, heard: 0 };
      if (!known) this.processes.set(key, p);
      const at = placeOf(p.list, sample.at);
      if (p.list[at]?.at !== sample.at) p.list.splice(at + 1, 0, sample);
      if (sample.bus) p.heard = now; // what is past comes without
      if (sample.at >= p.last.at) p.last = sample.bus ? sample : { ...sample, bus: p.last.bus };
      while (p.list[0].at < p.last.at - SPAN - 2 * STEP) p.list.shift();
    }
    for (const [key, p] of this.processes) if (p.last.at < now - SPAN - NEAR) this.processes.delete(key);
  }

  /** Those that are there, or were a moment ago. @param {number} now @param {string} [service] @returns {Process[]} */
  listed(now, service) {
    return [...this.processes.values()]
      .filter((p) => (!service || p.service === service) && now - p.heard < GONE)
      .sort((a, b) => a.service.localeCompare(b.service) || a.name.localeCompare(b.name) || a.last.since - b.last.since);
  }

  /** @param {Process} p @param {number} now */
  silent(p, now) { return now - p.heard > SILENT; }

  /** @param {number} now @param {string} [service] */
  live(now, service) { return this.listed(now, service).filter((p) => !this.silent(p, now)); }

  /** The figures of this moment. @param {number} now */
  present(now) {
    const edges = this.live(now, "ingress");
    const sum = (/** @type {Process[]} */ list, /** @type {(s: Sample) => number} */ of) => list.reduce((n, p) => n + of(p.last), 0);
    const recently = (/** @type {string} */ service, /** @type {(s: Sample) => number} */ of) =>
      this.live(now, service).reduce((n, p) => n + (rate(p.list[placeOf(p.list, p.last.at - 2500)], p.last, of) ?? 0), 0);
    return {
      connections: sum(edges, (s) => s.ingress.connections),
      stalled: sum(edges, (s) => s.ingress.stalled),
      rooms: sum(this.live(now, "notifier"), (s) => s.notifier.rooms),
      sessions: sum(this.live(now, "notifier"), (s) => s.notifier.sessions),
      messages: recently("chat", (s) => s.chat.messages),
      deliveries: recently("ingress", (s) => s.ingress.deliveries),
    };
  }

  /** Latency of the last minute. @param {number} now */
  minute(now) { return this.#latency(now - 60_000, now); }

  /** The last ten minutes, a point each STEP; null where nothing is known. @param {number} now @returns {Point[]} */
  points(now) {
    const end = Math.floor(now / STEP) * STEP;
    const points = [];
    for (let at = end - SPAN; at <= end; at += STEP) points.push(this.#point(at));
    return points;
  }

  /** How many minutes of the ten anything is known of: plots of a young installation are not mostly empty. @param {number} now */
  minutes(now) {
    const oldest = Math.min(now, ...[...this.processes.values()].map((p) => p.list[0].at));
    return [2, 5].find((m) => now - oldest < m * 60_000) ?? SPAN / 60_000;
  }

  /** One edge's connections over the same time. @param {Process} p @param {number} now */
  connections(p, now) {
    const end = Math.floor(now / STEP) * STEP;
    const values = [];
    for (let at = end - SPAN; at <= end; at += STEP) values.push(sampleAt(p, at)?.ingress.connections ?? null);
    return values;
  }

  /** @param {number} at @returns {Point} */
  #point(at) {
    const now = { connections: 0, rooms: 0, messages: 0, deliveries: 0 };
    const seen = { ingress: 0, notifier: 0, messages: 0, deliveries: 0 };
    for (const p of this.processes.values()) {
      const s = sampleAt(p, at);
      if (!s) continue;
      const before = sampleAt(p, at - STEP);
      if (s.ingress) {
        seen.ingress++;
        now.connections += s.ingress.connections;
        const r = rate(before, s, (x) => x.ingress.deliveries);
        if (r !== null) now.deliveries += r, seen.deliveries++;
      } else if (s.notifier) {
        seen.notifier++;
        now.rooms += s.notifier.rooms;
      } else if (s.chat) {
        const r = rate(before, s, (x) => x.chat.messages);
        if (r !== null) now.messages += r, seen.messages++;
      }
    }
    return {
      at, connections: seen.ingress ? now.connections : null, rooms: seen.notifier ? now.rooms : null,
      messages: seen.messages ? now.messages : null, deliveries: seen.deliveries ? now.deliveries : null, ...this.#latency(at - STEP, at),
    };
  }

  /** @param {number} from @param {number} to */
  #latency(from, to) {
    /** @type {number[]} */ const counts = [];
    for (const p of this.processes.values()) {
      if (p.service !== "ingress") continue;
      const b = p.list[placeOf(p.list, to)];
      const a = p.list[placeOf(p.list, from)] ?? p.list[0];
      if (!b || !a || b.at <= a.at) continue;
      b.ingress.latency.forEach((/** @type {number} */ n, /** @type {number} */ i) => { counts[i] = (counts[i] ?? 0) + n - (a.ingress.latency[i] ?? 0); });
    }
    return { p50: quantile(counts, 0.5), p99: quantile(counts, 0.99) };
  }
}

/** @param {Sample[]} list in order @param {number} at @returns {number} the place of the last that is not later; -1: none */
function placeOf(list, at) {
  let [from, to] = [0, list.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (list[middle].at <= at) from = middle + 1;
    else to = middle;
  }
  return from - 1;
}

/** @param {Process} p @param {number} at @returns {Sample | undefined} what stands for that moment */
function sampleAt(p, at) {
  const s = p.list[placeOf(p.list, at)];
  return s && s.at > at - NEAR ? s : undefined;
}

/** @param {Sample | undefined} a @param {Sample} b @param {(s: Sample) => number} of @returns {number | null} per second */
function rate(a, b, of) {
  return a && b.at > a.at ? Math.max(of(b) - of(a), 0) / ((b.at - a.at) / 1000) : null;
}

/** Bucket i ends with 125 µs · √2^i. @param {number} i @returns {number} ms */
export const bound = (i) => (i < 0 ? 0 : 0.125 * 2 ** (i / 2));

/** @param {number[]} counts by bucket @param {number} q @returns {number | null} ms; within a bucket all count as spread evenly */
export function quantile(counts, q) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (total <= 0) return null;
  let rest = total * q;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] > 0 && rest <= counts[i]) return bound(i - 1) + ((bound(i) - bound(i - 1)) * rest) / counts[i];
    rest -= counts[i];
  }
  return bound(counts.length - 1);
}

/** A process is called <program>-<node>-<tag>. @param {Sample} sample */
function naming({ service, process, ingress }) {
  const [, name, tag] = /^(?:ingress-|chat-|notifier-|standalone-)?(.*?)(?:-([A-Za-z0-9]{6,}))?$/.exec(process) ?? ["", process, ""];
  return { service, name: name || process, tag: ingress?.node?.split("-").at(-1) ?? tag?.toLowerCase() ?? "" };
}
