// The status board: it joins ~status as an operator and shows what comes.

import { setText } from "../app/rooms.js";
import { words } from "../app/status.js";
import { element, plural } from "../app/text.js";
import { connect } from "../client.js";
import { Model, STEP } from "./model.js";
import { plot, spark } from "./plot.js";

const $ = (id) => document.getElementById(id);
const dev = document.documentElement.dataset.auth === "dev";
const KEEP = "parley/admin";
const MANY = 20; // unread batches from which on a topic stands out
const ASK_EVERY = 2000; // ms between two looks at who is online
const ROOM = /^[A-Za-z0-9_.:-]{1,128}$/;

const model = new Model();
let parley = null;
let points = [];
let minutes = 10;
let room = "general";
let drawn = 0;

// ---- coming in

function start() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("admin")) {
    sessionStorage.setItem(KEEP, fragment.get("admin"));
    history.replaceState(null, "", location.pathname); // not into the history, not into a screenshot
  }
  $("token-form").onsubmit = (e) => {
    e.preventDefault();
    const token = $("token-input").value.trim();
    if (token) open(token);
    else setText($("token-error"), "Paste the token to open the board.");
  };
  const token = sessionStorage.getItem(KEEP) ?? (dev ? "dev" : ""); // in dev auth any will do, unless one is set
  if (token) open(token);
  else gate();
}

function gate(error = "") {
  $("board").hidden = true;
  $("gate").hidden = false;
  setText($("token-error"), error);
  $("token-input").focus();
}

function open(token) {
  const tried = $("token-input").value !== "" || sessionStorage.getItem(KEEP) !== null;
  parley = connect("/ws", { admin: token, agent: "status board" });
  parley.on("status", (status) => {
    $("status").dataset.state = status.state;
    setText($("status-text"), words(status, Date.now()));
    if (status.state === "closed") {
      parley.close();
      sessionStorage.removeItem(KEEP);
      gate(tried ? `The server said no: ${status.reason || status.error || status.code}` : "");
    }
    if (status.state !== "open") return;
    if (token !== "dev" || tried) sessionStorage.setItem(KEEP, token);
    $("gate").hidden = true;
    $("board").hidden = false;
    ask();
  });
  const measures = parley.room("~status");
  measures.on("other", ({ type, samples }) => {
    if (type !== "status") return;
    model.take(samples, Date.now());
    draw();
  });
  parley.join("~status").catch(() => {}); // the status says why
}

// ---- what is shown; drawn at most five times a second, and each second whatever comes

function draw() {
  const wait = drawn + 200 - Date.now();
  if (draw.timer || document.hidden) return;
  draw.timer = setTimeout(() => {
    draw.timer = 0;
    drawn = Date.now();
    render(drawn);
  }, Math.max(wait, 0));
}

function render(now) {
  const fleet = [["ingress", "edge"], ["chat", "chat"], ["notifier", "notifier"]];
  setText($("fleet"), fleet.map(([service, one]) => plural(model.live(now, service).length, one)).join(" · "));
  figures(now);
  latency(now);
  list($("edges"), model.listed(now, "ingress"), (p) => edge(p, now));
  partitions(now);
  processes(now);
  lag(now);
}

const short = (n) => (n >= 10_000 ? Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 }).format(n) : Math.round(n).toLocaleString());
const perSecond = (n) => (n > 0 && n < 9.95 ? n.toFixed(1) : short(n));
const ms = (v) => (v === null ? "–" : v < 9.95 ? `${v.toFixed(1)} ms` : v < 9950 ? `${Math.round(v).toLocaleString()} ms` : `${(v / 1000).toFixed(1)} s`);

function figures(now) {
  const is = model.present(now);
  minutes = model.minutes(now);
  points = shown(model.points(now));
  setText($("connections"), is.connections.toLocaleString());
  setText($("connections-note"), is.stalled > 0 ? `${plural(is.stalled, "client")} read slowly` : `on ${plural(model.live(now, "ingress").length, "edge")}`);
  setText($("rooms"), is.rooms.toLocaleString());
  setText($("rooms-note"), plural(is.sessions, "session"));
  setText($("messages"), perSecond(is.messages));
  setText($("deliveries"), perSecond(is.deliveries));
  for (const what of ["connections", "rooms", "messages", "deliveries"]) spark($(`${what}-plot`), points.map((p) => p[what]));
}

