// The page: who you are, the connection, and which part is told of what.

import { connect } from "../client.js";
import { Messages } from "./messages.js";
import { People } from "./people.js";
import { Rooms, count, setText } from "./rooms.js";
import { Status, words } from "./status.js";
import { avatar, bodyText } from "./text.js";

const $ = (id) => document.getElementById(id);
const jwt = document.documentElement.dataset.auth === "jwt";
const ROOM = /^[A-Za-z0-9_.:-]{1,128}$/;
const WIDE = matchMedia("(min-width: 1100px)");
const NARROW = matchMedia("(max-width: 759px)");
let chat = null;

// ---- who you are: it belongs to the tab, so that two tabs are two people

function start() {
  const query = new URLSearchParams(location.search);
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("token")) {
    sessionStorage.setItem("parley/token", fragment.get("token"));
    history.replaceState(null, "", location.pathname + location.search); // not into the history, not into a screenshot
  }
  const name = query.get("user") ?? sessionStorage.getItem("parley/user") ?? "";
  const token = sessionStorage.getItem("parley/token") ?? "";
  const room = query.get("room") ?? sessionStorage.getItem("parley/room") ?? "general";
  $("name-input").value = name;
  $("first-room-input").value = room;
  for (const field of document.querySelectorAll("[data-for]")) field.hidden = field.dataset.for !== (jwt ? "jwt" : "dev");
  $("join-form").onsubmit = (e) => {
    e.preventDefault();
    enter($("name-input").value.trim(), $("token-input").value.trim(), $("first-room-input").value.trim());
  };
  if (jwt ? token : name) enter(name, token, room);
  else welcome();
}

function welcome(error = "") {
  $("chat").hidden = true;
  $("welcome").hidden = false;
  setText($("join-error"), error);
  $(jwt ? "token-input" : "name-input").focus();
}

function enter(name, token, room) {
  const error = jwt ? (token ? "" : "Paste your token to come in.") : nameError(name);
  if (error || !ROOM.test(room)) return welcome(error || roomError());
  sessionStorage.setItem(jwt ? "parley/token" : "parley/user", jwt ? token : name);
  sessionStorage.setItem("parley/room", room);
  setText($("join-error"), jwt ? "Connecting…" : "");
  const parley = connect("/ws", jwt ? { token } : { user: name });
  const off = parley.on("status", (status) => {
    if (status.state === "closed") {
      parley.close();
      chat?.close();
      forget();
      welcome(`The server said no: ${status.reason || status.error || status.code}`);
    }
    if (status.state === "reconnecting") setText($("join-error"), `${words(status, Date.now())}…`);
    if (status.state === "open" || !jwt) off();
    if (status.state === "open" && !chat) open(parley, parley.user, room);
  });
  if (!jwt) open(parley, name, room);
}

function open(parley, user, room) {
  $("welcome").hidden = true;
  $("chat").hidden = false;
  chat = new Chat(parley, user, room);
}

function forget() {
  sessionStorage.removeItem("parley/token");
  sessionStorage.removeItem("parley/user");
}

const nameError = (name) => (!name ? "Enter a name to come in."
  : /\p{Cc}/u.test(name) || name.length > 128 ? "A name has 1 to 128 characters and no control characters."
  : /^[~@]/.test(name) ? "Names that begin with ~ or @ are reserved." : "");
const roomError = () => "A room's name has 1 to 128 letters, digits or _ . : -";

// ---- the chat

class Chat {
  constructor(parley, user, first) {
    this.parley = parley;
    this.user = user;
    this.status = new Status(parley);
    this.people = new People(user);
    this.rooms = new Rooms(parley, user, (room, what) => this.changed(room, what));
    this.messages = new Messages(user, (room) => this.seen(room));
    parley.on("status", (status) => this.onStatus(status));
    avatar($("me-avatar"), user);
    setText($("me-name"), user);
    this.bind();
    for (const name of new Set([...this.rooms.remembered(), first])) this.rooms.add(name);
    this.select(this.rooms.add(first));
  }

  close() {
    this.status.stop();
    this.people.stop();
    this.messages.room = null;
    this.rooms.current = null;
    chat = null;
  }

  onStatus(status) {
    this.status.show(status);
    if (status.state === "open") this.people.refresh();
    const refused = status.error === "unauthorized" || status.code === 4501 || status.code === 4503;
    if (status.state !== "closed" || !refused) return;
    this.close();
    this.parley.close(); // what waits in outboxes is kept for the next time
    forget();
    welcome(status.code === 4501 ? "Your token has expired. Paste a fresh one to go on." : `The server said no: ${status.reason || status.code}`);
  }

  changed(room, what) {
    if (room.gone) return;
    if (room === this.rooms.current) {
      if (what === "typing" || what === "message") this.people.typing(room);
      if (what === "members" || what === "joined") this.people.refresh();
      if (what === "error" || what === "left" || what === "joined") this.composable(room);
      if (what !== "typing" && what !== "members") this.messages.update();
    }
    if (what !== "typing" && what !== "members" && what !== "outbox") this.list();
    if (what === "message") this.announce(room);
  }

  /** Screen readers hear what is new in the open room, not what is loaded. */
  announce(room) {
    const { last } = room;
    if (room !== this.rooms.current || last.from === this.user || last.seq <= room.counted) return;
    setText($("said"), `${last.from}: ${bodyText(last.body).text.slice(0, 300)}`);
  }

