// The client as a pure state machine: `step(input, now)` returns effects and touches nothing outside. No socket, timer,
// clock or storage is known here, so every race can be written down as a list of inputs. Inputs, effects and rules are
// those of the protocol's test vectors (services/ingress/protocol/testdata), which every client of Parley runs.
//
//           start, tick           opened             welcome
//   (none) ─────────────▶ next: dialing ────▶ next: hello ────▶ current ──▶ old
//                              ▲ closed: backoff      migrate: a new next │
//                              └──────────────────────────────────────────┘
//
// At most three connections exist: `current` is in use, `next` is on its way to replace it, `old` has been replaced and
// is read until `current` has joined every room.
//
// Inputs besides the vectors': wake · restore · decide. Effects besides theirs: store · forget (an outbox item, in the
// storage) · outbox (what a room's outbox shows) · joined · moving.

import { acceptable, backoff, closePolicy } from "./policy.js";
import * as O from "./outbox.js";
import * as Q from "./requests.js";
import * as R from "./rooms.js";

const WELCOME_WITHIN = 10_000;
const SILENCE_BEYOND = 15_000; // on top of ping_ms
const PROBE_WITHIN = 5_000;
const STABLE_AFTER = 10_000; // a connection that held this long ends the series of attempts
const HELLO_BYTES = 20_000; // of rooms in one hello: a frame before welcome holds 32 KiB, of which the token may take 8
const CURSOR_BYTES = 60;

/**
 * @typedef {Record<string, any>} Frame an object as on the wire
 * @typedef {{epoch: string, seq: number}} Cursor
 * @typedef {Record<string, any> & {do: string}} Effect
 * @typedef {{code: string, message?: string, retry_after_ms?: number}} Failure
 *
 * @typedef {object} Link one connection
 * @property {number} n
 * @property {string} url
 * @property {boolean} dialing
 * @property {boolean} welcomed
 * @property {number} since when it was opened, then welcomed
 * @property {number} heard
 * @property {number} ping
 * @property {number} probeBy an answer is due then; 0: none is
 * @property {number} helloId
 * @property {Set<string>} hello rooms that the hello named
 * @property {Set<string>} waiting of those, without joined or error yet
 * @property {number} retry what an error to hello asked for
 * @property {Failure | null} error
 *
 * @typedef {object} Config
 * @property {string[]} urls
 * @property {string} [user] dev auth
 * @property {string} [admin] an operator: the server's admin token, instead of a user
 * @property {string} [agent]
 * @property {boolean} [renew] fresh tokens can be had
 * @property {() => number} [random] in [0, 1)
 * @property {number} [base] of the backoff, in ms
 * @property {number} [cap]
 * @property {number} [pending] most requests of the user's without a reply
 * @property {number} [window] most sends of a room on the wire at once; 0: no bound
 * @property {boolean} [restores] sends wait for `restore`: what an earlier page left goes first
 */

export class Machine {
  /** @param {Config} config */
  constructor(config) {
    this.config = {
      user: "", admin: "", agent: "", renew: false, random: Math.random, base: 500, cap: 30_000, pending: 1024, window: 0, restores: false, ...config,
    };
    this.now = 0;
    /** @type {Effect[]} */ this.out = [];
    /** @type {Link | null} */ this.current = null;
    /** @type {Link | null} */ this.next = null;
    /** @type {Link | null} */ this.old = null;
    this.links = 0;
    this.urls = config.urls;
    this.urlAt = 0;
    this.moveTo = ""; // the address that migrate named, for one attempt
    this.attempt = 0;
    this.expired = false; // the last connection ended over an expired token
    this.dialAt = 0; // 0: nothing planned
    this.renewAt = 0;
    this.running = false;
    this.restored = !this.config.restores;
    this.ids = 0;
    /** Without a reply, in the order they were made. @type {Q.Request[]} */ this.reqs = [];
    /** In the order they were joined. @type {Map<string, R.RoomState>} */ this.rooms = new Map();
    /** @type {Map<string, O.Item[]>} */ this.outbox = new Map();
    /** @type {Map<string, string>} what was last said of each outbox */ this.reported = new Map();
    this.user = this.config.user;
    this.resume = "";
  }

  /** @param {Frame} input @param {number} now ms @returns {Effect[]} to be carried out in order */
  step(input, now) {
    this.now = now;
    this.out = [];
    this.#take(input);
    O.report(this);
    return this.out;
  }

