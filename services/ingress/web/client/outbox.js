// What was said and is not yet known to be in the room's log. Functions over the machine `m`: a send is a request that
// also has an Item, which is what a person sees of it and what outlives the page.
//
//   waiting → sending → sent (the log has it; gone when its own message has been seen)
//      ↑        │
//      └────────┤ no answer, or "later": the same cid again, with `since`
//               ├→ checking (gap, reset or conflict: is it in the history?) → waiting · sent · maybe
//               └→ failed (refused for good) · maybe (nobody can tell any more)

import * as Q from "./requests.js";
import * as R from "./rooms.js";

const SEARCH_LIMIT = 200; // entries of a page
const MAX_CID = 64;

/**
 * @typedef {import("./machine.js").Machine} Machine
 * @typedef {import("./machine.js").Frame} Frame
 * @typedef {import("./machine.js").Cursor} Cursor
 * @typedef {import("./machine.js").Failure} Failure
 * @typedef {import("./requests.js").Request} Request
 * @typedef {import("./rooms.js").RoomState} RoomState
 *
 * @typedef {'waiting' | 'sending' | 'checking' | 'sent' | 'failed' | 'maybe'} State
 *
 * @typedef {object} Item
 * @property {string} key stays the same through retries; for the user interface
 * @property {string} room
 * @property {string} cid
 * @property {any} body
 * @property {number} at Unix ms when it was handed over
 * @property {State} state of one that is under way: as reported last
 * @property {{code: string, message?: string} | null} error why it failed
 * @property {number} [seq] where the log has it
 *
 * @typedef {Item & {since: Cursor | null}} Stored what the storage keeps of an item
 */

/** @param {Machine} m @param {number} ref @param {Frame} message room, cid, body, and of a shell: key, at */
export function send(m, ref, { room: name, cid, body, key = cid, at = m.now }) {
  if (Q.refuseStopped(m, ref) || R.refuseNotJoined(m, ref, name)) return;
  const r = Q.add(m, ref, { type: "send", room: name, cid, body });
  if (!r) return;
  r.item = keep(m, { key, room: name, cid, body, at, state: "waiting", error: null });
  store(m, r.item, r);
  Q.flush(m);
}

/** @param {Machine} m @param {Item} item */
function keep(m, item) {
  const items = m.outbox.get(item.room) ?? [];
  m.outbox.set(item.room, [...items, item]);
  return item;
}

/**
 * What has a cursor may have been sent when its page ended: the write may have been faster than the storage.
 * @param {Machine} m @param {Item} item @param {Request} [r]
 */
function store(m, item, r) {
  const { key, room, cid, body, at, error } = item;
  const state = item.state === "failed" || item.state === "maybe" ? item.state : "waiting";
  const since = r?.since ?? m.rooms.get(room)?.cursor ?? null;
  m.do({ do: "store", item: { key, room, cid, body, at, error, state, since: since && { ...since } } });
}

/** Items of an earlier life of the page; they go before what was said since. @param {Machine} m @param {Stored[]} items */
export function restore(m, items) {
  m.restored = true;
  const known = new Set([...m.outbox.values()].flat().map((i) => i.key));
  const fresh = m.reqs;
  const rest = new Map(m.outbox);
  m.reqs = [];
  m.outbox = new Map();
  for (const { since, ...item } of items) {
    if (known.has(item.key)) continue;
    keep(m, item);
    if (item.state !== "waiting") continue;
    const r = Q.add(m, 0, { type: "send", room: item.room, cid: item.cid, body: item.body });
    if (r) Object.assign(r, { item: m.outbox.get(item.room)?.at(-1), since, tried: since !== null });
  }
  m.reqs.push(...fresh);
  for (const item of [...rest.values()].flat()) keep(m, item);
  Q.flush(m);
}

/**
 * The person decides about an item that is not under way: again, under a new cid and as the newest, or not at all.
 * @param {Machine} m @param {string} name @param {string} key @param {boolean} again @param {string} cid @param {number} at
 */
export function decide(m, name, key, again, cid, at) {
  const item = m.outbox.get(name)?.find((i) => i.key === key);
  if (!item || item.state === "sent") return;
  const r = m.reqs.find((q) => q.item === item);
  if (r && (again || r.tried)) return; // it will be sent, or may be in the log already
  if (r) Q.settle(m, r, { error: { code: "discarded", message: "taken back before it was sent" } });
  drop(m, item);
  if (again) send(m, 0, { room: name, cid, body: item.body, at });
}

