// What this client has beyond the shared vectors: the outbox as a person sees it, and as it outlives the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Harness } from "./harness.js";

test("what is said waits, goes out, and is gone when its own message has come", () => {
  const h = Harness.joined();
  h.send("a");
  h.send("b");
  assert.deepEqual(h.items, ["a sending", "b waiting"]);
  const [a] = h.frames(1);
  h.frame(1, { type: "ok", id: a.id, room: "general", seq: 11, ts: 5 });
  assert.deepEqual(h.items, ["a sent", "b sending"]);
  h.message(1, 11, { from: "alice", cid: "c1" });
  assert.deepEqual(h.items, ["b sending"]);
  h.message(1, 12, { from: "alice", cid: "c2" });
  const shown = h.take("outbox").at(-1);
  assert.deepEqual(shown, { do: "outbox", room: "general", items: [] });
});

test("it is stored before it is sent, and forgotten when it is acknowledged", () => {
  const h = Harness.joined();
  h.send("a");
  const [first, second, sent] = h.take("store", "send", "forget");
  assert.deepEqual([first.do, second.do, sent.do], ["store", "store", "send"]);
  assert.deepEqual(second.item, { key: "c1", room: "general", cid: "c1", body: { text: "a" }, at: 5, error: null, state: "waiting", since: { epoch: "e1", seq: 10 } });
  h.message(1, 11, { from: "alice", cid: "c1" });
  assert.deepEqual(h.take("forget").map((e) => e.key), ["c1"]);
});

test("a refusal for good fails that message and no other; the person decides", () => {
  const h = Harness.joined();
  h.send("a");
  h.send("b");
  const [a] = h.frames(1);
  h.frame(1, { type: "error", id: a.id, cid: "c1", room: "general", code: "forbidden", message: "muted" });
  assert.deepEqual(h.items, ["a failed", "b sending"]);
  const effects = h.take("reply", "store");
  assert.deepEqual(effects.map((e) => e.error?.message ?? `${e.item.cid} ${e.item.state}`), ["muted", "c1 failed", "c2 waiting"]);
  h.in("decide", { room: "general", key: "c1", again: true, cid: "c9", at: 9 });
  assert.deepEqual(h.items, ["b sending", "a waiting"], "as the newest");
  h.in("decide", { room: "general", key: "c9", again: false });
  assert.deepEqual(h.items, ["b sending"], "what was not sent can be taken back");
  h.in("decide", { room: "general", key: "c2", again: false });
  assert.deepEqual(h.items, ["b sending"], "what may be in the log cannot");
});

test("what the log no longer shows is 'maybe', until it shows after all", () => {
  const h = Harness.joined();
  h.send("a");
  h.again(2, { seq: 30, after: 30, floor: 31, gap: { from: 11, to: 30 } });
  const [ask] = h.frames(2);
  assert.deepEqual(h.items, ["a checking"]);
  h.frame(2, { type: "page", id: ask.id, entries: [], more: false, floor: 31, head: 30, epoch: "e1" });
  assert.deepEqual(h.items, ["a maybe"]);
  h.message(2, 31, { from: "alice", cid: "c1" });
  assert.deepEqual(h.items, []);
  assert.deepEqual(h.take("forget").map((e) => e.key), ["c1"]);
});

test("after 1009 the message that was under way is not sent again by itself", () => {
  const h = Harness.joined();
  h.send("a");
  h.send("b");
  h.again(2, {}, 1009);
  assert.deepEqual(h.items, ["a maybe", "b sending"]);
});

test("leaving gives up what waits in the room", () => {
  const h = Harness.joined();
  h.send("a");
  h.take();
  h.in("leave", { room: "general", ref: 9 });
  assert.deepEqual(h.items, []);
  assert.deepEqual(h.take("forget").map((e) => e.key), ["c1"]);
});

test("who gives a message up takes it out", () => {
  const h = Harness.joined();
  h.send("a");
  h.send("b", 7);
  h.in("cancel", { ref: 7 });
  assert.deepEqual(h.items, ["a sending"]);
});

const left = (cid, since) => ({ key: cid, room: "general", cid, body: { text: cid }, at: 1, since, state: "waiting", error: null });

