// Who is in the open room, with how many connections, and who is typing.

import { setText } from "./rooms.js";
import { avatar, element, plural } from "./text.js";

const SHOWN = 200;
const ASK_EVERY = 15_000; // presence events tell of people; a second tab of one person shows only on asking
const SETTLE = 400;

export class People {
  #room = null; #user; #timer;

  constructor(user) {
    this.#user = user;
  }

  open(room) {
    this.#room = room;
    this.#draw(room.members);
    this.typing(room);
    this.refresh(0);
  }

  /** Asks soon; events that come in a bunch make one request. */
  refresh(ms = SETTLE) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), ms);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#room = null;
  }

  async #ask() {
    const room = this.#room;
    if (!room) return;
    try {
      if (room.joined && document.visibilityState === "visible") room.members = await room.client.presence();
      if (room === this.#room) this.#draw(room.members);
    } catch { /* the next time, then */ }
    if (room === this.#room) this.refresh(ASK_EVERY);
  }

  #draw(members) {
    const users = members?.users ?? [];
    const count = Math.max(members?.count ?? 0, users.length);
    const sessions = users.reduce((sum, u) => sum + (u.sessions ?? 1), 0);
    const people = plural(count, "person", "people");
    const text = users.length < count || !count ? people : `${people} · ${plural(sessions, "connection")}`;
    const where = document.getElementById("connections");
    setText(where, members ? text : "");
    where.dataset.people = count;
    where.dataset.connections = sessions;
    const sorted = [...users].sort((a, b) => a.user.localeCompare(b.user)).slice(0, SHOWN);
    const rows = sorted.map((u) => this.#row(u));
    if (count > rows.length) rows.push(element("li", { class: "note" }, `and ${plural(count - rows.length, "more", "more")}`));
    document.getElementById("members").replaceChildren(...rows);
  }

  #row({ user, sessions = 1 }) {
    const note = [user === this.#user ? "you" : "", sessions > 1 ? plural(sessions, "connection") : ""].filter(Boolean).join(" · ");
    return element("li", { "data-user": user, "data-sessions": sessions },
      avatar(element("span", { class: "avatar", "aria-hidden": "true" }), user),
      element("bdi", {}, user), element("small", {}, note));
  }

  typing({ typing }) {
    const names = [...typing.keys()];
    const more = names.length - 2;
    const who = more > 0 ? `${names.slice(0, 2).join(", ")} and ${plural(more, "other")}` : names.join(" and ");
    setText(document.getElementById("typing"), names.length === 0 ? "" : `${who} ${names.length === 1 ? "is" : "are"} typing…`);
  }
}