/** @param {Machine} m @param {Item} item */
export function drop(m, item) {
  const items = m.outbox.get(item.room) ?? [];
  if (!items.includes(item)) return;
  m.outbox.set(item.room, items.filter((i) => i !== item));
  m.do({ do: "forget", key: item.key });
}

// ---- sending

/** How many sends of each room are on the wire. @param {Machine} m @returns {Map<string, number>} */
export function flying(m) {
  const out = new Map();
  for (const r of m.reqs) {
    if (r.frame.type === "send" && r.link !== 0) out.set(r.frame.room, (out.get(r.frame.room) ?? 0) + 1);
  }
  return out;
}

/**
 * What was tried before waits until the catch-up is through, since its own entry may come by; after a break in the
 * stream it is looked for in history first.
 * @param {Machine} m @param {RoomState} room @param {Request} r
 */
export function maySend(m, room, r) {
  if (room.on !== m.current?.n || !room.cursor || !m.restored) return false;
  if (!r.tried) return true;
  if (room.stale || !R.caughtUp(room)) return false;
  if (room.search && room.looking === 0) {
    room.hidden = 0;
    searchPage(m, r.frame.room, room, Math.min(...sought(m, r.frame.room).map((q) => firstTry(q, room))));
  }
  return !room.search;
}

/** Notes the cursor at the first try, and carries it on a resend. @param {Machine} m @param {RoomState} room @param {Request} r */
export function prepare(m, room, r) {
  if (r.tried) {
    r.frame.since = { ...r.since };
    r.asked = true;
    return;
  }
  r.tried = true;
  r.since = room.cursor && { ...room.cursor };
  if (r.item) store(m, r.item, r);
}

/** @param {Machine} m @param {Request} r @param {number} seq @param {number} ts @param {boolean} dup */
export function acked(m, r, seq, ts, dup) {
  Q.settle(m, r, { ack: { seq, ts, dup, cid: r.frame.cid } });
  if (r.item) sent(m, r.item, seq);
}

/** @param {Machine} m @param {Item} item @param {number} seq */
function sent(m, item, seq) {
  Object.assign(item, { state: "sent", seq, error: null });
  m.do({ do: "forget", key: item.key });
}

/**
 * A send that is over without an ack. What was refused, and what nobody can tell, stays for the person to decide.
 * @param {Machine} m @param {Item} item @param {Failure} error
 */
export function failed(m, item, { code, message }) {
  if (code === "left") return drop(m, item);
  item.state = code === "maybe_sent" || code === "not_retried" ? "maybe" : "failed";
  item.error = { code, message };
  store(m, item);
}

/**
 * An entry of the user's own, seen live, in a catch-up or in history, is as good as its ok.
 * @param {Machine} m @param {string} name @param {Frame} f
 */
export function ownEntry(m, name, f) {
  if (!f.cid) return;
  const r = m.reqs.find((q) => q.frame.type === "send" && q.tried && q.frame.room === name && q.frame.cid === f.cid);
  if (r) return acked(m, r, f.seq, f.ts, false);
  const item = m.outbox.get(name)?.find((i) => i.state === "maybe" && i.cid === f.cid);
  if (item) sent(m, item, f.seq);
}

/** @param {Machine} m @param {string} name @param {Frame[]} entries of a page */
export function ownEntries(m, name, entries) {
  for (const e of entries) if (e.type === "message" && e.from === m.user) ownEntry(m, name, e);
}

// ---- when the stream cannot tell

/**
 * Entries after `seq` may be void or gone, with them the proof of sends that are not in flight on the connection in use.
 * @param {Machine} m @param {string} name @param {RoomState} room @param {number} seq
 * @param {string} [epoch] the new one, after a reset
 */
export function lost(m, name, room, seq, epoch) {
  for (const r of m.reqs) {
    if (r.frame.type !== "send" || r.frame.room !== name || !r.tried || !r.since) continue;
    r.since.seq = Math.min(r.since.seq, seq);
    if (epoch) r.since.epoch = epoch;
    if (r.link !== m.current?.n) room.search = true;
  }
  m.outbox.set(name, (m.outbox.get(name) ?? []).filter((i) => i.state !== "sent")); // their own message may not come any more
}

