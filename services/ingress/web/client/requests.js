// Requests without a reply: each is sent again on every new connection until it has one, with the same id and, for a
// send, the same cid. Functions over the machine `m`.

import { closedError } from "./machine.js";
import * as O from "./outbox.js";
import { temporary } from "./policy.js";
import * as R from "./rooms.js";

const RETRY_DEFAULT = 1000;
const SESSION_HELD = 10_000; // how long a session that is gone still counts

/**
 * @typedef {import("./machine.js").Machine} Machine
 * @typedef {import("./machine.js").Frame} Frame
 * @typedef {import("./machine.js").Link} Link
 * @typedef {import("./machine.js").Cursor} Cursor
 * @typedef {import("./machine.js").Failure} Failure
 *
 * @typedef {object} Request
 * @property {Frame} frame
 * @property {number} ref the user's; 0: the machine's own
 * @property {number} link where it is in flight; 0: waiting to be sent
 * @property {number} at not before
 *
 * Of sends only:
 * @property {O.Item} [item]
 * @property {boolean} tried was on the wire once
 * @property {Cursor | null} since of the room at the first try
 * @property {boolean} asked the last try carried since
 * @property {boolean} missing history was searched for it on this connection, and has it not
 * @property {boolean} renew conflict: a new cid, unless history has the old one
 * @property {number} round of new cids
 */

/** @param {Machine} m */
export function newId(m) { return ++m.ids; }

/**
 * Queues a request; a user's beyond the bound is refused at once.
 * @param {Machine} m @param {number} ref @param {Frame} frame @returns {Request | null}
 */
export function add(m, ref, frame) {
  if (ref !== 0 && m.reqs.length >= m.config.pending) {
    m.do({ do: "reply", ref, error: { code: "limit", message: `${m.reqs.length} requests wait for a reply already` } });
    return null;
  }
  const r = {
    frame: { ...frame, id: newId(m) }, ref, link: 0, at: 0,
    tried: false, since: null, asked: false, missing: false, renew: false, round: 0,
  };
  m.reqs.push(r);
  return r;
}

/** history, presence, auth, typing, signal. @param {Machine} m @param {number} ref @param {Frame} data */
export function ask(m, ref, data) {
  if (refuseStopped(m, ref)) return;
  if (data.type === "typing" || data.type === "signal") {
    if (R.refuseNotJoined(m, ref, data.room)) return;
    if (data.type === "typing" && !R.live(m, data.room)) return void m.do({ do: "reply", ref, error: lost() });
  }
  add(m, ref, data);
  flush(m);
}

/** @returns {Failure} */
const lost = () => ({ code: "unavailable", message: "not connected, and typing is not repeated" });

/** @param {Machine} m @param {number} ref */
export function refuseStopped(m, ref) {
  if (!m.running) m.do({ do: "reply", ref, error: closedError() });
  return !m.running;
}

/** The user no longer waits. What is on the wire already may still happen. @param {Machine} m @param {number} ref */
export function cancel(m, ref) {
  const r = m.reqs.find((q) => q.ref === ref);
  if (!r) return;
  remove(m, r);
  const room = m.rooms.get(r.frame.room);
  if (r.item) O.drop(m, r.item);
  if (r.frame.type === "join" && room && !room.cursor) {
    R.forget(m, r.frame.room, { code: "left", message: "the join was given up" });
    if (m.current && r.link === m.current.n) add(m, 0, { type: "leave", room: r.frame.room });
  }
  flush(m);
}

/** @param {Machine} m @param {Request} r */
export function remove(m, r) { m.reqs = m.reqs.filter((q) => q !== r); }

/** @param {Machine} m @param {number | undefined} id */
export function byId(m, id) { return id ? m.reqs.find((r) => r.frame.id === id) : undefined; }

/** Tells the user that it is through; the machine's own requests have no user. @param {Machine} m @param {Request} r @param {object} what */
export function reply(m, r, what) { if (r.ref !== 0) m.do({ do: "reply", ref: r.ref, ...what }); }

/** @param {Machine} m @param {Request} r @param {{ack?: object, frame?: Frame, error?: Failure}} what */
export function settle(m, r, what) {
  remove(m, r);
  reply(m, r, what);
  if (r.item && what.error) O.failed(m, r.item, what.error);
}

/** Brings the requests over to a connection that was just welcomed. @param {Machine} m @param {Link} l */
export function carryOver(m, l) {
  for (const r of [...m.reqs]) {
    const { type } = r.frame;
    if (type === "leave") settle(m, r, {}); // its hello did not name the room
    else if (r.ref === 0 && !r.item) remove(m, r); // of the machine's own, the rest below is made anew
    else if (type === "typing") settle(m, r, { error: lost() });
    else Object.assign(r, { link: 0, missing: false });
  }
  for (const [name, room] of m.rooms) {
    room.looking = 0;
    if (!room.cursor || l.hello.has(name)) continue;
    l.waiting.add(name); // joined while hello was on its way
    R.rejoin(m, name, room);
  }
}

