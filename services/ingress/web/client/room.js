import { Emitter } from "./emitter.js";
import { Members } from "./members.js";

const TYPING_EVERY = 3000; // ms; the server lets no more through

/**
 * @typedef {import("./index.js").Parley} Parley
 * @typedef {import("./index.js").Cursor} Cursor
 * @typedef {import("./members.js").Presence} Presence
 * @typedef {import("./outbox.js").Item} Item
 *
 * @typedef {object} Entry an entry of the room's log
 * @property {string} type `message`, or one of a later version
 * @property {string} room
 * @property {number} seq its place in the log: 1, 2, 3 …
 * @property {string} mid
 * @property {string} from
 * @property {string} cid
 * @property {number} ts Unix ms
 * @property {any} body
 *
 * @typedef {{entries: Entry[], more: boolean, floor: number, head: number, epoch: string}} Page
 * @typedef {{seq: number, ts: number, cid: string, dup: boolean}} Ack where the message stands; dup: an earlier try had written it
 *
 * @typedef {object} RoomEvents
 * @property {Entry} message
 * @property {Entry} entry one of a type of a later version
 * @property {{room: string, from: number, to: number}} gap these entries are no longer kept
 * @property {{room: string, epoch: string, seq: number}} reset the log goes by a new epoch: load what you show again
 * @property {{room: string, epoch: string, head: number, floor: number, after: number}} joined after each reconnect, too
 * @property {{room: string, code: string, message?: string}} left the server ended it
 * @property {Item[]} outbox what is not yet known to be in the log, in order
 * @property {{room: string, from: string}} typing
 * @property {{room: string, from: string, body: any}} signal
 * @property {Presence} members
 * @property {Record<string, any>} other a volatile frame of a later version
 */

/**
 * A room. Entries come in the log's order, each once, through all reconnects; what is missing between them is told by
 * `gap` or `reset`. Events: see RoomEvents.
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter {
  #parley;
  #members = new Members();
  #watched = false;
  #typedAt = -Infinity;
  /** Whether the user is in it. */
  joined = false;

  /** @internal @param {Parley} parley @param {string} name */
  constructor(parley, name) {
    super();
    this.#parley = parley;
    this.name = name;
  }

  /**
   * @template {keyof RoomEvents} E
   * @param {E} event @param {(data: RoomEvents[E]) => void} listener
   * @returns {() => void} takes the listener off again
   *
   * @example
   * const off = room.on("message", ({ seq, from, body }) => console.log(seq, from, body));
   * off();
   */
  on(event, listener) {
    const off = super.on(event, listener);
    if (event === "members" && !this.#watched) {
      this.#watched = true;
      this.#watch();
    }
    return off;
  }

  /**
   * Puts a message into the room's outbox. It is sent in order and exactly once, now or when there is a connection.
   * @param {any} body any JSON, at most `limits.body_bytes`
   * @param {{signal?: AbortSignal}} [options] signal: take it back; if it was under way it may still be written
   * @returns {Promise<Ack>} resolves when the log has it; rejects when it was refused (`code` as in the protocol), with
   *   `maybe_sent` or `not_retried` when nobody can tell whether it was written, or with `closed` when the client was closed
   *   before an answer (a stored outbox goes on the next time). It does not reject because the line is down.
   *
   * @example
   * const { seq } = await room.send({ text: "hello" });
   */
  send(body, { signal } = {}) {
    const sent = this.#parley._send(this.name, body, signal);
    sent.catch(() => {}); // who does not wait for it sees the `outbox` event
    return sent;
  }

  /**
   * Sends a `failed` or `maybe` item of the outbox again, as the newest.
   * @param {string} key
   *
   * @example
   * room.on("outbox", (items) => {
   *   for (const { key, state } of items) if (state === "failed") room.retry(key);
   * });
   */
  retry(key) { this.#parley._input({ type: "decide", room: this.name, key, again: true, cid: newId(), at: Date.now() }); }

  /**
   * Takes an item that has not been sent out of the outbox.
   * @param {string} key
   *
   * @example
   * room.on("outbox", (items) => {
   *   for (const { key, state } of items) if (state === "maybe") room.discard(key);
   * });
   */
  discard(key) { this.#parley._input({ type: "decide", room: this.name, key, again: false }); }

  /**
   * A page of the log, ascending; at most 256 KiB, so it may be shorter than asked: `more` says whether there is more.
   * @param {{before?: number, after?: number, limit?: number, signal?: AbortSignal}} [range] exclusive; neither: the newest;
   *   limit ≤ 200, 50 unless said otherwise
   * @returns {Promise<Page>}
   *
   * @example
   * const { entries, more } = await room.history({ before: 100, limit: 50 });
   */
  history({ signal, ...range } = {}) { return this.#ask({ type: "history", ...range }, signal); }

  /**
   * Who is here, and with how many sessions.
   * @returns {Promise<Presence>}
   *
   * @example
   * const { users, count } = await room.presence();
   */
  presence() { return this.#ask({ type: "presence" }); }

  /**
   * Says that the user is typing; call it on every key.
   *
   * @example
   * room.typing();
   */
  typing() {
    const now = performance.now();
    if (!this.joined || now - this.#typedAt < TYPING_EVERY) return;
    this.#typedAt = now;
    this.#ask({ type: "typing" }).catch(() => {}); // it is worth nothing later
  }

  /**
   * Something volatile for whoever is here: not stored, not ordered, after a reconnect possibly twice. It waits for the
   * connection.
   * @param {any} body any JSON, at most 4 KiB
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   *
   * @example
   * await room.signal({ cursor: [12, 40] });
   */
  async signal(body, { signal } = {}) { await this.#ask({ type: "signal", body }, signal); }

  /**
   * Leaves; what waits in the room's outbox is given up.
   * @returns {Promise<void>}
   *
   * @example
   * await room.leave();
   */
  async leave() {
    const left = this.#parley._call({ type: "leave", room: this.name });
    this.joined = false;
    await left;
  }

  /** @param {Record<string, any>} data @param {AbortSignal} [signal] @returns {Promise<any>} */
  #ask(data, signal) { return this.#parley._call({ type: "request", data: { ...data, room: this.name } }, signal); }

  #watch() {
    if (!this.#watched || !this.joined) return;
    this.presence().catch(() => {}); // joining again asks again
  }

  /** @param {Record<string, any>} frame */
  #took(frame) { if (this.#members.take(frame)) this._emit("members", this.#members.snapshot()); }

  /** @internal @param {any} frame */
  _deliver(frame) {
    switch (frame.type) {
      case "message":
      case "gap":
      case "reset":
      case "typing":
      case "signal": return this._emit(/** @type {keyof RoomEvents} */ (frame.type), frame);
      case "presence": return this.#took(frame);
    }
    this._emit(Number.isInteger(frame.seq) ? "entry" : "other", frame);
  }

  /** @internal @param {RoomEvents["joined"]} info */
  _joined(info) {
    this.joined = true;
    this._emit("joined", info);
    this.#watch();
  }

  /** @internal @param {{code: string, message?: string}} error */
  _end({ code, message }) {
    const was = this.joined;
    if (code !== "closed") this.joined = false; // a closed client can start again
    if (was && code !== "closed" && code !== "left") this._emit("left", { room: this.name, code, message });
  }
}

/** 96 random bits; `randomUUID` is missing on pages without TLS. @returns {string} */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}
