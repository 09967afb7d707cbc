import assert from "node:assert/strict";
import { test } from "node:test";
import { Relay } from "../relay.js";
import { canShare, shareName } from "../share.js";

/** A server's end of the one socket. */
class FakeSocket {
  static all = [];
  readyState = 0;
  written = [];

  constructor(url) {
    this.url = url;
    FakeSocket.all.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  send(text) { this.written.push(JSON.parse(text)); }
  take() { return this.written.splice(0); }
  say(...frames) { this.onmessage({ data: frames.map((f) => JSON.stringify(f)).join("\n") }); }
  close(code) { this.closedWith = code; }
  cut(code, reason = "") { this.onclose({ code, reason }); }
}

class Side {
  heard = [];
  constructor(relay) {
    this.link = relay.open("ws://a/ws", ({ opened, closed, frame }) => {
      if (opened) this.opened = true;
      if (closed) this.closed = closed;
      if (frame && frame.type !== "ping") this.heard.push(frame);
    });
  }

  say(frame) { this.link.trunk.say(this.link, frame); }
  take() { return this.heard.splice(0); }
}

const welcome = { type: "welcome", session: "s_1", resume: "r", user: "alice", expires_ms: 60_000 };
const message = (seq) => ({ type: "message", room: "general", seq, from: "bob", body: seq });
const settled = () => new Promise((done) => setImmediate(done));

/** Two links on one socket; the first is in the room, with 10 entries behind it. */
function pair() {
  FakeSocket.all = [];
  const relay = new Relay(FakeSocket);
  const a = new Side(relay);
  const [s] = FakeSocket.all;
  s.open();
  a.say({ type: "hello", id: 7, user: "alice", rooms: { general: { epoch: "e", seq: 10 } } });
  const [hello] = s.take();
  assert.deepEqual(hello, { type: "hello", id: hello.id, user: "alice" });
  s.say({ ...welcome, id: hello.id });
  const [join] = s.take();
  s.say({ type: "joined", id: join.id, room: "general", epoch: "e", seq: 10, after: 10, floor: 1 });
  assert.deepEqual(a.take().map((f) => [f.type, f.id]), [["welcome", 7], ["joined", undefined]]);
  const b = new Side(relay);
  assert.ok(b.opened);
  b.say({ type: "hello", id: 1, user: "alice" });
  const [second] = b.take();
  assert.deepEqual([second.type, second.id, second.session], ["welcome", 1, "s_1"]);
  assert.ok(second.expires_ms <= 60_000);
  assert.deepEqual(s.take(), [], "the server sees one hello");
  return { relay, s, a, b };
}

test("one hello, one join, ids of each link's own", () => {
  const { s, a, b } = pair();
  b.say({ type: "join", id: 2, room: "general" });
  assert.deepEqual(s.take(), []);
  assert.deepEqual(b.take(), [{ type: "joined", room: "general", epoch: "e", floor: 1, seq: 10, after: 10, id: 2 }]);
  s.say(message(11));
  assert.deepEqual([a.take(), b.take()].map((t) => t.map((f) => f.seq)), [[11], [11]]);
  a.say({ type: "send", id: 3, room: "general", cid: "c", body: 1 });
  b.say({ type: "history", id: 3, room: "general" });
  const [send, history] = s.take();
  assert.notEqual(send.id, history.id);
  s.say({ type: "page", id: history.id, room: "general", entries: [] }, { type: "ok", id: send.id, seq: 12 });
  assert.deepEqual([a.take(), b.take()], [[{ type: "ok", id: 3, seq: 12 }], [{ type: "page", id: 3, room: "general", entries: [] }]]);
});

test("who joins further back gets pages of its own, and what comes meanwhile behind them", async () => {
  const { s, a, b } = pair();
  b.say({ type: "join", id: 2, room: "general", since: { epoch: "e", seq: 6 } });
  const [one] = s.take();
  assert.deepEqual([one.type, one.after, one.limit], ["history", 6, 4]);
  s.say(message(11));
  s.say({ type: "page", id: one.id, room: "general", epoch: "e", floor: 1, head: 11, more: true, entries: [7, 8].map(message) });
  await settled();
  const [two] = s.take();
  assert.equal(two.after, 8);
  s.say(message(12));
  s.say({ type: "page", id: two.id, room: "general", epoch: "e", floor: 1, head: 12, more: false, entries: [9, 10].map(message) });
  await settled();
  assert.deepEqual(b.take().map((f) => f.seq ?? f.type), [10, 7, 8, 9, 10, 11, 12]); // joined at 10
  assert.deepEqual(a.take().map((f) => f.seq), [11, 12]);
  s.say(message(13));
  assert.deepEqual(b.take().map((f) => f.seq), [13]);
});

test("what is no longer kept is a gap, another epoch a reset; the newest n need no cursor", async () => {
  const { s, b, relay } = pair();
  b.say({ type: "join", id: 2, room: "general", since: { epoch: "e", seq: 2 } });
  s.say({ type: "page", id: s.take()[0].id, epoch: "e", floor: 9, head: 10, entries: [9, 10].map(message) });
  await settled();
  const [joined, ...entries] = b.take();
  assert.deepEqual([joined.gap, joined.after, joined.floor, entries.length], [{ from: 3, to: 8 }, 8, 9, 2]);
  const c = new Side(relay);
  c.say({ type: "hello", id: 1, user: "alice", rooms: { general: { epoch: "old", seq: 99 } } });
  assert.deepEqual(c.take()[1], { type: "joined", room: "general", epoch: "e", floor: 1, seq: 10, after: 10, reset: true });
  c.say({ type: "join", id: 3, room: "general", last: 3 });
  const [page] = s.take();
  assert.deepEqual([page.after, page.limit], [7, 3]);
  s.say({ type: "page", id: page.id, epoch: "e", floor: 1, head: 10, entries: [8, 9, 10].map(message) });
  await settled();
  assert.deepEqual(c.take().map((f) => f.seq), [10, 8, 9, 10]);
});

test("a room is left when the last link leaves it, and the socket goes with the last link", () => {
  const { s, a, b } = pair();
  b.say({ type: "join", id: 2, room: "general" });
  a.say({ type: "leave", id: 3, room: "general" });
  assert.deepEqual(a.take(), [{ type: "ok", id: 3, room: "general" }]);
  assert.deepEqual(s.take(), []);
  s.say(message(11));
  assert.deepEqual(a.take(), []);
  b.link.trunk.hangUp(b.link, 1000);
  assert.deepEqual(s.take(), [{ type: "leave", room: "general" }]);
  a.link.trunk.hangUp(a.link, 1000);
  assert.equal(s.closedWith, 1000);
});

test("a broken line is everybody's; so is one that one link finds dead", () => {
  const one = pair();
  one.s.cut(1006);
  assert.deepEqual([one.a.closed.code, one.b.closed.code], [1006, 1006]);
  const two = pair();
  two.b.link.trunk.hangUp(two.b.link, 4002);
  assert.deepEqual([two.s.closedWith, two.a.closed.code], [4002, 1006]);
});

test("migrate: all are told, the next link goes on a socket of its own, and 4504 stops nobody", () => {
  const { relay, s, a, b } = pair();
  s.say({ type: "migrate", by_ms: 5000 });
  assert.deepEqual([a.take(), b.take()].map(([f]) => f.type), ["migrate", "migrate"]);
  const next = new Side(relay);
  assert.equal(FakeSocket.all.length, 2);
  FakeSocket.all[1].open();
  assert.ok(next.opened);
  s.cut(4504);
  assert.equal(b.closed.code, 1012);
});

test("a quiet link hears that the server is alive", () => {
  const { s, b } = pair();
  let pings = 0;
  b.link.tell = ({ frame }) => { pings += frame?.type === "ping"; };
  s.say({ type: "ping" });
  assert.equal(pings, 1);
  assert.deepEqual(s.take(), [{ type: "pong" }]);
});

test("who shares with whom", () => {
  const jwt = (sub, more) => `h.${Buffer.from(JSON.stringify({ sub, ...more })).toString("base64url")}.s`;
  assert.equal(shareName("a", undefined, jwt("zoë", { exp: 1 })), shareName("a", undefined, jwt("zoë", { exp: 2 })));
  assert.notEqual(shareName("a", "alice"), shareName("a", "bob"));
  assert.notEqual(shareName("a", "alice"), shareName("b", "alice"));
  assert.notEqual(shareName("a", undefined, "opaque-1"), shareName("a", undefined, "opaque-2"));
  assert.equal(canShare(), globalThis.navigator?.locks !== undefined);
});
