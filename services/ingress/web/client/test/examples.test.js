// Every example of the README and of the documented functions, run against the server that PARLEY_URL names (dev auth).

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { ParleyError, connect, memoryStorage } from "../index.js";

const URL_ = process.env.PARLEY_URL;
const root = new URL("../", import.meta.url);
const skip = !URL_ ? "PARLEY_URL names no server" : typeof WebSocket === "undefined" && "no WebSocket here";

/** @returns {{name: string, code: string}[]} */
function examples() {
  const found = [];
  for (const file of readdirSync(root).filter((f) => f.endsWith(".js"))) {
    const text = readFileSync(new URL(file, root), "utf8");
    for (const [, comment, name] of text.matchAll(/\/\*\*((?:(?!\*\/)[^])*?)\*\/\s*(?:export |async |function |class )*(\w+)/g)) {
      const [, code] = comment.split("@example");
      if (code) found.push({ name: `${file}: ${name}`, code: code.replace(/^\s*\* ?/gm, "") });
    }
  }
  const readme = readFileSync(new URL("README.md", root), "utf8");
  for (const [, language, block] of readme.matchAll(/```(js|html)\n([^]*?)```/g)) {
    const code = language === "html" ? block.match(/<script[^>]*>([^]*?)<\/script>/)[1] : block;
    found.push({ name: `README: ${code.trim().split("\n")[0]}`, code: code.replace(/^\s*import .*$/gm, "") });
  }
  return found;
}

const every = examples();
const AsyncFunction = (async () => {}).constructor;

test("each public function has one", () => {
  for (const name of ["connect", "ParleyError", "join", "presence", "start", "close", "on", "send", "retry", "discard", "history", "typing", "signal", "leave", "memoryStorage"]) {
    assert.ok(every.some((e) => e.name.endsWith(`: ${name}`)), `${name} has no example`);
  }
});

for (const { name, code } of every) {
  test(name, { skip, timeout: 20_000 }, async (t) => {
    const clients = [];
    t.after(() => clients.forEach((c) => c.close()));
    const open = (url, options) => {
      const client = connect([url].flat().map((u) => u.replace(/^.*?:\/\/[^/]*/, URL_)), options);
      clients.push(client);
      return client;
    };
    t.mock.method(console, "log", () => {});
    const parley = open(URL_, { user: "alice" });
    const room = await parley.join("examples");
    const scope = { connect: open, ParleyError, memoryStorage, parley, room, url: URL_, show() {}, shorten() {}, button: {} };
    await new AsyncFunction(...Object.keys(scope), `{${code}}`)(...Object.values(scope));
  });
}

test("two clients: in order, once, through a break", { skip, timeout: 20_000 }, async (t) => {
  const [alice, bob] = ["alice", "bob"].map((user) => connect(URL_, { user, agent: "test" }));
  t.after(() => [alice, bob].forEach((c) => c.close()));
  const seen = [];
  const all = new Promise((done) => {
    bob.room("story").on("message", ({ body }) => seen.push(body.n) === 40 && done());
  });
  await bob.join("story");
  const room = await alice.join("story");
  const sent = Array.from({ length: 20 }, (_, i) => room.send({ n: i }));
  alice._input({ type: "closed", conn: 1, code: 1006 }); // the machine is told; the socket is let go with the client
  sent.push(...Array.from({ length: 20 }, (_, i) => room.send({ n: 20 + i })));
  const acks = await Promise.all(sent);
  await all;
  assert.deepEqual(seen, Array.from({ length: 40 }, (_, i) => i));
  assert.deepEqual(acks.map((a) => a.seq), [...acks.map((a) => a.seq)].sort((a, b) => a - b));
  assert.equal((await room.presence()).users.some((u) => u.user === "bob"), true);
});
