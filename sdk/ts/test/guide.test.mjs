// The program of README.md is compiled and run as it stands there.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { result, show, str, u64 } from "./bincode.mjs";
import * as bincode from "./bincode.mjs";
import { Host, compile, here } from "./host.mjs";

test("the guestbook", async () => {
  const guide = await readFile(resolve(here, "../README.md"), "utf8");
  const [, program] = /```ts\n([^]*?)```/.exec(guide);
  const dir = await mkdtemp(join(tmpdir(), "essa-ts-"));
  try {
    await writeFile(join(dir, "guestbook.ts"), program);
    const { code, output, wasm } = await compile(join(dir, "guestbook.ts"));
    assert.equal(code, 0, output);
    const host = new Host(wasm);
    assert.equal(show(result(host.call("sign", str(" Ada ")))), show(bincode.join(u64(1), str("Ada"))));
    assert.equal(result(host.call("sign", str(" "))).err, "say who you are");
    assert.equal(show(host.call("guests")), show(bincode.join(u64(1), str("Ada"))));
    assert.deepEqual(host.exports.filter((e) => e.startsWith("__essa_wrapper__")), ["__essa_wrapper__sign", "__essa_wrapper__guests"]);
  } finally {
    await rm(dir, { recursive: true });
  }
});