/** A connection ended over any of these; whether they happened is unknown. @param {Machine} m @param {Link} l @param {number} code */
export function failInFlight(m, l, code) {
  const error = { code: "not_retried", message: `not sent again after the server closed with ${code}; the outcome is unknown` };
  for (const r of [...m.reqs]) {
    if (r.link !== l.n) continue;
    settle(m, r, { error });
    const room = m.rooms.get(r.frame.room);
    if (r.frame.type === "join" && room && !room.cursor) R.forget(m, r.frame.room, error);
  }
}

/** Sends whatever may be sent now, in order. @param {Machine} m */
export function flush(m) {
  for (let made = -1; m.current && made !== m.ids;) {
    made = m.ids;
    flushOnce(m, m.current); // which may add searches
  }
}

/** @param {Machine} m @param {Link} current */
function flushOnce(m, current) {
  const held = new Set(); // rooms whose later sends keep their place behind one that waits
  const flying = O.flying(m);
  for (const r of [...m.reqs]) {
    if (r.link !== 0) continue;
    const { type, room: name } = r.frame;
    if (type === "send") {
      const room = m.rooms.get(name);
      const full = m.config.window > 0 && (flying.get(name) ?? 0) >= m.config.window;
      if (!room || held.has(name) || full || r.at > m.now || !O.maySend(m, room, r)) {
        held.add(name);
        continue;
      }
      flying.set(name, (flying.get(name) ?? 0) + 1);
      O.prepare(m, room, r);
    }
    if (type === "signal" && !R.live(m, name)) continue;
    if (r.at > m.now) continue;
    r.link = current.n;
    m.do({ do: "send", conn: r.link, frame: { ...r.frame } });
  }
}

/** ok, page and presence replies. @param {Machine} m @param {Frame} f */
export function onReply(m, f) {
  const r = byId(m, f.id);
  if (!r) return;
  const { type, room: name } = r.frame;
  const room = m.rooms.get(name);
  if (type === "send") return O.acked(m, r, f.seq, f.ts, f.dup ?? false);
  if (r.ref === 0 && room && room.looking === r.frame.id) return O.onSearch(m, room, r, f);
  if (type === "history") O.ownEntries(m, name, f.entries ?? []);
  if (type === "presence" && room) {
    room.n = f.n ?? 0;
    if (r.ref === 0) R.deliver(m, name, f);
  }
  if (type === "auth") m.renew(f.expires_ms);
  settle(m, r, { frame: f });
}

/** @param {Machine} m @param {Link} l @param {Frame} f */
export function onError(m, l, f) {
  const error = /** @type {Failure} */ (f);
  const r = byId(m, f.id);
  if (r) return r.link === l.n ? refused(m, r, error) : undefined; // else it was sent again elsewhere already
  if (f.id && f.id === l.helloId) {
    l.error = error; // the close that follows says what to do
    l.retry = error.retry_after_ms || (error.code === "limit" ? SESSION_HELD : 0);
  } else if (!f.id && !f.cid && m.rooms.has(f.room)) {
    R.onError(m, f.room, error);
  } else if (!f.id) {
    m.do({ do: "notice", error });
  }
}

/** @param {Machine} m @param {Request} r @param {Failure} error */
function refused(m, r, error) {
  const { type, room: name } = r.frame;
  const room = m.rooms.get(name);
  if (temporary(error.code) && type !== "typing") {
    Object.assign(r, { link: 0, at: m.now + retryIn(m, error) });
  } else if (type === "send" && error.code === "conflict" && r.asked && room) {
    Object.assign(r, { link: 0, renew: true });
    room.search = true;
  } else if (type === "join" && room && (r.ref === 0 || !room.cursor)) {
    settle(m, r, { error });
    R.forget(m, name, error);
  } else if (room && room.looking === r.frame.id) {
    settle(m, r, {});
    O.searchFailed(m, name, room, error);
  } else {
    settle(m, r, { error });
    if (r.ref === 0 && !r.item) m.do({ do: "notice", error });
  }
}

/**
 * What the server asked for and up to half as much again, so that those it refused together do not come back together.
 * @param {Machine} m @param {Failure} error
 */
export function retryIn(m, { retry_after_ms }) {
  const wait = retry_after_ms && retry_after_ms > 0 ? retry_after_ms : RETRY_DEFAULT;
  return wait + Math.trunc((m.config.random() * wait) / 2);
}
