// The client's public face and its thin shell: sockets, a timer, storage and promises around the pure Machine.

import { Emitter } from "./emitter.js";
import { Machine } from "./machine.js";
import { ParleyError, socketUrls, wireSize } from "./policy.js";
import { Room, newId } from "./room.js";
import { Share, canShare, shareName } from "./share.js";
import { defaultStorage, memoryStorage } from "./storage.js";

export { ParleyError, Room, memoryStorage };

const OPEN_WITHIN = 15_000; // ms for token and handshake together
const LONGEST_TIMER = 24 * 3600_000; // setTimeout overflows after 24.8 days

/**
 * @typedef {object} Options pass `token` or `user` (or `admin`)
 * @property {string | ((why: {refresh: boolean}) => string | Promise<string>)} [token] a JWT, or what returns a fresh one;
 *   it is asked before each connect and before the old one expires; refresh: a cached one will not do
 * @property {string} [user] the name, where the server runs with dev auth
 * @property {string} [admin] the server's admin token: an operator, who may only join `~status` and ask who is in a room
 * @property {typeof globalThis.WebSocket} [WebSocket] for runtimes without a global one (Node before 22)
 * @property {string} [agent] what the session is called in presence answers, at most 256 characters
 * @property {import("./storage.js").Storage | false} [storage] where outboxes are kept; false: in memory
 * @property {boolean} [shareSocket] one socket, and one session, for all tabs of the same user; false unless said otherwise.
 *   Where a browser lacks Web Locks or BroadcastChannel, each tab has its own all the same
 * @property {number} [window] most messages of a room under way at once, 1 unless said otherwise: with more, one may overtake
 *   another that the server refused for the moment; 0: no bound
 * @property {number} [pending] most requests and messages without a reply, 1024 unless said otherwise
 * @property {{base?: number, cap?: number}} [backoff] the first and the longest wait before connecting again, in ms: 500, 30000
 * @property {() => number} [random] for tests, in [0, 1)
 *
 * @typedef {object} Status
 * @property {'connecting' | 'open' | 'moving' | 'reconnecting' | 'closed'} state
 * @property {boolean} [moved] open: on another connection than before, without a break
 * @property {string} [node] open: the server's name
 * @property {string} [session] open
 * @property {string} [user] open
 * @property {string} [url] open
 * @property {number} [retry_at] reconnecting: Unix ms
 * @property {number} [code] reconnecting, closed: the WebSocket's close code; 0: no connection came about
 * @property {string} [error] the server's error code, where it gave one
 * @property {string} [reason] for people
 *
 * @typedef {{epoch: string, seq: number}} Cursor
 * @typedef {import("./members.js").Presence} Presence
 * @typedef {import("./outbox.js").Item} Item
 * @typedef {{count: number, sessions?: {session: string, node: string, agent: string, since: number, rooms: string[]}[]}} Sessions
 */

/**
 * Connects, and stays connected until `close`. Returns at once; listen to `status`.
 * @param {string | string[]} url one address or several: ws, wss, http or https, in browsers also relative; `/ws` is added to
 *   a bare host. More are learned from the server.
 * @param {Options} [options]
 * @returns {Parley}
 *
 * @example
 * const parley = connect("http://127.0.0.1:8080", { user: "alice" });
 * const room = await parley.join("general");
 * room.on("message", ({ from, body }) => console.log(from, body.text));
 * await room.send({ text: "hello" });
 */
export function connect(url, options = {}) {
  return new Parley(url, options);
}

/**
 * A connection that heals itself. Event `status`: see Status.
 * @extends {Emitter<{status: Status}>}
 */
export class Parley extends Emitter {
  /** @type {Machine} */ #machine;
  /** @type {typeof globalThis.WebSocket} */ #WebSocket;
  /** @type {(refresh: boolean) => Promise<string | undefined>} */ #token;
  /** @type {import("./storage.js").Storage} */ #storage;
  /** @type {Map<number, WebSocket | null>} null: on its way */ #sockets = new Map();
  /** @type {Map<number, {room?: string, resolve: (value: any) => void, reject: (err: unknown) => void}>} */ #calls = new Map();
  /** @type {Map<string, Room>} */ #rooms = new Map();
  /** @type {Record<string, any>[]} */ #inputs = [];
  #running = false;
  #lastCall = 0;
  #order = 0; // of what is stored
  /** @type {string | undefined} whose outbox it is; with a token that is known from the first welcome on */ #owner;
  /** @type {import("./outbox.js").Stored[]} from before */ #early = [];
  /** @type {Promise<void> | null} */ #adopting = null;
  #shares;
  /** @type {Share | null} */ #share = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #unlisten = () => {};
  /** @type {Record<string, number>} */ #limits = { body_bytes: 32 * 1024 };

