import assert from "node:assert/strict";
import { test } from "node:test";
import { Members } from "../members.js";
import { acceptable, backoff, closePolicy, socketUrls } from "../policy.js";

test("close codes", () => {
  const table = {
    retry: [0, 1000, 1001, 1005, 1006, 1011, 1012, 1013, 4000, 4001, 4002, 4499],
    avoid: [1003, 1007, 1008, 1009],
    stop: [4500, 4501, 4502, 4503, 4504, 4999],
  };
  for (const [policy, codes] of Object.entries(table)) {
    for (const code of codes) assert.equal(closePolicy(code), policy, `${code}`);
  }
});

test("backoff is full jitter under a cap", () => {
  const bounds = { base: 500, cap: 30_000 };
  assert.equal(backoff(0, () => 0, bounds), 0);
  assert.equal(backoff(0, () => 0.999, bounds), 499);
  assert.equal(backoff(3, () => 0.5, bounds), 2000);
  assert.equal(backoff(1000, () => 0.999, bounds), 29_970);
});

test("addresses", () => {
  assert.deepEqual(socketUrls(["https://a.example", "ws://b/x", "ftp://c", "nonsense"]), ["wss://a.example/ws", "ws://b/x"]);
  assert.deepEqual(socketUrls(["/ws"], "http://127.0.0.1:8080/?user=bob#x"), ["ws://127.0.0.1:8080/ws"]);
  assert.ok(acceptable("https://b", "wss://a") && acceptable("ws://b", "http://a"));
  assert.ok(!acceptable("ws://b", "wss://a") && !acceptable("ftp://b", "ws://a"));
});

test("members are kept by numbered events, once the whole is known", () => {
  const m = new Members();
  assert.equal(m.take({ n: 5, on: ["x"] }), false);
  m.take({ users: [{ user: "a", sessions: 2 }], count: 1, n: 5 });
  assert.equal(m.take({ n: 5, on: ["x"] }), false);
  assert.equal(m.take({ n: 6, on: ["b"], off: ["a"] }), true);
  assert.deepEqual(m.snapshot(), { users: [{ user: "b", sessions: 1 }], count: 1 });
  assert.equal(m.take({ n: 8, on: ["c"] }), false);
  assert.equal(m.take({ n: 7, count: 300 }), true);
  assert.deepEqual(m.snapshot(), { users: [], count: 300 });
});