/** @param {Machine} m @param {string} name @returns {Request[]} */
function sought(m, name) {
  return m.reqs.filter((r) => r.frame.type === "send" && r.frame.room === name && r.tried && r.link === 0);
}

/** The cursor at the first try; one under an epoch that has passed says nothing. @param {Request} r @param {RoomState} room */
function firstTry(r, room) {
  return r.since && r.since.epoch === room.cursor?.epoch ? r.since.seq : 0;
}

/** @param {Machine} m @param {string} name @param {RoomState} room @param {number} after */
function searchPage(m, name, room, after) {
  const r = Q.add(m, 0, { type: "history", room: name, after, limit: SEARCH_LIMIT });
  room.looking = r?.frame.id ?? 0;
}

/**
 * At the end of the search, what was not found was not written up to the head of then; that is what the next try may
 * claim. But where entries after a first try are no longer kept, nobody knows: the person decides.
 * @param {Machine} m @param {RoomState} room @param {Request} page @param {Frame} f
 */
export function onSearch(m, room, page, f) {
  const { room: name, after } = page.frame;
  const entries = f.entries ?? [];
  Q.remove(m, page);
  room.looking = 0;
  if (f.floor > after + 1) room.hidden = f.floor;
  ownEntries(m, name, entries);
  if (f.more && entries.length > 0) return searchPage(m, name, room, entries[entries.length - 1].seq);
  room.search = false;
  for (const r of sought(m, name)) {
    if (firstTry(r, room) + 1 < room.hidden) {
      Q.settle(m, r, { error: { code: "maybe_sent", message: "it can no longer be seen whether this message was sent" } });
      continue;
    }
    Object.assign(r, { since: { epoch: f.epoch, seq: f.head }, missing: true });
    if (r.renew) renewCid(m, r);
    if (r.item) store(m, r.item, r);
  }
}

/** Makes a conflicted send a new one, in the old one's place. @param {Machine} m @param {Request} r */
function renewCid(m, r) {
  const base = r.round === 0 ? r.frame.cid : r.frame.cid.slice(0, -suffix(r.round).length);
  const end = suffix(++r.round);
  const { since, ...frame } = r.frame;
  const cid = [...base].slice(0, MAX_CID - end.length).join("") + end;
  r.frame = { ...frame, cid, id: Q.newId(m) };
  Object.assign(r, { tried: false, asked: false, renew: false, since: null });
  if (r.item) r.item.cid = cid;
}

/** @param {number} round */
const suffix = (round) => `~${round + 1}`;

/** Gives up the sends whose fate cannot be found out. @param {Machine} m @param {string} name @param {RoomState} room @param {Failure} error */
export function searchFailed(m, name, room, error) {
  room.search = false;
  room.looking = 0;
  for (const r of sought(m, name)) Q.settle(m, r, { error });
}

// ---- what is shown

/** Says how outboxes stand, where that changed. @param {Machine} m */
export function report(m) {
  for (const [name, all] of m.outbox) {
    const seen = m.rooms.get(name)?.cursor?.seq ?? Infinity;
    const items = all.filter((i) => i.state !== "sent" || (i.seq ?? 0) > seen);
    if (items.length > 0) m.outbox.set(name, items);
    else m.outbox.delete(name);
    for (const i of items) i.state = stateOf(m, i);
    const text = items.map((i) => `${i.key} ${i.cid} ${i.state}`).join("\n");
    if (text === (m.reported.get(name) ?? "")) continue;
    if (text) m.reported.set(name, text);
    else m.reported.delete(name);
    m.do({ do: "outbox", room: name, items: items.map(({ key, cid, body, at, state, error, seq }) => ({ key, cid, body, at, state, error, seq })) });
  }
}

/** @param {Machine} m @param {Item} item @returns {State} */
function stateOf(m, item) {
  if (item.state === "sent" || item.state === "failed" || item.state === "maybe") return item.state;
  const r = m.reqs.find((q) => q.item === item);
  if (!r) return item.state;
  if (r.link !== 0) return "sending";
  return r.tried && m.rooms.get(item.room)?.looking ? "checking" : "waiting";
}
