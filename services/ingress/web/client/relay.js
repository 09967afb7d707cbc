// One WebSocket for several links. A link is what a tab's machine takes for a socket of its own: it says hello, joins with
// cursors, asks with ids of its own, and gets what a server would say. So every tab keeps its machine, its cursors and its
// outbox, and whatever breaks in between is to it a broken line, which it knows how to mend.
//
// The server sees one session. A room is joined once for all links in it; who comes later is brought to where the others
// are by pages of history, so that nobody's stream is moved.

const PAGE = 200;
const BEAT = 5000; // ms: so often, at most, all links are told that the server is alive

/**
 * @typedef {Record<string, any>} Frame
 * @typedef {(what: {opened?: true, closed?: {code: number, reason: string}, frame?: Frame}) => void} Tell
 * @typedef {{tell: Tell, trunk: Trunk, hello: Frame | null, gone: boolean}} Link
 * @typedef {{name: string, joined: boolean, epoch: string, seq: number, floor: number, links: Set<Link>,
 *   late: Map<Link, Frame[]>, waiting: {link: Link, frame: Frame}[]}} Shared a room; seq: all links in it were given so far;
 *   late: who is being brought there, and what came meanwhile
 */

export class Relay {
  /** @type {Trunk | null} */ #trunk = null;
  /** @type {Set<Trunk>} */ #all = new Set();
  #WebSocket;

