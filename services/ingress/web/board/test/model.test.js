import assert from "node:assert/strict";
import { test } from "node:test";
import { Model, SPAN, STEP, bound, quantile } from "../model.js";

const T = 1_700_000_000_000;
const edge = (at, connections, deliveries, latency = [], more = {}) => ({
  process: "ingress-edge-1-ABCDEFGH", service: "ingress", at, since: T - 1000, memory: 1, bus: { heard: at, trip: 500 },
  ingress: { node: "edge-1-x1y2z3a4", connections, stalled: 0, rooms: 1, deliveries, latency, ...more },
});
const chat = (at, messages) => ({ process: "chat-a-ABCDEFGH", service: "chat", at, since: T, memory: 1, bus: { heard: at }, chat: { messages, appends: 1, spent: 1 } });

test("what is present: sums of the processes that speak", () => {
  const m = new Model();
  m.take([edge(T, 3, 0), { ...edge(T, 4, 0), process: "ingress-edge-2-ABCDEFGH" }, chat(T, 10)], T);
  assert.equal(m.present(T).connections, 7);
  assert.equal(m.minutes(T), 2);
  assert.deepEqual(m.listed(T).map((p) => [p.service, p.name, p.tag]), [["chat", "a", "abcdefgh"], ["ingress", "edge-1", "x1y2z3a4"], ["ingress", "edge-2", "x1y2z3a4"]]);
  m.take([edge(T + 4000, 5, 0)], T + 4000);
  assert.equal(m.present(T + 4000).connections, 5, "who is silent does not count");
  assert.equal(m.listed(T + 4000).length, 3, "but is still shown");
  assert.equal(m.listed(T + 61_000, "chat").length, 0);
});

test("rates are differences, also over samples that were lost, and come from one process each", () => {
  const m = new Model();
  m.take([chat(T, 100), chat(T + 3000, 160)], T + 3000);
  assert.equal(m.present(T + 3000).messages, 20);
  m.take([edge(T, 1, 50), edge(T + 3000, 1, 350)], T + 3000);
  assert.equal(m.present(T + 3000).deliveries, 100);
});

test("ten minutes: what comes late takes its place, what is twice counts once, what is older goes", () => {
  const m = new Model();
  const live = edge(T + SPAN, 9, 1000);
  m.take([live], T + SPAN);
  const past = [];
  for (let at = T - 60_000; at < T + SPAN; at += STEP) past.push({ ...edge(at, 2, 0), bus: undefined });
  m.take(past, T + SPAN);
  m.take([live, ...past.slice(-5)], T + SPAN);
  const [p] = m.listed(T + SPAN);
  assert.equal(p.last.ingress.connections, 9);
  assert.ok(p.list.every((s, i) => i === 0 || s.at > p.list[i - 1].at));
  assert.ok(p.list[0].at >= T - 2 * STEP);
  const points = m.points(T + SPAN);
  assert.equal(points.length, SPAN / STEP + 1);
  assert.equal(points.at(-1).connections, 9);
  assert.equal(points[1].connections, 2);
  assert.equal(m.minutes(T + SPAN), 10);
});

test("a hole stays a hole", () => {
  const m = new Model();
  m.take([edge(T, 2, 0), edge(T + 60_000, 3, 0)], T + 60_000);
  const at = (t) => m.points(T + 60_000).find((p) => p.at === t);
  const grid = Math.ceil(T / STEP) * STEP;
  assert.equal(at(grid).connections, 2);
  assert.equal(at(grid + 30_000).connections, null);
});

test("quantiles of a histogram", () => {
  assert.equal(quantile([], 0.5), null);
  assert.equal(quantile([0, 0], 0.5), null);
  assert.ok(Math.abs(bound(20) - 128) < 1e-9);
  const q = quantile([0, 0, 98, 0, 2], 0.5);
  assert.ok(q > bound(1) && q < bound(2));
  assert.ok(quantile([0, 0, 98, 0, 2], 0.99) > bound(3));
  const m = new Model();
  m.take([edge(T, 1, 0, [5]), edge(T + 4000, 1, 0, [5, 0, 10])], T + 4000);
  assert.ok(m.minute(T + 4000).p50 > bound(1), "only what came in between counts");
});