const shown = (list) => list.slice(-(minutes * 60_000) / STEP - 1);

let view = null;

function latency(now) {
  const el = $("latency-plot");
  view = plot(el, [{ name: "p99", values: points.map((p) => p.p99) }, { name: "p50", values: points.map((p) => p.p50) }], { format: (v) => (v >= 1000 ? `${v / 1000} s` : `${v} ms`), minutes });
  const recent = model.minute(now);
  el.setAttribute("aria-label", `Latency over the last ten minutes; in the last minute: p50 ${ms(recent.p50)}, p99 ${ms(recent.p99)}`);
  if (latency.at === undefined) legend(recent, "last minute");
  else point(latency.at);
}

function legend({ p50, p99 }, when) {
  setText($("p50"), ms(p50));
  setText($("p99"), ms(p99));
  setText($("latency-when"), when);
}

/** Shows one moment of the plot. @param {number} px */
function point(px) {
  const p = points[view.index(px)];
  if (!p) return;
  const x = view.x(view.index(px));
  for (const end of ["x1", "x2"]) view.cross.firstChild.setAttribute(end, x);
  view.cross.setAttribute("visibility", "visible");
  legend(p, new Date(p.at).toLocaleTimeString());
}

$("latency-plot").onpointermove = (e) => {
  latency.at = e.clientX - e.currentTarget.getBoundingClientRect().left;
  if (view) point(latency.at);
};
$("latency-plot").onpointerleave = () => {
  latency.at = undefined;
  draw();
};

/** Makes the children anew, but keeps those whose text is the same. */
function list(parent, items, make) {
  const fresh = items.map(make);
  fresh.forEach((el, i) => {
    const old = parent.children[i];
    if (!old) parent.append(el);
    else if (!old.isEqualNode(el)) old.replaceWith(el);
  });
  while (parent.children.length > fresh.length) parent.lastChild.remove();
}

const STATES = { well: "well", silent: "silent", draining: "draining", waits: "waits for the store" };

function stateOf(p, now) {
  if (model.silent(p, now)) return "silent";
  if (p.last.ingress?.draining) return "draining";
  return p.last.chat?.waiting?.length > 0 ? "waits" : "well";
}

const name = (p) => [p.name, p.tag && element("span", { class: "tag" }, ` ${p.tag}`)].filter(Boolean);
const dot = () => element("span", { class: "dot", "aria-hidden": "true" });

function edge(p, now) {
  const state = stateOf(p, now);
  const { connections, stalled, rooms, node } = p.last.ingress;
  const waiting = lagOf(now).get(`deliveries-${node} edge`);
  const plotted = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  plotted.setAttribute("aria-hidden", "true");
  spark(plotted, shown(model.connections(p, now)), { height: 34 });
  const notes = [state === "well" ? "" : STATES[state], plural(rooms, "room"), stalled > 0 ? `${stalled} slow` : "", waiting?.messages >= MANY ? `${plural(waiting.messages, "batch", "batches")} unread` : ""];
  return element("li", { "data-edge": p.name, "data-connections": connections, "data-state": state },
    element("span", { class: "name", "data-state": state }, dot(), ...name(p)), element("span", { class: "value" }, connections.toLocaleString()),
    element("span", { class: "note" }, notes.filter(Boolean).join(" · ")), plotted);
}

/** The newest word on each topic and group: several processes sample the same. */
function lagOf(now) {
  const all = new Map();
  for (const p of model.live(now)) {
    for (const l of p.last.bus?.lag ?? []) {
      const key = `${l.topic} ${l.group}`;
      if (!(all.get(key)?.at > p.last.at)) all.set(key, { ...l, at: p.last.at });
    }
  }
  return all;
}

function partitions(now) {
  const rows = new Map();
  const row = (n) => rows.get(n) ?? (rows.set(n, {}), rows.get(n));
  for (const p of model.live(now)) for (const l of p.last.bus?.leases ?? []) row(l.partition)[l.group] = p;
  for (const l of lagOf(now).values()) {
    const match = /^(commands|events)-(\d+)$/.exec(l.topic);
    if (match) row(Number(match[2]))[match[1]] = l.messages;
  }
  const holder = (p) => (p ? element("td", {}, ...name(p)) : element("td", { class: "none" }, "nobody"));
  const waiting = (n) => element("td", { class: n >= MANY ? "n some" : "n" }, n === undefined ? "–" : n.toLocaleString());
  list($("partitions"), [...rows].sort(([a], [b]) => a - b), ([n, r]) => element("tr", {},
    element("th", { scope: "row" }, String(n).padStart(2, "0")), holder(r.chat), waiting(r.commands), holder(r.notifier), waiting(r.events)));
}

