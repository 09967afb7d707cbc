// The messages of one room: a list that follows its Timeline, keeps the reader's place, and asks for more at its ends.

import { avatar, bodyText, clock, dayKey, dayName, element, fullTime, linked, plural, tint } from "./text.js";

const NEAR = 500; // px from an end at which more is asked for
const TOGETHER = 5 * 60_000; // messages of one author within this stand together
const PENDING = 30; // shown of an outbox

export class Messages {
  room = null;
  #user; #read; #box; #list; #pending; #top; #jump;
  #nodes = new Map(); // seq → li
  #loading = false;
  #failed = null;
  #scheduled = false;
  #lastTop = 0;

  /** @param {(room: object) => void} read called when the reader has seen the end */
  constructor(user, read) {
    this.#user = user;
    this.#read = read;
    this.#box = document.getElementById("messages");
    this.#list = document.getElementById("timeline");
    this.#pending = document.getElementById("pending");
    this.#top = document.getElementById("top");
    this.#jump = document.getElementById("jump");
    this.#box.onscroll = () => this.#scrolled();
    this.#jump.onclick = () => this.toEnd();
    this.#top.onclick = (e) => e.target.dataset.act && this[e.target.dataset.act]();
    this.#pending.onclick = (e) => this.#decide(e.target.closest("button"));
    new ResizeObserver(() => this.room?.follow && this.#stick()).observe(this.#box);
  }

  open(room) {
    this.room = room;
    room.follow ??= true;
    this.#nodes.clear();
    this.#list.replaceChildren();
    this.#failed = null;
    this.#loading = false;
    this.#draw();
    if (room.follow) this.#stick();
    else this.#box.scrollTop = room.scrollTop ?? 0;
    this.#seen();
  }

  /** Many entries may arrive between two frames; a hidden page gets no frames. */
  update() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const later = document.hidden ? (fn) => setTimeout(fn, 200) : requestAnimationFrame;
    later(() => {
      this.#scheduled = false;
      if (!this.room) return;
      if (this.room.reload) this.#reload();
      this.#draw();
      this.#seen();
      this.#more();
    });
  }

  // ---- moving through the log

  /** To the newest message. */
  async toEnd() {
    const { room } = this;
    room.follow = true;
    if (!room.timeline.atEnd && !(await this.#show({}))) return;
    this.#draw();
    this.#stick();
    this.#seen();
  }

  /** To the first message that is kept. */
  async toStart() {
    const { room } = this;
    room.follow = false;
    if (!room.timeline.atStart && !(await this.#show({ after: room.timeline.floor - 1 }))) return;
    this.#draw();
    this.#box.scrollTop = 0;
    this.#box.focus();
  }

  retry() {
    this.#failed = null;
    this.#more();
  }

  #reload() {
    this.room.reload = false;
    this.#nodes.clear();
    this.#list.replaceChildren();
    this.toEnd();
    if (this.room.timeline.entries.length === 0) this.#show({});
  }

  #show(range) {
    return this.#ask(range, (timeline, page) => timeline.show(page));
  }

  /** @returns {Promise<boolean>} whether the answer came and still mattered */
  async #ask(range, take) {
    const { room } = this;
    this.#loading = true;
    this.#edges();
    try {
      const page = await room.client.history(range);
      if (page.epoch === undefined || page.epoch === room.epoch) take(room.timeline, page);
    } catch (err) {
      if (room === this.room) this.#failed = err.message;
    }
    if (room !== this.room) return false;
    this.#loading = false;
    this.#draw();
    return this.#failed === null;
  }

  async #more() {
    const { room } = this;
    if (!room?.joined || this.#loading || this.#failed) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    const down = scrollHeight - scrollTop - clientHeight;
    const range = scrollTop < NEAR && !room.timeline.atStart ? this.#shift("older")
      : down < NEAR && !room.timeline.atEnd && !room.follow ? this.#shift("newer") : null;
    if (range && (await this.#ask(range, (timeline, page) => timeline.add(range, page)))) this.#more();
  }

  #shift(way) {
    const before = this.room.timeline.entries;
    const range = this.room.timeline[way]();
    if (this.room.timeline.entries !== before) {
      this.#draw();
      queueMicrotask(() => this.#more());
    }
    return range;
  }

  #scrolled() {
    const { room } = this;
    if (!room) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    // Only the reader's own upward move ends following: a window that shrinks moves the end away by itself.
    if (scrollHeight - scrollTop - clientHeight < 24) room.follow = room.timeline.atEnd;
    else if (scrollTop < this.#lastTop) room.follow = false;
    this.#lastTop = scrollTop;
    room.scrollTop = scrollTop;
    this.#seen();
    this.#edges();
    this.#more();
  }

  #stick() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#lastTop = this.#box.scrollTop;
  }

  #seen() {
    if (this.room.follow && document.visibilityState === "visible") this.#read(this.room);
  }

  // ---- drawing

  #draw() {
    const { room } = this;
    const anchor = room.follow ? null : this.#anchor();
    this.#sync(room);
    this.#drawPending(room);
    this.#edges();
    if (room.follow) this.#stick();
    else if (anchor?.li.isConnected) this.#box.scrollTop += anchor.li.getBoundingClientRect().top - anchor.top;
  }