test("what an earlier page left goes before what this one says, with its since", () => {
  const h = Harness.joined({ restores: true });
  h.send("new");
  assert.deepEqual(h.frames(1), [], "not before it is known what there is");
  h.in("restore", { items: [left("k1", { epoch: "e1", seq: 3 }), left("k2", null)] });
  assert.deepEqual(h.items, ["k1 sending", "k2 waiting", "new waiting"]);
  const [first] = h.frames(1);
  assert.deepEqual(first.since, { epoch: "e1", seq: 3 }, "it may be in the log");
  h.frame(1, { type: "ok", id: first.id, seq: 11, ts: 1 });
  assert.equal(h.frames(1)[0].since, undefined, "it cannot");
});

test("of an epoch that has passed meanwhile, the whole log is searched", () => {
  const h = Harness.joined({ restores: true });
  h.in("restore", { items: [left("k1", { epoch: "e0", seq: 3 })] });
  const [send] = h.frames(1);
  h.frame(1, { type: "error", id: send.id, cid: "k1", code: "conflict", message: "unknown since" });
  const [ask] = h.frames(1);
  assert.deepEqual([ask.type, ask.after], ["history", 0]);
  h.frame(1, { type: "page", id: ask.id, entries: [], more: false, floor: 5, head: 10, epoch: "e1" });
  assert.deepEqual(h.items, ["k1 maybe"]);
});

test("an item that failed in an earlier page is shown and not sent", () => {
  const h = Harness.joined({ restores: true });
  h.in("restore", { items: [{ ...left("k1", null), state: "failed", error: { code: "forbidden" } }] });
  assert.deepEqual(h.items, ["k1 failed"]);
  assert.deepEqual(h.frames(1), []);
});

// ---- connections

test("waking up: dial at once, or ask whether the line is still there", () => {
  const h = Harness.joined();
  h.in("wake");
  assert.equal(h.frames(1)[0].type, "presence");
  h.now += 4999;
  h.in("tick");
  assert.deepEqual(h.take("close"), []);
  h.now += 1;
  h.in("tick");
  assert.deepEqual(h.take("close"), [{ do: "close", conn: 1, code: 4002 }]);
  h.in("wake");
  assert.deepEqual(h.take("dial").map((e) => e.conn), [2]);
  h.in("wake");
  assert.deepEqual(h.take("dial"), [], "one attempt at a time");
});

test("after a wake any frame is a sign of life", () => {
  const h = Harness.joined();
  h.in("wake");
  h.message(1, 11);
  h.now += 6000;
  h.in("tick");
  assert.deepEqual(h.take("close"), []);
});

test("an expired token: the next one must not come from a cache", () => {
  const h = new Harness({ renew: true });
  h.online();
  h.in("closed", { conn: 1, code: 4501 });
  h.tick();
  assert.deepEqual(h.take("dial").map((e) => e.refresh), [false, true]);
});

test("closed for good, then started again: rooms are resumed and what waited is sent", () => {
  const h = Harness.joined();
  h.send("a");
  h.in("closed", { conn: 1, code: 4503, reason: "banned" });
  const [reply, end, status] = h.take("reply", "end", "status");
  assert.deepEqual([reply.error.code, end.error.code, status.state, status.reason], ["closed", "closed", "closed", "banned"]);
  assert.deepEqual(h.items, ["a waiting"]);
  h.in("start");
  assert.deepEqual(h.online(2).rooms, { general: { epoch: "e1", seq: 10 } });
  h.take();
  h.frame(2, { type: "joined", room: "general", epoch: "e1", seq: 10, after: 10, floor: 1 });
  assert.equal(h.frames(2)[0].cid, "c1");
});

test("a hello names as many rooms as it can hold; the others are joined after it", () => {
  const h = new Harness();
  h.online();
  for (let i = 0; i < 400; i++) h.join(`room-${i}`);
  h.take();
  h.in("closed", { conn: 1, code: 1006 });
  h.tick();
  const named = Object.keys(h.online(2).rooms).length;
  assert.ok(named > 200 && named < 400, `${named}`);
  assert.equal(h.frames(2).filter((f) => f.type === "join").length, 400 - named);
});
