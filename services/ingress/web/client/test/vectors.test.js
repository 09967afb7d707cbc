// The behaviour that every client shares: the vectors of ../../../protocol/testdata, all of them, effect by effect. Effects
// that are this client's own (see machine.js) are left out of the comparison, nothing else.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Machine } from "../machine.js";

const DATA = new URL("../../../protocol/testdata/", import.meta.url);
const OWN = new Set(["store", "forget", "outbox", "joined", "moving"]);

/** An input in the words of the machine. */
function input(i) {
  const [kind] = Object.keys(i);
  switch (kind) {
    case "opened": return { type: kind, conn: i.opened, token: i.token };
    case "frame": return { type: kind, conn: i.frame, frame: i.data };
    case "closed": return { type: kind, conn: i.closed, code: i.code, retry_ms: i.retry_ms };
    case "join":
    case "leave":
    case "send": return { ...i, type: kind, ref: i[kind] };
    case "request": return { type: kind, ref: i.request, data: i.data };
    case "cancel": return { type: kind, ref: i.cancel };
    default: return { type: kind };
  }
}

/** An effect in the words of the vectors. */
function effect({ do: kind, ...e }) {
  switch (kind) {
    case "dial": return { dial: e.conn, url: e.url };
    case "send": return { send: e.conn, frame: e.frame };
    case "close": return { close: e.conn, code: e.code };
    case "token": return { token: true };
    case "deliver": return { deliver: e.room, frame: e.frame };
    case "end": return { end: e.room, error: e.error.code };
    case "reply": return { reply: e.ref, ...(e.error ? { error: e.error.code } : e.ack ? { ack: e.ack } : e.frame ? { frame: e.frame } : {}) };
    case "status": return { status: e.state, retry_ms: e.retry_ms, code: e.code };
    case "notice": return { notice: e.error.code };
    default: throw new Error(`unknown effect ${kind}`);
  }
}

const json = (value) => JSON.parse(JSON.stringify(value));

function run({ config, steps }) {
  const { rand, base_ms: base, cap_ms: cap, ...rest } = config;
  const m = new Machine({ ...rest, base, cap, random: () => rand });
  for (const [i, step] of steps.entries()) {
    const out = m.step(input(step.in), step.at).filter((e) => !OWN.has(e.do)).map(effect);
    assert.deepEqual(json(out), step.out, `step ${i}: ${JSON.stringify(step.in)}`);
    for (const [room, cursor] of Object.entries(step.cursors ?? {})) {
      assert.deepEqual(m.rooms.get(room)?.cursor ?? null, cursor, `step ${i}: the cursor of ${room}`);
    }
  }
}

const files = existsSync(DATA) ? readdirSync(DATA).filter((f) => f.endsWith(".json")) : [];
for (const file of files) {
  for (const vector of JSON.parse(readFileSync(new URL(file, DATA), "utf8"))) test(`${file}: ${vector.name}`, () => run(vector));
}
test("the vectors are there", { skip: !existsSync(new URL("../../../protocol/", import.meta.url)) && "outside the repository" }, () => assert.ok(files.length > 0));