  /** The first message in view: it stays where it is, whatever is added or removed around it. */
  #anchor() {
    const { top } = this.#box.getBoundingClientRect();
    for (const li of this.#list.children) {
      const rect = li.getBoundingClientRect();
      if (rect.bottom > top) return { li, top: rect.top };
    }
    return null;
  }

  #sync({ timeline, mark }) {
    const shown = new Set(timeline.entries.map((e) => e.seq));
    for (const [seq, li] of this.#nodes) {
      if (shown.has(seq)) continue;
      li.remove();
      this.#nodes.delete(seq);
    }
    let previous = null;
    let after = null;
    for (const entry of timeline.entries) {
      if (entry.type && entry.type !== "message") continue; // of a later version
      let li = this.#nodes.get(entry.seq);
      if (!li) {
        li = this.#message(entry);
        this.#nodes.set(entry.seq, li);
        if (after) after.after(li);
        else this.#list.prepend(li);
      }
      place(li, entry, previous, mark);
      previous = entry;
      after = li;
    }
  }

  #message({ seq, from, cid, ts, body }) {
    const own = from === this.#user;
    return element("li", { class: own ? "message own" : "message", "data-seq": seq, "data-from": from, "data-cid": cid || undefined },
      ...bubble(from, body, element("time", { datetime: new Date(ts).toISOString(), title: fullTime(ts) }, clock(ts))));
  }

  #drawPending({ outbox }) {
    const known = new Map([...this.#pending.children].map((li) => [li.dataset.key, li]));
    const waiting = outbox.slice(0, PENDING).map((item) => {
      const li = known.get(item.key);
      return li?.dataset.state === item.state ? li : this.#waiting(item);
    });
    if (outbox.length > PENDING) waiting.push(element("li", { class: "note" }, `and ${outbox.length - PENDING} more`));
    this.#pending.replaceChildren(...waiting);
  }

  #waiting({ key, cid, body, state, error }) {
    const note = element("span", { class: "state" }, stateText(state, error));
    if (state === "failed" || state === "maybe") {
      note.append(button("again", key, state === "maybe" ? "Send again" : "Retry"), button("discard", key, "Discard"));
    }
    return element("li", { class: "message own first", "data-key": key, "data-cid": cid, "data-state": state, "data-from": this.#user },
      ...bubble(this.#user, body, note));
  }

  #decide(target) {
    if (!target?.dataset.key) return;
    if (target.dataset.act === "again") this.room.client.retry(target.dataset.key);
    else this.room.client.discard(target.dataset.key);
    document.getElementById("message-input").focus();
  }

  #edges() {
    const { room } = this;
    const { timeline } = room;
    const away = !room.follow && (!timeline.atEnd || this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight > 200);
    this.#jump.hidden = !away;
    this.#jump.textContent = room.unread > 0 ? `↓ ${plural(room.unread, "new message")}` : "↓ Newest messages";
    const state = this.#failed ? `failed ${this.#failed}` : this.#loading ? "loading" : !room.joined ? "joining"
      : !timeline.atStart ? "more" : timeline.entries.length === 0 ? "empty" : timeline.floor > 1 ? "trimmed" : "start";
    if (this.#top.dataset.state === `${room.name} ${state}`) return;
    this.#top.dataset.state = `${room.name} ${state}`;
    this.#top.replaceChildren(...edge(state.split(" ")[0], room.name, this.#failed));
  }
}

/** What depends on the message before: the day, the author's name, the line above what is new. */
function place(li, entry, previous, mark) {
  const day = !previous || dayKey(previous.ts) !== dayKey(entry.ts);
  const unread = mark !== null && entry.seq === mark + 1;
  const first = day || unread || previous.from !== entry.from || entry.ts - previous.ts > TOGETHER;
  li.classList.toggle("first", first);
  divider(li, "unread", unread, () => "New");
  divider(li, "day", day, () => dayName(entry.ts));
}

function divider(li, kind, wanted, text) {
  const there = li.querySelector(`:scope > .${kind}`);
  if (wanted === !!there) return;
  if (there) there.remove();
  else li.prepend(element("p", { class: `divider ${kind}` }, text()));
}

function bubble(from, body, foot) {
  const { text, code } = bodyText(body);
  const said = element("p", { class: code ? "text code" : "text", dir: "auto" }, ...linked(text));
  return [
    avatar(element("span", { class: "avatar", "aria-hidden": "true" }), from),
    element("div", { class: "bubble" }, tint(element("bdi", { class: "author" }, from), from), said, foot),
  ];
}

function stateText(state, error) {
  switch (state) {
    case "waiting": return "Waiting to be sent";
    case "sending": return "Sending…";
    case "checking": return "Checking whether it arrived…";
    case "sent": return "Sent";
    case "maybe": return "Maybe sent";
    default: return `Not sent: ${error?.message || error?.code || "refused"}`;
  }
}

function button(act, key, text) {
  return element("button", { type: "button", class: "link", "data-act": act, "data-key": key }, text);
}

function edge(state, name, error) {
  const act = (what, text) => element("button", { type: "button", class: "link", "data-act": what }, text);
  switch (state) {
    case "failed": return [`Could not load messages: ${error}. `, act("retry", "Try again")];
    case "loading": return ["Loading…"];
    case "joining": return ["Joining…"];
    case "more": return [act("toStart", "Go to the first message")];
    case "trimmed": return ["Older messages are no longer kept."];
    case "empty": return [element("strong", {}, `#${name}`), " is quiet. Say something."];
    default: return ["This is where ", element("strong", {}, `#${name}`), " begins."];
  }
}
