// What to do when: delays, close codes, error codes. Pure tables; protocol.md is the source of every number here.

/**
 * Full jitter: anything between nothing and the doubled wait, so that clients of a dead edge do not return in one wave.
 * @param {number} attempt 0 for the first
 * @param {() => number} random in [0, 1)
 * @param {{base: number, cap: number}} bounds the first and the longest wait, in ms
 * @returns {number} ms
 */
export function backoff(attempt, random, { base, cap }) {
  return Math.floor(random() * Math.min(cap, base * 2 ** Math.min(attempt, 20)));
}

/**
 * What a close code asks of a client: `retry` reconnect, resume, and repeat what has no reply; `avoid` reconnect, but do
 * not repeat that; `stop` connecting again would end the same way.
 * @param {number} code 0: no connection came about
 * @returns {'retry' | 'avoid' | 'stop'}
 */
export function closePolicy(code) {
  if (code === 1003 || code === 1007 || code === 1008 || code === 1009) return "avoid";
  if (code >= 4500 && code <= 4999) return "stop";
  return "retry";
}

/** @param {string} code @returns {boolean} whether the same request may succeed later */
export function temporary(code) {
  return code === "rate_limited" || code === "unavailable";
}

/**
 * An error that the server sent, or one the client made in the same form. `code` is for programs, `message` for people.
 *
 * @example
 * try {
 *   await room.send({ text: "hello" });
 * } catch (err) {
 *   if (err instanceof ParleyError && err.code === "too_large") shorten();
 * }
 */
export class ParleyError extends Error {
  /** @param {{code: string, message?: string, retry_after_ms?: number}} error */
  constructor({ code, message, retry_after_ms }) {
    super(message || code);
    this.name = "ParleyError";
    /** One of the protocol's error codes, or `closed`, `left`, `discarded`, `not_retried`, `maybe_sent`. */
    this.code = code;
    /** When to try again, in ms, where the server says so. @type {number | null} */
    this.retryAfter = retry_after_ms ?? null;
  }
}

/** @param {unknown} value @returns {number} the bytes that it takes on the wire */
export function wireSize(value) {
  return new TextEncoder().encode(JSON.stringify(value) ?? "").length;
}

/**
 * Addresses as WebSocket URLs; what is none is left out.
 * @param {string[]} urls @param {string} [base] what relative ones are relative to
 * @returns {string[]}
 */
export function socketUrls(urls, base) {
  const out = new Set();
  for (const text of urls) {
    let url;
    try { url = new URL(text, base); } catch { continue; }
    url.protocol = url.protocol.replace(/^http/, "ws");
    if (url.protocol !== "ws:" && url.protocol !== "wss:") continue;
    if (url.pathname === "/") url.pathname = "/ws";
    url.hash = "";
    out.add(url.href);
  }
  return [...out];
}

/** An encrypted connection never leads to a bare one. @param {string} url @param {string} from what named it */
export function acceptable(url, from) {
  return /^(wss|https):/.test(url) || (/^(ws|http):/.test(url) && /^(ws|http):/.test(from));
}