function processes(now) {
  const all = model.listed(now);
  list($("processes"), all, (p) => {
    const state = stateOf(p, now);
    const { since, memory, bus } = p.last;
    const away = bus && bus.heard > 0 && p.last.at - bus.heard > 10_000;
    return element("tr", { "data-state": state, "data-process": p.name },
      element("th", { scope: "row" }, ...name(p)), element("td", {}, p.service),
      element("td", { class: "state", "data-state": state }, dot(), STATES[state]),
      element("td", { class: "n" }, duration(p.last.at - since)), element("td", { class: "n" }, `${Math.round(memory / 2 ** 20)} MiB`),
      element("td", { class: away ? "n none" : "n" }, !bus || bus.heard === 0 ? "–" : away ? `silent ${duration(p.last.at - bus.heard)}` : ms(bus.trip / 1000)));
  });
  const live = model.live(now);
  const answering = live.filter((p) => p.last.bus?.heard > 0 && p.last.at - p.last.bus.heard <= 10_000).length;
  const chats = live.filter((p) => p.last.chat);
  const waits = chats.reduce((n, p) => n + (p.last.chat.waiting?.length ?? 0), 0);
  const appends = chats.reduce((n, p) => n + p.last.chat.appends, 0);
  const spent = chats.reduce((n, p) => n + p.last.chat.spent, 0);
  setText($("brokers"), [
    `bus answers ${answering} of ${live.length}`,
    waits > 0 ? `store: ${plural(waits, "partition")} cannot append` : "store: every log whole",
    appends > 0 ? `${ms(spent / appends / 1000)} an append` : "",
  ].filter(Boolean).join(" · "));
}

function lag(now) {
  const others = [...lagOf(now).values()].filter((l) => !/^(commands|events)-\d+$/.test(l.topic)).sort((a, b) => a.topic.localeCompare(b.topic));
  list($("lag"), others, (l) => element("tr", {}, element("th", { scope: "row" }, l.topic),
    element("td", { class: l.messages >= MANY ? "n some" : "n" }, l.messages.toLocaleString()), element("td", { class: "n" }, short(l.bytes))));
}

function duration(span) {
  const s = Math.max(Math.round(span / 1000), 0);
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

// ---- who is online in a room

$("room-form").onsubmit = (e) => {
  e.preventDefault();
  const wanted = $("room-input").value.trim().replace(/^#/, "");
  if (!ROOM.test(wanted)) return setText($("room-note"), "A room's name has 1 to 128 letters, digits or _ . : -");
  room = wanted;
  ask();
};

async function ask() {
  if (document.hidden || parley?.status.state !== "open") return;
  const asked = room;
  try {
    const { users, count } = await parley.room(asked).presence();
    if (asked === room) people(users, count);
  } catch (err) {
    if (asked === room) setText($("room-note"), err.message);
  }
}

function people(users, count) {
  const sessions = users.reduce((n, u) => n + u.sessions, 0);
  setText($("room-note"), count === 0 ? `Nobody is in #${room}.` : `${plural(count, "person", "people")} in #${room}, ${plural(sessions, "session")}${count > users.length ? `; the first ${users.length}:` : ""}`);
  list($("people"), users, ({ user, held = 0, nodes = [] }) => {
    const how = nodes.length > 0 ? "well" : "held";
    const says = [nodes.length > 0 ? `${nodes.length} connected` : "", held > 0 ? `${held} lost, may resume` : ""].filter(Boolean).join(", ");
    return element("li", { "data-user": user, "data-state": how }, element("bdi", {}, user),
      element("span", { class: "how", "data-state": how }, dot(), says), element("span", { class: "where note" }, [...new Set(nodes)].join(", ")));
  });
}

setInterval(draw, 1000);
setInterval(ask, ASK_EVERY);
document.onvisibilitychange = () => (draw(), ask());
start();
