// The rooms of this person: what each shows, what is unread on this device, and the list in the side bar.

import { Timeline } from "./timeline.js";
import { avatar, bodyText, element, shortTime } from "./text.js";

const FIRST = 50; // entries that come with a join
const TYPING_FOR = 5000; // ms that one `typing` lasts

export class Rooms {
  list = [];
  current = null;
  #parley; #user; #changed; #el;

  /** @param {(room: object, what: string) => void} changed called after something of a room moved */
  constructor(parley, user, changed) {
    this.#parley = parley;
    this.#user = user;
    this.#changed = changed;
    this.#el = document.getElementById("rooms");
    this.#el.replaceChildren();
  }

  remembered() {
    const names = remembered(`parley/rooms/${this.#user}`, []);
    return Array.isArray(names) ? names.filter((n) => typeof n === "string") : [];
  }

  /** Joins a room and lists it; one that is listed already is returned. */
  add(name) {
    const known = this.list.find((r) => r.name === name);
    if (known) return known;
    const room = {
      name, client: this.#parley.room(name), timeline: new Timeline(), outbox: [], members: null, typing: new Map(),
      unread: 0, read: remembered(`parley/read/${this.#user}/${name}`, null), mark: null, epoch: null, draft: "", error: null,
      last: null, joined: false,
    };
    this.list.push(room);
    this.#listen(room);
    this.#remember();
    this.#parley.join(name, { last: FIRST }).catch((err) => {
      room.error = err.message;
      this.#changed(room, "error");
    });
    return room;
  }

  remove(room) {
    this.list = this.list.filter((r) => r !== room);
    room.gone = true;
    room.off.forEach((off) => off());
    this.#remember();
    room.client.leave().catch(() => {});
  }

  #remember() {
    remember(`parley/rooms/${this.#user}`, this.list.map((r) => r.name));
  }

  #listen(room) {
    const on = (event, act) => room.client.on(event, (data) => {
      act(data);
      this.#changed(room, event);
    });
    room.off = [
      on("joined", (info) => this.#joined(room, info)),
      on("message", (entry) => this.#entry(room, entry)),
      on("entry", (entry) => this.#entry(room, entry)),
      on("reset", ({ epoch }) => {
        room.epoch = epoch;
        room.timeline.clear();
        room.reload = true;
      }),
      on("gap", () => { room.reload = true; }),
      on("left", ({ message }) => { room.error = message || "you are no longer in this room"; }),
      on("outbox", (items) => { room.outbox = items; }),
      on("typing", ({ from }) => this.#typing(room, from)),
    ];
  }

  /** Presence is kept for rooms that were opened; a hundred rooms at once would ask a hundred times. */
  watch(room) {
    room.watched ??= room.off.push(room.client.on("members", (members) => {
      room.members = members;
      this.#changed(room, "members");
    }));
  }

  #joined(room, { epoch, head, floor, after }) {
    room.error = null;
    room.timeline.floor = floor;
    if (!room.joined) {
      room.timeline.head = after;
      room.unread = room.read?.epoch === epoch ? Math.max(0, head - room.read.seq) : 0;
      room.mark = room.unread > 0 ? room.read.seq : null;
      room.counted = head;
    }
    room.joined = true;
    room.epoch = epoch;
  }

  #entry(room, entry) {
    room.timeline.push(entry, room.follow ?? true);
    room.typing.delete(entry.from);
    if (entry.type !== "message") return;
    room.last = entry;
    if (entry.seq > room.counted && entry.from !== this.#user) {
      room.mark ??= room.unread === 0 ? entry.seq - 1 : null;
      room.unread++;
    }
  }

  #typing(room, from) {
    if (from === this.#user) return;
    room.typing.set(from, Date.now() + TYPING_FOR);
    setTimeout(() => {
      if ((room.typing.get(from) ?? Infinity) > Date.now()) return;
      room.typing.delete(from);
      this.#changed(room, "typing");
    }, TYPING_FOR + 50);
  }

  /** Everything that is there has been seen. */
  read(room) {
    const seq = room.timeline.head;
    room.unread = 0;
    if (!room.joined || (room.read?.seq === seq && room.read.epoch === room.epoch)) return;
    room.read = { epoch: room.epoch, seq };
    remember(`parley/read/${this.#user}/${room.name}`, room.read);
  }

  get unreadElsewhere() {
    return this.list.reduce((sum, r) => sum + (r === this.current ? 0 : r.unread), 0);
  }

  render() {
    const rows = new Map([...this.#el.children].map((li) => [li.dataset.room, li]));
    const items = this.list.map((room) => dress(rows.get(room.name) ?? row(room), room, room === this.current));
    const same = items.length === this.#el.children.length && items.every((li, i) => li === this.#el.children[i]);
    if (!same) this.#el.replaceChildren(...items); // moving them would take the focus away
  }
}

function row({ name }) {
  return element("li", { "data-room": name },
    element("button", { class: "open" },
      avatar(element("span", { class: "avatar square", "aria-hidden": "true" }), name),
      element("span", { class: "name" }, element("bdi", {}, name)),
      element("time", {}),
      element("span", { class: "last", dir: "auto" }),
      element("span", { class: "badge" })),
    element("button", { class: "icon leave", "aria-label": `Leave ${name}`, title: `Leave ${name}` }, "✕"));
}

function dress(li, room, current) {
  const [open] = li.children;
  const part = (selector) => open.querySelector(selector);
  if (current) open.setAttribute("aria-current", "true");
  else open.removeAttribute("aria-current");
  const last = room.last;
  setText(part("time"), last ? shortTime(last.ts) : "");
  setText(part(".last"), room.error ?? (last ? `${last.from}: ${bodyText(last.body).text}`.slice(0, 120) : "No messages yet"));
  setText(part(".badge"), room.unread > 0 ? count(room.unread) : "");
  part(".badge").hidden = room.unread === 0;
  part(".badge").setAttribute("aria-label", `${room.unread} unread`);
  return li;
}

export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

export const count = (n) => (n > 99 ? "99+" : String(n));

// Private windows may refuse storage: then this device forgets.
function remembered(key, otherwise) {
  try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

function remember(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* see above */ }
}
