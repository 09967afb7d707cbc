// The rooms' part of the state machine: joining, cursors, the stream. A subscription is a cursor, the epoch of the room's
// log and the last entry seen; whatever the server says about a room passes here. Functions over the machine `m`.

import * as O from "./outbox.js";
import { temporary } from "./policy.js";
import * as Q from "./requests.js";

/**
 * @typedef {import("./machine.js").Machine} Machine
 * @typedef {import("./machine.js").Frame} Frame
 * @typedef {import("./machine.js").Link} Link
 * @typedef {import("./machine.js").Cursor} Cursor
 * @typedef {import("./machine.js").Failure} Failure
 *
 * @typedef {object} RoomState a room the user wants to be in
 * @property {Cursor | null} cursor null until the first joined
 * @property {number} target head at the last joined: caught up when the cursor is there
 * @property {number} on the connection of the last joined; entries count from there only
 * @property {number} n of the last presence event or reply; 0: none seen
 * @property {boolean} stale entries were missing: wait for joined
 * @property {boolean} holed the room was joined again for them
 * @property {boolean} search tried sends must be looked for in history before they are sent again
 * @property {number} looking id of the history request that does so
 * @property {number} hidden the floor that the search met, where entries below it were wanted
 */

/** @param {RoomState} room */
export function caughtUp(room) { return room.cursor !== null && room.cursor.seq >= room.target; }

/** Whether the room is joined on the connection in use. @param {Machine} m @param {string} name */
export function live(m, name) {
  const room = m.rooms.get(name);
  return room !== undefined && m.current !== null && room.on === m.current.n;
}

/** @param {Machine} m @param {number} ref @param {string} name */
export function refuseNotJoined(m, ref, name) {
  if (m.rooms.has(name)) return false;
  m.do({ do: "reply", ref, error: { code: "forbidden", message: `room ${name} is not joined` } });
  return true;
}

// ---- joining

/**
 * Enters a room, or enters it anew elsewhere in its log.
 * @param {Machine} m @param {number} ref @param {string} name @param {Cursor} [since] @param {number} [last]
 */
export function join(m, ref, name, since, last) {
  if (Q.refuseStopped(m, ref)) return;
  /** @type {Frame} */
  const frame = { type: "join", room: name };
  if (since) frame.since = since;
  if (last) frame.last = last;
  if (!Q.add(m, ref, frame)) return;
  if (!m.rooms.has(name)) {
    m.rooms.set(name, {
      cursor: null, target: 0, on: 0, n: 0, stale: false, holed: false, search: false, looking: 0, hidden: 0,
    });
  }
  Q.flush(m);
}

/** @param {Machine} m @param {number} ref @param {string} name */
export function leave(m, ref, name) {
  if (Q.refuseStopped(m, ref) || refuseNotJoined(m, ref, name)) return;
  const joining = m.reqs.some((r) => r.frame.type === "join" && r.frame.room === name && m.current && r.link === m.current.n);
  const known = live(m, name) || joining;
  forget(m, name, { code: "left", message: "the room was left before this was through" });
  if (!known) return void m.do({ do: "reply", ref });
  Q.add(m, ref, { type: "leave", room: name });
  Q.flush(m);
}

/** Ends a room on this side; what waits there fails. @param {Machine} m @param {string} name @param {Failure} error */
export function forget(m, name, error) {
  if (!m.rooms.has(name)) return;
  for (const r of [...m.reqs]) {
    const { type, room } = r.frame;
    if (room !== name || type === "leave") continue;
    if (r.ref !== 0 && (type === "history" || type === "presence")) continue; // these need no membership
    Q.settle(m, r, { error });
  }
  if (error.code === "left") for (const item of [...(m.outbox.get(name) ?? [])]) O.drop(m, item);
  m.rooms.delete(name);
  for (const l of [m.current, m.next]) l?.waiting.delete(name);
  m.do({ do: "end", room: name, error });
}

/** Asks for a room again from its cursor on. @param {Machine} m @param {string} name @param {RoomState} room @param {number} [wait] ms */
export function rejoin(m, name, room, wait = 0) {
  const r = Q.add(m, 0, { type: "join", room: name, since: { ...room.cursor } });
  if (r && wait > 0) r.at = m.now + wait;
}

/** An error about a room: one of hello's, or the user is no longer in it. @param {Machine} m @param {string} name @param {Failure} error */
export function onError(m, name, error) {
  const room = m.rooms.get(name);
  if (room?.cursor && temporary(error.code)) rejoin(m, name, room, Q.retryIn(m, error));
  else forget(m, name, error);
}