  seen(room) {
    if (room.unread === 0 && room.read?.seq === room.timeline.head) return;
    this.rooms.read(room);
    this.list();
  }

  /** The side bar is drawn once per frame, however much arrives. */
  list() {
    if (this.listing) return;
    this.listing = true;
    setTimeout(() => {
      this.listing = false;
      this.rooms.render();
      const elsewhere = this.rooms.unreadElsewhere;
      const all = elsewhere + (this.rooms.current?.unread ?? 0);
      document.title = `${all > 0 ? `(${count(all)}) ` : ""}${this.rooms.current?.name ?? ""} · Parley`;
      $("elsewhere").hidden = elsewhere === 0;
      setText($("elsewhere"), elsewhere > 0 ? count(elsewhere) : "");
    }, 30);
  }

  select(room) {
    const input = $("message-input");
    const left = this.rooms.current;
    if (left) Object.assign(left, { draft: input.value, mark: null });
    this.rooms.current = room;
    sessionStorage.setItem("parley/room", room.name);
    setText($("room-name"), `#${room.name}`);
    input.value = room.draft;
    input.placeholder = `Write to #${room.name}`;
    this.grow();
    this.composable(room);
    this.messages.open(room);
    this.rooms.watch(room);
    this.people.open(room);
    this.list();
    drawer("sidebar", false);
    if (!NARROW.matches) input.focus();
  }

  composable(room) {
    $("message-input").disabled = room.error !== null;
    setText($("composer-error"), room.error === null ? "" : `#${room.name}: ${room.error}`);
  }

  leave(room) {
    this.rooms.remove(room);
    if (room === this.rooms.current) {
      this.rooms.current = null;
      this.select(this.rooms.list[0] ?? this.rooms.add("general"));
    }
    this.list();
  }

  bind() {
    $("rooms").onclick = (e) => {
      const room = this.rooms.list.find((r) => r.name === e.target.closest("li")?.dataset.room);
      const button = e.target.closest("button");
      if (room && button) button.classList.contains("leave") ? this.leave(room) : this.select(room);
    };
    $("room-form").onsubmit = (e) => {
      e.preventDefault();
      const name = $("room-input").value.trim().replace(/^#/, "");
      setText($("room-error"), ROOM.test(name) ? "" : roomError());
      if (!ROOM.test(name)) return;
      $("room-input").value = "";
      this.select(this.rooms.add(name));
    };
    $("sign-out").onclick = () => {
      this.parley.close();
      forget();
      location.replace(location.pathname);
    };
    this.bindComposer();
    $("open-rooms").onclick = () => drawer("sidebar", true);
    $("open-people").onclick = () => drawer("people", true);
    $("close-rooms").onclick = $("close-people").onclick = $("scrim").onclick = closeDrawers;
    document.onkeydown = (e) => this.key(e);
    document.onvisibilitychange = () => document.visibilityState === "visible" && (this.messages.update(), this.people.refresh());
  }

  bindComposer() {
    const input = $("message-input");
    $("composer").onsubmit = (e) => {
      e.preventDefault();
      this.send(input.value);
    };
    input.oninput = () => {
      this.grow();
      if (input.value.trim()) this.rooms.current.client.typing();
    };
    let shifted = false;
    input.onkeydown = (e) => { shifted = e.shiftKey; };
    // Phones' keyboards name no key; every one of them says that a line is to be broken.
    input.onbeforeinput = (e) => {
      if (e.inputType !== "insertLineBreak" || shifted || e.isComposing) return;
      e.preventDefault();
      this.send(input.value);
    };
  }

  send(text) {
    const room = this.rooms.current;
    if (!text.trim() || room.error !== null) return;
    setText($("composer-error"), "");
    const input = $("message-input");
    input.value = "";
    this.grow();
    room.client.send({ text: text.trim() }).catch((err) => {
      // What never got into the outbox goes back to where it was written.
      if (!room.outbox.some((i) => i.body.text === text.trim())) input.value ||= text;
      if (room === this.rooms.current && err.code !== "discarded") setText($("composer-error"), err.message);
    });
    this.messages.toEnd();
  }

  /** The field is as high as its text, up to a limit that the style sheet sets. */
  grow() {
    const input = $("message-input");
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + 2}px`;
  }

  key(e) {
    if (e.key === "Escape") return closeDrawers();
    if (!e.altKey || (e.key !== "ArrowUp" && e.key !== "ArrowDown")) return;
    const { list, current } = this.rooms;
    const step = e.key === "ArrowUp" ? list.length - 1 : 1;
    this.select(list[(list.indexOf(current) + step) % list.length]);
    e.preventDefault();
  }
}

// ---- drawers: on narrow screens the side bars lie over the room

const OPENERS = { sidebar: "open-rooms", people: "open-people" };

function drawer(id, open) {
  const was = $(id).classList.contains("open");
  $(id).classList.toggle("open", open);
  $(OPENERS[id]).setAttribute("aria-expanded", open);
  $("scrim").hidden = !document.querySelector(".open#sidebar, .open#people");
  if (open) $(id).querySelector("header button").focus();
  else if (was) $(OPENERS[id]).focus();
}

function closeDrawers() {
  for (const id of Object.keys(OPENERS)) if ($(id).classList.contains("open")) drawer(id, false);
}

WIDE.onchange = NARROW.onchange = closeDrawers;

start();
