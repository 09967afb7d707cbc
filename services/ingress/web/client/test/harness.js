// A machine with a written history: inputs in, effects out, nothing else.

import { Machine } from "../machine.js";

export class Harness {
  /** @param {object} [config] of the machine */
  constructor(config = {}) {
    this.m = new Machine({ urls: ["ws://a/ws"], user: "alice", random: () => 0.5, window: 1, ...config });
    this.now = 1000;
    this.effects = [];
    this.cids = 0;
  }

  in(type, more = {}) {
    const out = this.m.step({ type, ...more }, this.now);
    this.effects.push(...out);
    return out;
  }

  /** Everything of the kinds since the last call. */
  take(...kinds) { return this.effects.splice(0).filter((e) => kinds.includes(e.do)); }
  frames(conn) { return this.take("send").filter((e) => e.conn === conn).map((e) => e.frame); }
  frame(conn, frame) { return this.in("frame", { conn, frame }); }

  /** Lets time pass until the machine has something to do. */
  tick() {
    this.now = this.m.deadline;
    return this.in("tick");
  }

  /** Opens connection `conn`, which was just dialled, and welcomes it. @returns the hello */
  online(conn = 1, welcome = {}) {
    if (conn === 1) this.in("start");
    const hello = this.in("opened", { conn }).find((e) => e.do === "send").frame;
    this.frame(conn, { type: "welcome", id: hello.id, session: "s_1", resume: "r1", user: "alice", node: `n${conn}`, ping_ms: 25_000, limits: {}, ...welcome });
    return hello;
  }

  /** A room that is joined on connection 1. */
  static joined(config) {
    const h = new Harness(config);
    h.online();
    h.join();
    h.take();
    return h;
  }

  join(room = "general", { epoch = "e1", seq = 10, conn = 1 } = {}) {
    const join = this.in("join", { room, ref: 1 }).find((e) => e.do === "send").frame;
    this.frame(conn, { type: "joined", id: join.id, room, epoch, seq, after: seq, floor: 1 });
  }

  /** A break, a return as connection `conn`, and what the server says of the room. */
  again(conn, joined = {}, code = 1006) {
    this.in("closed", { conn: conn - 1, code });
    this.tick();
    this.online(conn);
    this.take();
    this.frame(conn, { type: "joined", room: "general", epoch: "e1", seq: 10, after: 10, floor: 1, ...joined });
  }

  message(conn, seq, more = {}) {
    return this.frame(conn, { type: "message", room: "general", seq, mid: `m${seq}`, from: "bob", ts: seq, body: { text: `${seq}` }, ...more });
  }

  send(text, ref = 100 + this.cids) {
    return this.in("send", { room: "general", body: { text }, cid: `c${++this.cids}`, ref, at: 5 });
  }

  get items() { return (this.m.outbox.get("general") ?? []).map((i) => `${i.body.text} ${i.state}`); }
}
