// Calls of functions by functions, state, output, and how things fail.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { hex, show, str, u32, u64 } from "./bincode.mjs";
import { Host, compile } from "./host.mjs";

let host;

before(async () => {
  const made = await compile("calls.ts");
  assert.equal(made.code, 0, made.output);
  host = new Host(made.wasm);
});

// texts reads a Vec<String>.
function texts(raw) {
  const view = new DataView(raw.buffer, raw.byteOffset);
  const out = [];
  for (let i = 0, at = 8, n = Number(view.getBigUint64(0, true)); i < n; i++) {
    const size = Number(view.getBigUint64(at, true));
    out.push(new TextDecoder().decode(raw.subarray(at + 8, at + 8 + size)));
    at += 8 + size;
  }
  return out;
}

test("a tree of calls", () => {
  assert.equal(show(host.call("tree", u64(5))), show(u64(32)));
});

test("what can go wrong in a call", () => {
  assert.deepEqual(texts(host.call("failures")), [
    "call crash: unspecified error: guest_fault: unreachable",
    "call crash: unspecified error: guest_fault: unreachable",
    "call nowhere: no such function",
    "call add: the result cannot be decoded: unexpected end of input",
    "too late",
    "1",
    "8",
    "call add: not found",
    "call crash: unspecified error: guest_fault: unreachable",
    "none",
  ]);
});

test("a program that gives up says why and where", () => {
  for (const [how, why] of [
    ["throw", /^abort: it is thrown at calls\.ts:10:23\n$/],
    ["assert", /^abort: it is so at calls\.ts:11:/],
    ["index", /^abort: Index out of range at ~lib\/array\.ts:/],
    ["unwrap", /^abort: no at ~lib\/essa\/assembly\/types\.ts:/],
  ]) {
    host.stderr = "";
    assert.throws(() => host.call("crash", str(how)), WebAssembly.RuntimeError, how);
    assert.match(host.stderr, why, how);
  }
  assert.throws(() => host.call("crash", str("exit")), /exit 3/);
});

test("state", () => {
  host.values.set("broken", hex("09 00 00 00"));
  assert.deepEqual(texts(host.call("state")), [
    "null", "0", "é", "2024-03-05T12:34:56.789123456Z", String(4 + 8 + 30 + 8 + 300), "a,b", "2", "none",
    "get broken: the result cannot be decoded: unknown enum variant",
  ]);
  host.stderr = "";
  assert.throws(() => host.call("wrong_kind"), WebAssembly.RuntimeError);
  assert.match(host.stderr, /get text: the result cannot be decoded: it does not hold a set/);
});

test("calls share no memory", () => {
  assert.equal(show(host.call("remember")), show(u32(1)));
  assert.equal(show(host.call("remember")), show(u32(1)));
  assert.notEqual(show(host.call("random")), show(host.call("random")));
});

test("output", () => {
  host.stdout = host.stderr = "";
  host.main();
  // The host of these tests takes a few bytes at a time.
  assert.equal(host.stdout.replace(/[^ -~\n]+/g, "?"), "to stdout: ?\nlog\n");
  assert.equal(host.stderr, "to stderr\nwarn\n\nassertion failed: order\ntrace: numbers 1.5, 2.0\n");
});

test("a module for upstream's executors imports nothing of ours", async () => {
  const made = await compile("calls.ts", "--upstream", "-O1");
  assert.equal(made.code, 0, made.output);
  const upstream = new Host(made.wasm);
  assert.deepEqual(upstream.imports.filter((i) => !/^(host|wasi_snapshot_preview1)\./.test(i)), []);
  assert.ok(upstream.imports.includes("host.essa_get_lattice_data"));
  assert.equal(show(upstream.call("tree", u64(2))), show(u64(4)));
  assert.equal(texts(upstream.call("failures"))[0], "call crash: unspecified error");
  upstream.values.set("broken", hex("09 00 00 00"));
  assert.equal(texts(upstream.call("state"))[5], "a,b");
});
