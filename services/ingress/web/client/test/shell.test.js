import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, memoryStorage } from "../index.js";

/** A socket whose other end is the test. */
class FakeSocket {
  static all = [];
  readyState = 0;
  written = [];
  waiting = [];

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    FakeSocket.all.push(this);
    FakeSocket.came?.(this);
    queueMicrotask(() => {
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(text) {
    const frame = JSON.parse(text);
    this.written.push(frame);
    this.waiting.shift()?.(frame);
  }

  /** The next frame that the client writes. */
  async next() {
    return this.written.shift() ?? new Promise((ok) => this.waiting.push(() => ok(this.written.shift())));
  }

  say(...frames) { this.onmessage({ data: frames.map((f) => JSON.stringify(f)).join("\n") }); }
  close(code) { this.closedWith = code; }
  cut(code = 1006) { this.onclose({ code, reason: "" }); }
}

const socket = () => new Promise((ok) => { FakeSocket.came = ok; });

async function welcome(s, more) {
  const hello = await s.next();
  s.say({ type: "welcome", id: hello.id, session: "s", resume: "r", user: "alice", node: "n", ping_ms: 25000, limits: {}, ...more });
  return hello;
}

const options = { user: "alice", WebSocket: FakeSocket, random: () => 0 };

test("connect, join, send, receive; several objects in one frame", async () => {
  const coming = socket();
  const parley = connect("http://127.0.0.1:8080", { ...options, agent: "test" });
  const s = await coming;
  assert.equal(s.url, "ws://127.0.0.1:8080/ws");
  assert.equal(s.protocol, "parley.v1");
  await welcome(s);
  const texts = [];
  parley.room("general").on("message", (m) => texts.push(m.body.text));
  const joining = parley.join("general", { last: 1 });
  const join = await s.next();
  s.say({ type: "joined", id: join.id, room: "general", epoch: "e", seq: 1, after: 0, floor: 1 },
    { type: "message", room: "general", seq: 1, from: "bob", ts: 1, body: { text: "one" } });
  const room = await joining;
  const sending = room.send({ text: "two" });
  const send = await s.next();
  s.say({ type: "message", room: "general", seq: 2, from: "alice", cid: send.cid, ts: 2, body: send.body }, { type: "ok", id: send.id, seq: 2, ts: 2 });
  assert.deepEqual(await sending, { seq: 2, ts: 2, dup: false, cid: send.cid });
  assert.deepEqual(texts, ["one", "two"]);
  parley.close();
  assert.equal(s.closedWith, 1000);
});

test("a break: the client returns by itself, with its cursors, and sends what waited", async () => {
  let coming = socket();
  const parley = connect("ws://a/ws", options);
  const first = await coming;
  await welcome(first);
  const joining = parley.join("general");
  first.say({ type: "joined", id: (await first.next()).id, room: "general", epoch: "e", seq: 5, after: 5, floor: 1 });
  const room = await joining;
  coming = socket();
  first.cut();
  const sending = room.send({ text: "in the tunnel" });
  const second = await coming;
  const hello = await welcome(second);
  assert.deepEqual(hello.rooms, { general: { epoch: "e", seq: 5 } });
  second.say({ type: "joined", room: "general", epoch: "e", seq: 5, after: 5, floor: 1 });
  const send = await second.next();
  second.say({ type: "ok", id: send.id, seq: 6, ts: 1 });
  assert.equal((await sending).seq, 6);
  parley.close();
});

test("an outbox outlives its page", async () => {
  const storage = memoryStorage();
  let coming = socket();
  const before = connect("ws://a/ws", { ...options, storage });
  const first = await coming;
  await welcome(first);
  const joining = before.join("general");
  first.say({ type: "joined", id: (await first.next()).id, room: "general", epoch: "e", seq: 5, after: 5, floor: 1 });
  (await joining).send({ text: "unanswered" });
  const lost = await first.next();
  before.close();

  coming = socket();
  const after = connect("ws://a/ws", { ...options, storage });
  const second = await coming;
  await welcome(second);
  const rejoining = after.join("general");
  second.say({ type: "joined", id: (await second.next()).id, room: "general", epoch: "e", seq: 9, after: 9, floor: 1 });
  await rejoining;
  const send = await second.next();
  assert.deepEqual([send.cid, send.body, send.since], [lost.cid, lost.body, { epoch: "e", seq: 5 }]);
  second.say({ type: "ok", id: send.id, seq: 6, ts: 1, dup: true });
  await Promise.resolve();
  assert.deepEqual(await storage.adopt("alice"), []);
  after.close();
});

test("a token comes from its callback; what it throws is a reason to wait", async () => {
  const why = [];
  let fail = true;
  const coming = socket();
  const parley = connect("ws://a/ws", {
    ...options, user: undefined,
    token: async (w) => {
      why.push(w.refresh);
      if (fail) { fail = false; throw new Error("the login is over"); }
      return "t1";
    },
  });
  const waiting = await new Promise((ok) => parley.on("status", (s) => s.state === "reconnecting" && ok(s)));
  assert.equal(waiting.reason, "no token: the login is over");
  assert.equal((await (await coming).next()).token, "t1");
  assert.deepEqual(why, [false, false]);
  parley.close();
});

test("errors have the server's code; a listener that throws stops nobody", async (t) => {
  t.mock.method(console, "error", () => {});
  const coming = socket();
  const parley = connect("ws://a/ws", options);
  const s = await coming;
  await welcome(s);
  const joining = parley.join("secret");
  s.say({ type: "error", id: (await s.next()).id, code: "forbidden", message: "not for you" });
  await assert.rejects(joining, { name: "ParleyError", code: "forbidden", message: "not for you" });
  await assert.rejects(parley.room("elsewhere").send(1), { code: "forbidden" });
  let heard = 0;
  parley.on("status", () => { throw new Error("mine"); });
  parley.on("status", () => { heard++; });
  parley.close();
  assert.equal(heard, 1);
});

test("who no longer waits says so by a signal", async () => {
  const coming = socket();
  const parley = connect("ws://a/ws", options);
  const s = await coming;
  await welcome(s);
  const waiting = new AbortController();
  const joining = parley.join("general", { signal: waiting.signal });
  assert.equal((await s.next()).type, "join");
  waiting.abort(new Error("enough"));
  await assert.rejects(joining, { message: "enough" });
  assert.equal((await s.next()).type, "leave");
  await assert.rejects(parley.room("general").history({ signal: AbortSignal.abort() }), { name: "AbortError" });
  parley.close();
});

test("members: the list, and what changes in it", async () => {
  const coming = socket();
  const parley = connect("ws://a/ws", options);
  const s = await coming;
  await welcome(s);
  const seen = [];
  parley.room("general").on("members", ({ users }) => seen.push(users.map((u) => u.user).join(" ")));
  const joining = parley.join("general");
  s.say({ type: "joined", id: (await s.next()).id, room: "general", epoch: "e", seq: 0, after: 0, floor: 1 });
  await joining;
  const ask = await s.next();
  s.say({ type: "presence", id: ask.id, users: [{ user: "alice", sessions: 1 }], count: 1, n: 4 },
    { type: "presence", room: "general", on: ["bob"], n: 5 });
  assert.deepEqual(seen, ["alice", "alice bob"]);
  parley.close();
});

test("what cannot work is said at once", () => {
  assert.throws(() => connect("ws://a", { user: "a", WebSocket: null }), /no WebSocket here/);
  assert.throws(() => connect("ws://a", { WebSocket: FakeSocket }), /either token or user/);
  assert.throws(() => connect("ftp://a", options), /no usable address/);
});
