import assert from "node:assert/strict";
import { test } from "node:test";
import { words } from "../status.js";
import { dayName, initials, linkParts, shortTime } from "../text.js";
import { MAX, STEP, Timeline } from "../timeline.js";

const links = (text) => linkParts(text).filter((p) => p.href).map((p) => p.text);

test("links: http, https and mailto, without the sentence around them", () => {
  assert.deepEqual(links("see https://a.example/x?y=1#z, or (http://b.example/c_(d)). mailto:me@c.example!"),
    ["https://a.example/x?y=1#z", "http://b.example/c_(d)", "mailto:me@c.example"]);
});

test("links: everything else stays text", () => {
  for (const text of ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "ftp://a", "www.a.example", "file:///etc/passwd",
    "http://", "https:// a", "JAVASCRIPT:http", "<a href=x>", "//a.example"]) {
    assert.deepEqual(links(text), [], text);
  }
  const text = "a <b>b</b> https://c.example\u202egnp.exe d";
  assert.equal(linkParts(text).map((p) => p.text).join(""), text, "nothing is lost");
  assert.deepEqual(links(text), ["https://c.example"], "no link runs backwards");
});

test("names and days", () => {
  assert.equal(initials("Tomás Rivera"), "TR");
  assert.equal(initials("zoë"), "ZO");
  assert.equal(initials("---"), "?");
  const now = new Date(2025, 5, 15, 12).getTime();
  assert.equal(dayName(now - 3600_000, now), "Today");
  assert.equal(dayName(now - 20 * 3600_000, now), "Yesterday");
  assert.notEqual(shortTime(now, now), shortTime(now - 48 * 3600_000, now));
});

test("the status tells the truth", () => {
  const now = 1000;
  assert.equal(words({ state: "open" }, now, false), "Connected");
  assert.equal(words({ state: "open", moved: true }, now, false), "Moved to another server");
  assert.equal(words({ state: "reconnecting", retry_at: 3900 }, now, false), "Reconnecting in 3 s");
  assert.equal(words({ state: "reconnecting", retry_at: 900 }, now, false), "Reconnecting now");
  assert.equal(words({ state: "reconnecting", retry_at: 3900 }, now, true), "You are offline; trying again in 3 s");
  assert.equal(words({ state: "closed", reason: "banned" }, now, false), "Disconnected: banned");
});

// ---- the timeline

const entry = (seq) => ({ type: "message", seq });
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => entry(from + i));

/** Serves history as the server would. */
function fetch(timeline, head, ask) {
  if (!ask) return;
  const all = range(timeline.floor, head);
  const entries = ask.before ? all.filter((e) => e.seq < ask.before).slice(-ask.limit) : all.filter((e) => e.seq > ask.after).slice(0, ask.limit);
  timeline.add(ask, { entries, floor: timeline.floor, head });
}

function check(timeline) {
  const { entries } = timeline;
  assert.ok(entries.length <= MAX, `${entries.length} entries`);
  entries.forEach((e, i) => assert.ok(i === 0 || e.seq === entries[i - 1].seq + 1, `a hole before ${e.seq}`));
}

test("timeline: never more than MAX, whoever scrolls where, and both ends are reached", () => {
  const t = new Timeline();
  const head = 5000;
  t.head = head - 50;
  range(head - 49, head).forEach((e) => t.push(e, true));
  let asked = 0;
  for (let i = 0; !t.atStart; i++) {
    assert.ok(i < 200);
    const ask = t.older();
    if (ask) asked++;
    fetch(t, head, ask);
    check(t);
  }
  assert.equal(t.low, 1);
  assert.equal(t.atEnd, false);
  for (let i = 0; !t.atEnd; i++) {
    assert.ok(i < 200);
    fetch(t, head, t.newer());
    check(t);
  }
  assert.equal(t.high, head);
  assert.ok(asked <= Math.ceil(head / STEP));
});

test("timeline: what was seen is not asked for again", () => {
  const t = new Timeline();
  t.head = 0;
  range(1, 600).forEach((e) => t.push(e, true));
  assert.equal(t.low, 600 - MAX + 1);
  for (let i = 0; i < 10; i++) assert.equal(t.older(), null);
  assert.equal(t.low, 1);
  for (let i = 0; i < 10; i++) assert.equal(t.newer(), null);
  assert.equal(t.high, 600);
});

test("timeline: new entries do not push away what is being read", () => {
  const t = new Timeline();
  range(1, MAX).forEach((e) => t.push(e, true));
  t.push(entry(MAX + 1), false);
  assert.equal(t.low, 1);
  assert.equal(t.atEnd, false);
  t.push(entry(MAX + 2), true);
  assert.equal(t.high, MAX, "the window is elsewhere");
  assert.equal(t.newer(), null);
  assert.equal(t.atEnd, true);
});

test("timeline: an answer that came too late changes nothing", () => {
  const t = new Timeline();
  t.head = 100;
  range(101, 150).forEach((e) => t.push(e, true));
  const ask = t.older();
  t.show({ entries: range(1, 50), floor: 1, head: 150 });
  t.add(ask, { entries: range(41, 100), floor: 1, head: 150 });
  assert.deepEqual([t.low, t.high], [1, 50]);
  check(t);
});

test("timeline: entries that are no longer kept end the way up", () => {
  const t = new Timeline();
  t.head = 100;
  range(101, 150).forEach((e) => t.push(e, true));
  t.add(t.older(), { entries: [], floor: 101, head: 150 });
  assert.equal(t.atStart, true);
  assert.equal(t.older(), null);
});