  /** The last `status` event. @type {Status} */
  status = { state: "connecting" };

  /** @internal use `connect` @param {string | string[]} url @param {Options} options */
  constructor(url, options) {
    super();
    const { token, user, admin, WebSocket = globalThis.WebSocket, agent = "parley-js/1.0", storage, backoff } = options;
    const { window = 1, pending, random, shareSocket = false } = options;
    if (!WebSocket) throw new TypeError("no WebSocket here: pass {WebSocket}, or use Node 22 or later");
    if ([token, user, admin].filter((who) => who !== undefined).length !== 1) throw new TypeError("pass either token or user");
    const urls = socketUrls([url].flat(), globalThis.location?.href);
    if (urls.length === 0) throw new TypeError(`no usable address in ${JSON.stringify(url)}: ws, wss, http or https is needed`);
    this.#WebSocket = WebSocket;
    this.#shares = shareSocket && admin === undefined && canShare() ? { server: new URL(urls[0]).host, user } : null;
    this.#token = async (refresh) => (typeof token === "function" ? token({ refresh }) : token);
    this.#storage = storage === false || admin !== undefined ? memoryStorage() : storage ?? defaultStorage(`parley ${urls[0]}`);
    this.#owner = user;
    this.#machine = new Machine({
      urls, user, admin, agent, window, renew: typeof token === "function", restores: true, ...defined({ pending, random, ...backoff }),
    });
    this.#listenToDevice();
    this.start();
  }

  /** The user's name as the server knows it; "" before the first welcome with a token. */
  get user() { return this.#machine.user; }

  /** The server's limits, as of the last welcome: `body_bytes`, `frame_bytes`, `rooms`, `rate`, `burst`. */
  get limits() { return { ...this.#limits }; }

  /**
   * Joins a room and stays in it through every reconnect. Resolves when the server has answered. Listeners that must not
   * miss the first entries go on `room(name)` before. A room that is joined stays as it is, unless `last` or `since` asks
   * for another place in its log.
   * @param {string} name
   * @param {{last?: number, since?: Cursor, signal?: AbortSignal}} [options] last: how many of the newest entries come
   *   first (≤ 200); since: continue a stream that an earlier process has read up to here; signal: give up waiting, and leave
   * @returns {Promise<Room>}
   *
   * @example
   * const room = parley.room("general");
   * room.on("message", show);
   * await parley.join("general", { last: 50 });
   */
  async join(name, { last, since, signal } = {}) {
    const room = this.room(name);
    if (!room.joined || last !== undefined || since !== undefined) {
      await this._call({ type: "join", room: name, last, since }, signal);
      room.joined = true;
    }
    return room;
  }

  /**
   * The room of this name, joined or not; always the same object.
   * @param {string} name @returns {Room}
   */
  room(name) {
    const room = this.#rooms.get(name) ?? new Room(this, name);
    this.#rooms.set(name, room);
    return room;
  }

  /**
   * A user's sessions; of oneself also which they are.
   * @param {string} [user] @returns {Promise<Sessions>}
   *
   * @example
   * const { sessions } = await parley.presence(); // mine: where am I signed in?
   */
  presence(user = this.user) {
    return this._call({ type: "request", data: { type: "presence", user } });
  }

  /**
   * Connects again after `closed`: rooms are resumed where they were, and what waits is sent.
   *
   * @example
   * parley.on("status", ({ state }) => {
   *   if (state === "closed") button.onclick = () => parley.start();
   * });
   */
  start() { this._input({ type: "start" }); }

  /**
   * Ends the connection for good. What waits in outboxes is kept where there is a storage.
   *
   * @example
   * parley.close();
   */
  close() {
    this._input({ type: "close" });
    this.#unlisten();
    this.#share?.close();
    this.#share = null;
    this.#storage.close?.();
  }

  // ---- the shell

  /**
   * One request of the application's. @internal
   * @param {Record<string, any>} input @param {AbortSignal} [signal] @returns {Promise<any>}
   */
  _call(input, signal) {
    const ref = ++this.#lastCall;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const giveUp = () => {
        this.#calls.delete(ref);
        this._input({ type: "cancel", ref });
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", giveUp, { once: true });
      const done = () => signal?.removeEventListener("abort", giveUp);
      this.#calls.set(ref, {
        room: input.data?.room,
        resolve: (value) => (done(), resolve(value)),
        reject: (err) => (done(), reject(err)),
      });
      this._input({ ...input, ref });
    });
  }

  /** Inputs made while effects are carried out wait their turn. @internal @param {Record<string, any>} input */
  _input(input) {
    this.#inputs.push(input);
    if (this.#running) return;
    this.#running = true;
    for (let next = this.#inputs.shift(); next; next = this.#inputs.shift()) {
      for (const e of this.#machine.step(next, performance.now())) this.#perform(e);
    }
    this.#running = false;
    clearTimeout(this.#timer);
    const ms = this.#machine.deadline - performance.now();
    if (ms !== Infinity) this.#timer = setTimeout(() => this._input({ type: "tick" }), Math.min(Math.max(Math.ceil(ms), 0), LONGEST_TIMER));
  }

  /** @param {import("./machine.js").Effect} e */
  #perform(e) {
    switch (e.do) {
      case "dial": return void this.#dial(e.conn, e.url, e.refresh);
      case "send": return this.#write(e.conn, e.frame);
      case "close": return this.#hangUp(e.conn, e.code);
      case "token": return void this.#refreshToken();
      case "status": return this.#onStatus(e);
      case "moving":
        this.status = { ...this.status, state: "moving", moved: false };
        return this._emit("status", this.status);
      case "deliver": return this.room(e.room)._deliver(e.frame);
      case "joined": return this.room(e.room)._joined(e.info);
      case "outbox": return this.room(e.room)._emit("outbox", e.items);
      case "end": return this.room(e.room)._end(e.error);
      case "reply": return this.#settle(e);
      case "notice": return console.warn("parley: error from the server:", e.error.code, e.error.message);
      case "store": return this.#store(e.item);
      case "forget": return this.#forget(e.key);
    }
  }

  /** @param {number} conn @param {string} url @param {boolean} refresh */
  async #dial(conn, url, refresh) {
    this.#sockets.set(conn, null);
    let over = false;
    /** @param {number} code @param {string} reason */
    const closed = (code, reason) => {
      if (over) return;
      over = true;
      clearTimeout(late);
      if (this.#sockets.delete(conn)) this._input({ type: "closed", conn, code, reason });
    };
    const late = setTimeout(() => {
      this.#sockets.get(conn)?.close();
      closed(0, "no connection within 15 s");
    }, OPEN_WITHIN);
    let token;
    try {
      token = await this.#token(refresh);
    } catch (err) {
      return closed(0, `no token: ${err instanceof Error ? err.message : err}`);
    }
    if (over || !this.#sockets.has(conn)) return clearTimeout(late);
    const socket = this.#connect(socketUrls([url])[0] ?? url, token);
    this.#sockets.set(conn, socket);
    socket.onopen = () => {
      clearTimeout(late);
      if (this.#sockets.get(conn) === socket) this._input({ type: "opened", conn, token });
    };
    socket.onmessage = ({ data }) => this.#sockets.get(conn) === socket && this.#receive(conn, data);
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => closed(code, reason);
  }

  /** @param {string} url @param {string} [token] @returns {WebSocket} */
  #connect(url, token) {
    if (!this.#shares) return new this.#WebSocket(url, "parley.v1");
    this.#share ??= new Share(shareName(this.#shares.server, this.#shares.user, token), this.#WebSocket, () => this.#adopting?.then(() => this.#inherit()));
    return /** @type {any} */ (this.#share.open(url));
  }

  /** @param {number} conn @param {unknown} data */
  #receive(conn, data) {
    if (typeof data !== "string") return;
    for (const line of data.split("\n")) {
      if (line === "") continue;
      let frame;
      try { frame = JSON.parse(line); } catch { continue; }
      this._input({ type: "frame", conn, frame });
    }
  }

  /** @param {number} conn @param {object} frame */
  #write(conn, frame) {
    const socket = this.#sockets.get(conn);
    if (socket?.readyState === 1) socket.send(JSON.stringify(frame));
  }

  /** @param {number} conn @param {number} code */
  #hangUp(conn, code) {
    const socket = this.#sockets.get(conn);
    this.#sockets.delete(conn);
    try { socket?.close(code); } catch { /* it was never open */ }
  }

  async #refreshToken() {
    try {
      const token = await this.#token(true);
      this._input({ type: "request", ref: 0, data: { type: "auth", token } });
    } catch (err) { // the server closes with 4501 in the end, and the token is asked for again
      console.warn("parley: no fresh token:", err);
    }
  }

  /** @param {Record<string, any>} e */
  #onStatus({ state, retry_ms, limits, node, session, user, url, code, error, reason }) {
    const at = retry_ms === undefined ? {} : { retry_at: Date.now() + retry_ms };
    const moved = state === "moved" || undefined;
    this.#limits = { ...this.#limits, ...limits };
    this.status = defined({ state: moved ? "open" : state, moved, node, session, user, url, ...at, code, error, reason });
    if (limits || this.#owner !== undefined) this.#adopt();
    this._emit("status", this.status);
  }

  /** @param {Record<string, any>} e */
  #settle({ ref, ack, frame, error }) {
    const call = this.#calls.get(ref);
    this.#calls.delete(ref);
    if (frame?.type === "presence" && call?.room) this.room(call.room)._deliver(frame); // before the next event
    if (error) call?.reject(new ParleyError(error));
    else call?.resolve(ack ?? frame);
  }

  // ---- storage

  /** @param {import("./outbox.js").Stored} item */
  #store(item) {
    if (this.#owner === undefined) return void this.#early.push(item);
    this.#storage.put({ ...item, user: this.#owner, n: ++this.#order }).catch((err) => this.#storageFailed(err));
  }

  /** @param {string} key */
  #forget(key) {
    this.#early = this.#early.filter((i) => i.key !== key);
    this.#storage.remove(key).catch((err) => this.#storageFailed(err));
  }

  /** Messages of an earlier life of this page, once it is known whose they are. */
  #adopt() {
    if (this.#adopting) return;
    this.#owner ??= this.#machine.user;
    for (const item of this.#early.splice(0)) this.#store(item);
    this.#adopting = this.#inherit();
  }

  async #inherit() {
    const user = this.#owner ?? "";
    /** @type {import("./outbox.js").Stored[]} */
    let items = [];
    /** @param {import("./outbox.js").Stored[]} left */
    const restore = (left) => this._input({ type: "restore", items: left });
    try { items = await this.#storage.adopt(user, restore); } catch (err) { this.#storageFailed(err); }
    restore(items);
  }

  /** Private windows have no storage, full disks neither: the outbox then lasts as long as the page. @param {any} err */
  #storageFailed(err) {
    console.warn("parley: the outbox is kept in memory only:", err?.message ?? err);
    this.#storage = memoryStorage();
  }

  #listenToDevice() {
    if (typeof document === "undefined") return;
    const wake = () => document.visibilityState === "visible" && this._input({ type: "wake" });
    // A line that is gone stays silent: asking shows it in seconds. But a server of the same house may still be there.
    const doubt = () => this.#machine.current && this._input({ type: "wake" });
    globalThis.addEventListener("online", wake);
    globalThis.addEventListener("offline", doubt);
    document.addEventListener("visibilitychange", wake);
    this.#unlisten = () => {
      globalThis.removeEventListener("online", wake);
      globalThis.removeEventListener("offline", doubt);
      document.removeEventListener("visibilitychange", wake);
    };
  }

  /** @internal @param {string} room @param {any} body @param {AbortSignal} [signal] */
  async _send(room, body, signal) {
    const size = wireSize(body);
    if (body === undefined) throw new ParleyError({ code: "bad_request", message: "body is missing" });
    if (size > this.#limits.body_bytes) {
      throw new ParleyError({ code: "too_large", message: `body is ${size} bytes, ${this.#limits.body_bytes} are allowed` });
    }
    return this._call({ type: "send", room, body, cid: newId(), at: Date.now() }, signal);
  }
}

/** @template {object} T @param {T} o @returns {T} without what is undefined */
function defined(o) {
  return /** @type {T} */ (Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)));
}