  /** @param {typeof globalThis.WebSocket} WebSocket */
  constructor(WebSocket) { this.#WebSocket = WebSocket; }

  /** Opens a link: on the connection that there is, unless its server wants it gone. @param {string} url @param {Tell} tell @returns {Link} */
  open(url, tell) {
    if (!this.#trunk || this.#trunk.over || this.#trunk.leaving) {
      this.#trunk = new Trunk(new this.#WebSocket(url, "parley.v1"), (trunk) => this.#all.delete(trunk));
      this.#all.add(this.#trunk);
    }
    return this.#trunk.link(tell);
  }

  /** Ends every connection; links are told that the line broke. */
  close() { for (const trunk of [...this.#all]) trunk.end(1000, 1006, "another tab has the socket now"); }
}

/** One connection and its links. */
class Trunk {
  over = false;
  leaving = false;
  #socket; #ended;
  #open = false;
  /** @type {Set<Link>} */ #links = new Set();
  /** @type {Map<string, Shared>} */ #rooms = new Map();
  /** @type {Map<number, (reply: Frame) => void>} */ #asked = new Map();
  #ids = 0;
  #greeting = false;
  /** @type {Frame | null} */ #welcome = null;
  #welcomed = 0;
  #beat = 0;

  /** @param {WebSocket} socket @param {(trunk: Trunk) => void} ended */
  constructor(socket, ended) {
    this.#socket = socket;
    this.#ended = ended;
    socket.onopen = () => {
      this.#open = true;
      for (const link of this.#links) link.tell({ opened: true });
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onerror = () => {};
    // A link that is on its way to the next connection was not replaced by itself: it is to resume.
    socket.onclose = ({ code, reason }) => this.end(0, code === 4504 ? 1012 : code, reason);
  }

  /** @param {Tell} tell @returns {Link} */
  link(tell) {
    /** @type {Link} */
    const link = { tell, trunk: this, hello: null, gone: false };
    this.#links.add(link);
    if (this.#open) tell({ opened: true });
    return link;
  }

  /** @param {number} code for the server; 0: it knows @param {number} told to the links @param {string} reason */
  end(code, told, reason) {
    if (this.over) return;
    this.over = true;
    if (code !== 0) this.#socket.close(code);
    this.#ended(this);
    for (const link of [...this.#links]) {
      link.gone = true;
      link.tell({ closed: { code: told, reason } });
    }
    this.#links.clear();
  }

  /** A link's machine hangs up. @param {Link} link @param {number} code 4002: it found the line dead, which is everybody's */
  hangUp(link, code) {
    if (link.gone) return;
    link.gone = true;
    this.#links.delete(link);
    if (this.over) return;
    if (code === 4002) return this.end(4002, 1006, "no sign of life from the server");
    for (const room of [...this.#rooms.values()]) this.#out(link, room);
    if (this.#links.size === 0) this.end(1000, 1000, "");
  }

  // ---- from a link

  /** @param {Link} link @param {Frame} frame */
  say(link, frame) {
    if (link.gone) return;
    switch (frame.type) {
      case "hello": return this.#hello(link, frame);
      case "join": return this.#join(link, frame);
      case "leave": return this.#leave(link, frame);
      case "pong": return; // the ping was answered here
    }
    if (!frame.id) return this.#send(frame);
    this.#ask(frame, (reply) => this.#tell(link, { ...reply, id: frame.id }));
  }

  /** @param {Link} link @param {Frame} hello */
  #hello(link, hello) {
    link.hello = hello;
    if (this.#welcome) return this.#greet(link);
    if (this.#greeting) return;
    this.#greeting = true;
    const { rooms: _, ...bare } = hello;
    this.#ask(bare, (reply) => {
      if (reply.type === "welcome") {
        this.#welcome = reply;
        this.#welcomed = performance.now();
      }
      for (const l of this.#links) if (l.hello) reply.type === "welcome" ? this.#greet(l) : this.#tell(l, { ...reply, id: l.hello.id });
    });
  }

  /** @param {Link} link */
  #greet(link) {
    const { id, rooms = {} } = /** @type {Frame} */ (link.hello);
    /** @type {Frame} */ const welcome = { ...this.#welcome, id };
    if (welcome.expires_ms) welcome.expires_ms = Math.max(Math.round(welcome.expires_ms - (performance.now() - this.#welcomed)), 1);
    this.#tell(link, welcome);
    for (const [room, since] of Object.entries(rooms)) this.#join(link, { room, since });
  }

  /** @param {Link} link @param {Frame} frame with id, or for one of hello's rooms without */
  #join(link, frame) {
    const known = this.#rooms.get(frame.room);
    if (known?.joined) return void this.#bring(link, known, frame);
    if (known) return void known.waiting.push({ link, frame });
    /** @type {Shared} */
    const room = { name: frame.room, joined: false, epoch: "", seq: 0, floor: 1, links: new Set(), late: new Map(), waiting: [] };
    this.#rooms.set(room.name, room);
    const { room: name, since, last } = frame;
    this.#ask({ type: "join", room: name, since, last }, (reply) => this.#joined(link, room, frame, reply));
  }

  /** @param {Link} link @param {Shared} room @param {Frame} frame @param {Frame} reply */
  #joined(link, room, frame, reply) {
    const waiting = room.waiting.splice(0);
    if (reply.type === "joined") {
      Object.assign(room, { joined: true, epoch: reply.epoch, seq: reply.after, floor: reply.floor });
      if (!link.gone) room.links.add(link);
    } else {
      this.#rooms.delete(room.name);
    }
    this.#answer(link, frame, reply);
    for (const w of waiting) if (!w.link.gone) this.#join(w.link, w.frame);
    if (reply.type === "joined") this.#dropEmpty(room);
  }

  /** Brings a link to where the others of the room are. @param {Link} link @param {Shared} room @param {Frame} frame */
  async #bring(link, room, frame) {
    const { since, last } = frame;
    const to = room.seq;
    const at = { type: "joined", room: room.name, epoch: room.epoch, floor: room.floor };
    let from = since ? since.seq : last ? Math.max(to - last, room.floor - 1) : to;
    const reset = since && since.epoch !== room.epoch;
    room.late.delete(link);
    room.links.delete(link);
    if (reset || from >= to) {
      if (reset) from = to;
      room.links.add(link);
      return this.#answer(link, frame, { ...at, seq: Math.max(to, from), after: from, ...(reset && { reset: true }) });
    }
    /** @type {Frame[]} */ const meanwhile = [];
    room.late.set(link, meanwhile);
    for (let first = true; from < to; first = false) {
      /** @type {Frame} */
      const page = await new Promise((done) => this.#ask({ type: "history", room: room.name, after: from, limit: Math.min(PAGE, to - from) }, done));
      if (link.gone || room.late.get(link) !== meanwhile) return; // it left, or joined elsewhere
      const changed = page.type === "page" && page.epoch !== room.epoch;
      if (page.type !== "page" || changed) {
        room.late.delete(link);
        if (first) this.#answer(link, frame, changed ? { type: "error", code: "unavailable", message: "the log has changed meanwhile", retry_after_ms: 100 } : page);
        else link.trunk.#fail(link);
        return this.#dropEmpty(room);
      }
      const lost = page.floor > from + 1 ? { from: from + 1, to: Math.min(page.floor - 1, to) } : null;
      if (first) {
        this.#answer(link, frame, { ...at, floor: page.floor, seq: to, after: lost && since ? lost.to : lost ? page.floor - 1 : from, ...(lost && since && { gap: lost }) });
      } else if (lost) {
        this.#tell(link, { type: "gap", room: room.name, ...lost });
      }
      for (const entry of page.entries) if (entry.seq <= to) this.#tell(link, { ...entry, room: room.name });
      from = Math.max(lost?.to ?? 0, page.entries.at(-1)?.seq ?? to);
    }
    room.late.delete(link);
    room.links.add(link);
    for (const f of meanwhile) this.#tell(link, f);
  }

  /** A link that cannot be brought to the end of a stream comes again, with its cursor. @param {Link} link */
  #fail(link) {
    this.hangUp(link, 1000);
    link.tell({ closed: { code: 1012, reason: "the history could not be read" } });
  }

  /** The reply to a join; of one of hello's rooms it bears the room and no id. @param {Link} link @param {Frame} frame @param {Frame} reply */
  #answer(link, { id, room }, { id: _, ...reply }) { this.#tell(link, id ? { ...reply, id } : { ...reply, room }); }

  /** @param {Link} link @param {Frame} frame */
  #leave(link, frame) {
    const room = this.#rooms.get(frame.room);
    if (room) this.#out(link, room);
    if (frame.id) this.#tell(link, { type: "ok", id: frame.id, room: frame.room });
  }

  /** @param {Link} link @param {Shared} room */
  #out(link, room) {
    room.links.delete(link);
    room.late.delete(link);
    room.waiting = room.waiting.filter((w) => w.link !== link);
    if (room.joined) this.#dropEmpty(room);
  }

  /** @param {Shared} room */
  #dropEmpty(room) {
    if (room.links.size + room.late.size + room.waiting.length > 0 || this.#rooms.get(room.name) !== room || this.over) return;
    this.#rooms.delete(room.name);
    this.#send({ type: "leave", room: room.name });
  }

  // ---- from and to the server

  /** @param {Frame} frame @param {(reply: Frame) => void} then */
  #ask(frame, then) {
    const id = ++this.#ids;
    this.#asked.set(id, then);
    this.#send({ ...frame, id });
  }

  /** @param {Frame} frame */
  #send(frame) { if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(frame)); }

  /** @param {Link} link @param {Frame} frame */
  #tell(link, frame) { if (!link.gone) link.tell({ frame }); }

  /** @param {unknown} data */
  #receive(data) {
    if (typeof data !== "string" || this.over) return;
    for (const line of data.split("\n")) {
      let frame;
      try { frame = JSON.parse(line); } catch { continue; }
      this.#frame(frame);
    }
    // A link in quiet rooms hears nothing, and the server has no reason to ping while another one speaks.
    if (performance.now() - this.#beat < BEAT) return;
    this.#beat = performance.now();
    for (const link of [...this.#links]) if (link.hello) this.#tell(link, { type: "ping" });
  }

  /** @param {Frame} f */
  #frame(f) {
    const asked = f.id && this.#asked.get(f.id);
    if (asked) {
      this.#asked.delete(f.id);
      return asked(f);
    }
    if (f.type === "ping") {
      this.#beat = performance.now();
      this.#send({ type: "pong" });
    }
    if (f.type === "migrate") this.leaving = true;
    if (f.room === undefined) {
      for (const link of [...this.#links]) this.#tell(link, f);
      return;
    }
    const room = this.#rooms.get(f.room);
    if (!room?.joined) return;
    if (f.type === "reset") Object.assign(room, { epoch: f.epoch, seq: f.seq });
    else if (f.type === "gap") room.seq = Math.max(room.seq, f.to);
    else if (Number.isInteger(f.seq)) room.seq = Math.max(room.seq, f.seq);
    for (const link of [...room.links]) this.#tell(link, f);
    for (const meanwhile of room.late.values()) meanwhile.push(f);
  }
}