/** @param {Machine} m @param {Link} l @param {Frame} f */
export function onJoined(m, l, f) {
  if (l !== m.current) return; // what a replaced connection joined late is joined anew on this one
  const asked = Q.byId(m, f.id);
  const r = asked?.frame.type === "join" ? asked : undefined;
  l.waiting.delete(f.room);
  const room = m.rooms.get(f.room);
  if (!room) return undoJoin(m, f.room);
  Object.assign(room, { on: l.n, target: f.seq, stale: false });
  const had = room.cursor;
  const first = had === null || (r !== undefined && r.ref !== 0);
  const reset = f.reset || (!first && had.epoch !== f.epoch);
  const moved = first || reset || had.seq < f.after;
  if (moved) room.cursor = { epoch: f.epoch, seq: f.after };
  if (r) Q.settle(m, r, { frame: f });
  if (moved && reset) {
    O.lost(m, f.room, room, f.after, f.epoch);
    deliver(m, f.room, { type: "reset", room: f.room, epoch: f.epoch, seq: f.after });
  }
  if (moved && f.gap) {
    // The old connection of a migration may have gone on since hello.
    const from = had && !first && !reset ? Math.max(f.gap.from, had.seq + 1) : f.gap.from;
    tellGap(m, f.room, room, from, f.gap.to);
  }
  m.do({ do: "joined", room: f.room, info: { room: f.room, epoch: f.epoch, head: f.seq, floor: f.floor, after: room.cursor?.seq } });
}

/** Leaves a room that was joined after the user had lost interest. @param {Machine} m @param {string} name */
function undoJoin(m, name) {
  if (!m.reqs.some((r) => r.frame.type === "leave" && r.frame.room === name)) Q.add(m, 0, { type: "leave", room: name });
}

// ---- the stream

/**
 * What belongs to a room: entries of known and unknown types, gap, reset and the volatile ones.
 * @param {Machine} m @param {Link} l @param {Frame} f
 */
export function onRoomFrame(m, l, f) {
  const room = m.rooms.get(f.room);
  if (!room || !room.cursor || room.on !== l.n) return;
  if (f.type === "message" && f.from === m.user) O.ownEntry(m, f.room, f);
  if (room.stale) return;
  if (f.type === "reset") {
    room.cursor = { epoch: f.epoch, seq: f.seq };
    room.target = f.seq;
    O.lost(m, f.room, room, f.seq, f.epoch);
  } else if (f.type === "gap") {
    if (f.to > room.cursor.seq) tellGap(m, f.room, room, Math.max(f.from, room.cursor.seq + 1), f.to);
    return;
  } else if (Number.isInteger(f.seq)) {
    if (f.seq <= room.cursor.seq || !fillHole(m, room, f)) return;
    room.cursor.seq = f.seq;
    room.holed = false;
  }
  deliver(m, f.room, f);
}

/**
 * Where the server left entries out without a word, the room is joined again, once; then the hole is told as a gap.
 * @param {Machine} m @param {RoomState} room @param {Frame} f @returns {boolean} whether to go on
 */
function fillHole(m, room, f) {
  const from = (room.cursor?.seq ?? 0) + 1;
  if (f.seq === from) return true;
  if (room.holed) {
    tellGap(m, f.room, room, from, f.seq - 1);
    return true;
  }
  room.holed = room.stale = true;
  rejoin(m, f.room, room);
  return false;
}

/** @param {Machine} m @param {string} name @param {RoomState} room @param {number} from @param {number} to */
function tellGap(m, name, room, from, to) {
  if (room.cursor) room.cursor.seq = to;
  O.lost(m, name, room, from - 1);
  deliver(m, name, { type: "gap", room: name, from, to });
}

/** @param {Machine} m @param {string} name @param {Frame} frame */
export function deliver(m, name, frame) { m.do({ do: "deliver", room: name, frame }); }

/** Delivers a presence event, and asks for the whole when some were missed. @param {Machine} m @param {Link} l @param {Frame} f */
export function onPresence(m, l, f) {
  const room = m.rooms.get(f.room);
  if (!room || room.on !== l.n || room.stale) return;
  const missed = room.n !== 0 && f.n !== room.n + 1; // also between two connections
  room.n = f.n ?? 0;
  deliver(m, f.room, f);
  if (missed) Q.add(m, 0, { type: "presence", room: f.room });
}