  /** @param {Frame} i */
  #take(i) {
    switch (i.type) {
      case "start": return this.#start();
      case "opened": return this.#opened(i.conn, i.token);
      case "frame": return this.#frame(i.conn, i.frame);
      case "closed": return this.#closed(i.conn, i.code, i.retry_ms ?? 0, i.reason);
      case "tick": return this.#tick();
      case "wake": return this.#wake();
      case "close": return this.running ? this.#stop(1000, null) : undefined;
      case "join": return R.join(this, i.ref, i.room, i.since, i.last);
      case "leave": return R.leave(this, i.ref, i.room);
      case "send": return O.send(this, i.ref, i);
      case "restore": return O.restore(this, i.items);
      case "decide": return O.decide(this, i.room, i.key, i.again, i.cid, i.at);
      case "request": return Q.ask(this, i.ref, i.data);
      case "cancel": return Q.cancel(this, i.ref);
    }
    throw new TypeError(`unknown input ${i.type}`);
  }

  /** @param {Effect} effect */
  do(effect) { this.out.push(effect); }

  /** When the next tick would do something; Infinity: never. */
  get deadline() {
    if (!this.running) return Infinity;
    let at = Math.min(this.dialAt || Infinity, this.renewAt || Infinity);
    for (const l of [this.current, this.next]) if (l) at = Math.min(at, dead(l));
    for (const r of this.reqs) if (this.current && r.link === 0 && r.at > this.now) at = Math.min(at, r.at);
    return at;
  }

  // ---- connecting

  #start() {
    if (this.running) return;
    this.running = true;
    this.attempt = 0;
    this.expired = false;
    this.do({ do: "status", state: "connecting" });
    this.#dial();
  }

  #dial() {
    this.dialAt = 0;
    const url = this.moveTo || this.urls[this.urlAt++ % this.urls.length];
    this.moveTo = "";
    this.next = {
      n: ++this.links, url, dialing: true, welcomed: false, since: 0, heard: 0, ping: 0, probeBy: 0,
      helloId: 0, hello: new Set(), waiting: new Set(), retry: 0, error: null,
    };
    this.do({ do: "dial", conn: this.links, url, refresh: this.expired });
  }

  /** @param {number} n @param {string} [token] a fresh one; none in dev auth */
  #opened(n, token) {
    const l = this.next;
    if (!l || l.n !== n || !l.dialing) return;
    l.dialing = false;
    l.since = l.heard = this.now;
    l.helloId = Q.newId(this);
    /** @type {Frame} */
    const hello = { type: "hello", id: l.helloId };
    if (this.config.admin) hello.admin = this.config.admin;
    else if (token) hello.token = token;
    else if (this.config.user) hello.user = this.config.user;
    if (this.resume) hello.resume = this.resume;
    if (this.config.agent) hello.agent = this.config.agent;
    let bytes = 0;
    for (const [name, room] of this.rooms) {
      if (!room.cursor) continue;
      bytes += name.length + CURSOR_BYTES;
      if (bytes > HELLO_BYTES) break; // the others are joined after welcome
      hello.rooms ??= {};
      hello.rooms[name] = { ...room.cursor };
      l.hello.add(name);
      l.waiting.add(name);
    }
    this.do({ do: "send", conn: n, frame: hello });
  }

  /** @param {Link} l @param {Frame} f */
  #welcome(l, f) {
    if (l !== this.next) return;
    const moved = this.current !== null;
    if (moved) this.old = this.current;
    this.current = l;
    this.next = null;
    this.expired = false;
    l.welcomed = true;
    l.since = this.now;
    l.ping = f.ping_ms ?? 0;
    this.user = f.user;
    this.resume = f.resume ?? "";
    this.#learn(l, f.urls ?? []);
    this.renew(f.expires_ms);
    const { node, session, limits } = f;
    this.do({ do: "status", state: moved ? "moved" : "open", node, session, user: f.user, limits, url: l.url });
    Q.carryOver(this, l);
  }

  /** @param {number | undefined} left ms until the token expires */
  renew(left) {
    this.renewAt = this.config.renew && left !== undefined && left > 0 ? this.now + Math.trunc((left * 4) / 5) : 0;
  }

  /**
   * The addresses a server named come before the configured ones, which stay as a way back.
   * @param {Link} l @param {string[]} urls
   */
  #learn(l, urls) {
    this.urls = [...new Set([...urls.filter((u) => acceptable(u, l.url)), ...this.config.urls])];
    this.urlAt = this.urls.indexOf(l.url) + 1; // another one next time
  }

  /** @param {Link} l @param {Frame} f */
  #migrate(l, f) {
    if (l !== this.current || this.next) return;
    if (f.url && acceptable(f.url, l.url)) this.moveTo = f.url;
    this.do({ do: "moving" });
    this.#dial();
  }

  /** Lets the replaced connection go once nothing depends on it. */
  #finishMove() {
    if (!this.old || !this.current || this.current.waiting.size > 0) return;
    this.do({ do: "close", conn: this.old.n, code: 1000 });
    this.old = null;
  }

  // ---- endings

  /** @param {number} n @param {number} code @param {number} retry ms that an HTTP Retry-After asked for @param {string} [reason] */
  #closed(n, code, retry, reason) {
    const l = this.find(n);
    if (!l) return;
    if (l === this.old) {
      this.old = null;
      return;
    }
    let policy = closePolicy(code);
    if (code === 4501 && this.config.renew && !this.expired) {
      policy = "retry"; // a fresh token goes along; once
      this.expired = true;
    }
    const why = { error: l.error?.code, reason: l.error?.message || reason || "" }; // what the server said before is more telling
    if (l === this.next) {
      this.next = null;
      if (policy !== "retry") return this.#stop(code, why); // before welcome the hello is what must not be repeated
    } else {
      const moving = code === 4504 && this.next !== null; // replaced by our own next
      this.current = null;
      this.renewAt = 0; // the next hello has a fresh token
      if (this.old) this.do({ do: "close", conn: this.old.n, code: 1000 });
      this.old = null;
      if (policy === "stop" && !moving) return this.#stop(code, why);
      if (policy === "avoid") Q.failInFlight(this, l, code);
      if (this.now - l.since >= STABLE_AFTER) this.attempt = 0;
    }
    this.#reconnect(code, Math.max(retry, l.retry), why);
  }

  /** Plans the next attempt, unless one is under way. @param {number} code @param {number} retry @param {{error?: string, reason: string}} why */
  #reconnect(code, retry, why) {
    let wait = 0;
    if (!this.next) {
      wait = retry + backoff(this.attempt++, this.config.random, this.config);
      this.dialAt = this.now + wait;
    }
    if (!this.current) this.do({ do: "status", state: "reconnecting", retry_ms: wait, code, ...why });
  }

  /**
   * Nothing will change by trying. What waits in outboxes stays there, and rooms are resumed if the application starts again.
   * @param {number} code @param {{error?: string, reason: string} | null} why null: the application wants it
   */
  #stop(code, why) {
    this.running = false;
    this.dialAt = this.renewAt = 0;
    for (const l of [this.current, this.next, this.old]) if (l) this.do({ do: "close", conn: l.n, code: 1000 });
    this.current = this.next = this.old = null;
    const error = closedError(why?.reason);
    for (const r of this.reqs) Q.reply(this, r, { error });
    this.reqs = this.reqs.filter((r) => r.item);
    for (const r of this.reqs) Object.assign(r, { ref: 0, link: 0 });
    for (const name of this.rooms.keys()) this.do({ do: "end", room: name, error });
    for (const [name, room] of this.rooms) if (!room.cursor) this.rooms.delete(name);
    this.do({ do: "status", state: "closed", code, ...(why ?? { reason: "closed by the application" }) });
  }

  // ---- time

  #tick() {
    if (!this.running) return;
    if (this.dialAt !== 0 && this.now >= this.dialAt) this.#dial();
    if (this.renewAt !== 0 && this.now >= this.renewAt) {
      this.renewAt = 0;
      this.do({ do: "token" });
    }
    for (const l of [this.current, this.next]) {
      if (!l || this.now < dead(l)) continue;
      this.do({ do: "close", conn: l.n, code: 4002 });
      this.#closed(l.n, 4002, 0, "no sign of life from the server");
    }
    Q.flush(this);
  }

  /** The device woke up or is online again: do not wait for a timer to find out whether the line is still there. */
  #wake() {
    if (!this.running) return;
    if (this.current) {
      this.current.probeBy ||= this.now + PROBE_WITHIN;
      Q.add(this, 0, { type: "presence", ...(this.config.admin ? { room: "~status" } : { user: this.user }) });
      Q.flush(this);
    } else if (!this.next) {
      this.#dial();
    }
  }

  // ---- frames

  /** @param {number} n @returns {Link | undefined} */
  find(n) {
    return [this.current, this.next, this.old].find((l) => l?.n === n) ?? undefined;
  }

  /** @param {number} n @param {Frame} f */
  #frame(n, f) {
    const l = this.find(n);
    if (!l) return;
    l.heard = this.now;
    l.probeBy = 0;
    switch (f?.type) {
      case "ping":
        this.do({ do: "send", conn: n, frame: { type: "pong" } });
        break;
      case "welcome": this.#welcome(l, f); break;
      case "migrate": this.#migrate(l, f); break;
      case "joined": R.onJoined(this, l, f); break;
      case "error": Q.onError(this, l, f); break;
      case "ok":
      case "page": Q.onReply(this, f); break;
      case "presence":
        if (f.id) Q.onReply(this, f);
        else R.onPresence(this, l, f);
        break;
      default: R.onRoomFrame(this, l, f);
    }
    this.#finishMove();
    Q.flush(this);
  }
}

/** @param {string} [reason] @returns {Failure} */
export function closedError(reason) {
  return { code: "closed", message: reason || "the connection was ended" };
}

/** When the link counts as dead if nothing is heard until then. The shell bounds dialing. @param {Link} l */
function dead(l) {
  if (l.dialing) return Infinity;
  if (!l.welcomed) return l.since + WELCOME_WITHIN;
  const quiet = l.ping === 0 ? Infinity : l.heard + l.ping + SILENCE_BEYOND;
  return l.probeBy === 0 ? quiet : Math.min(quiet, l.probeBy);
}
