// What the transform makes of a program, and what it says about one that it cannot take.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { snakeCase } from "../transform/emit.mjs";
import { join as join8, show, str, u32, u64 } from "./bincode.mjs";
import { Host, compile } from "./host.mjs";

// built compiles files, the first of which is the entry.
async function built(files, ...args) {
  const dir = await mkdtemp(join(tmpdir(), "essa-ts-"));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
    return await compile(join(dir, Object.keys(files)[0]), "-O1", ...args);
  } finally {
    await rm(dir, { recursive: true });
  }
}

test("names are those that Rust and Go give", () => {
  for (const [name, outside] of [
    ["total", "total"], ["toUppercase", "to_uppercase"], ["Total", "total"], ["HTTPGet", "http_get"], ["HTTPGet2", "http_get2"],
    ["concurrentKVSTest", "concurrent_kvs_test"], ["already_snake", "already_snake"], ["a_B", "a_b"], ["x", "x"], ["ABC", "abc"],
  ]) assert.equal(snakeCase(name), outside);
});

test("mistakes are told, all of them, with their place", async () => {
  const { code, output, wasm } = await built({
    "bad.ts": `import { Option } from "essa";
class Plain { a: i32 = 0; }
class Half { writeBincode(): void {} }
@essa class Fields { readonly a: i32 = 0; b!: Plain; static c: i32 = 0; }
@essa function generic<T>(a: T): T { return a; }
@essa function rest(...a: i32[]): void {}
@essa function optional(a: i32 = 5): void {}
@essa function takes(a: Map<string, Plain>): void {}
@essa function returns(): Option<Half> { return Option.none<Half>(); }
@essa function one(): void {}
@essa({ exported: "one" }) function two(): void {}
@essa({ nmae: "x" }) function typo(): void {}
@essa({ name: "not a name" }) function spaces(): void {}
@essa("name") function text(): void {}
@essa const value: i32 = 5;
namespace N { @essa export function inner(): void {} }
class C { @essa method(): void {} }
`,
  });
  assert.notEqual(code, 0);
  assert.equal(wasm, null);
  for (const [line, text] of [
    [4, "field a is readonly, and has to be set when it is read"],
    [4, "Plain has no encoding: mark its class @essa"],
    [5, "generic has type parameters"],
    [6, "the number of arguments of a function outside is fixed"],
    [7, "arguments of a function outside have no defaults"],
    [8, "Plain has no encoding"],
    [9, "Half has no encoding"],
    [11, "functions one and two are both one outside"],
    [12, "@essa knows name and exported, not nmae"],
    [13, "name is to be a name in quotes"],
    [14, "@essa takes an object"],
    [15, "@essa marks functions and classes"],
    [16, "not of a namespace"],
    [17, "not members of a class"],
  ]) {
    const told = output.split("ERROR").some((e) => e.includes(text) && e.includes(`bad.ts(${line},`));
    assert.ok(told, `nothing says "${text}" of line ${line}:\n${output}`);
  }
});

test("a class of the same name elsewhere is another class", async () => {
  const { code, output } = await built({
    "a.ts": 'import { Option } from "essa";\nimport { Plain as Mine } from "./b";\nimport "./c";\n@essa function a0(a0: Option<Mine>, argsLen: i32): i32 { return a0.some ? a0.value.a : argsLen; }\n',
    "b.ts": 'import "essa";\n@essa export class Plain { a: i32 = 0; }\n',
    "c.ts": "export class Option<T> {}\nexport class Plain {}\nexport class Mine {}\n",
  });
  assert.equal(code, 0, output);
  const other = await built({
    "a.ts": 'import { Plain as Mine } from "./c";\nimport { Option } from "essa";\n@essa function f(a: Option<Mine>): void {}\n',
    "c.ts": "export class Plain {}\n",
  });
  assert.match(other.output, /Mine has no encoding: mark its class @essa/);
});

test("types that nothing can encode", async () => {
  for (const type of ["() => void", "Date", "WeakThing"]) {
    const { code, output } = await built({ "a.ts": `import "essa";\n@essa function f(a: ${type}): void {}\n` });
    assert.notEqual(code, 0, type);
    assert.match(output, /no encoding|Cannot find name/, type);
  }
});

test("lines keep their numbers", async () => {
  const text = 'import "essa";\n@essa class A {\n  a: i32 = 0; }\n@essa function f(a: A): i32 { return a.a; }\nlet x: i32 = "text";\n';
  const { output } = await built({ "lines.ts": text });
  assert.match(output, /lines\.ts\(5,14\)/);
});

test("functions of several files are exports of one module", async () => {
  const { code, output, wasm } = await built({
    "main.ts": 'import { Inner } from "./lib";\nimport { twiceRemote } from "./lib";\n' +
      "@essa function four(i: Inner): i32 { return twiceRemote(i).get() * 2; }\nexport function main(): void { console.log(`four: ${fourRemote({ a: 2 }).get()}`); }\n",
    "lib.ts": 'import { Option } from "essa";\n@essa export class Inner { a: i32 = 0 }\n@essa export function twice(i: Inner): i32 { return i.a * 2; }\n@essa function hidden(): Option<i32> { return Option.of<i32>(3); }\n',
  });
  assert.equal(code, 0, output);
  const host = new Host(wasm);
  for (const name of ["four", "twice", "hidden"]) assert.ok(host.exports.includes(`__essa_wrapper__${name}`), name);
  assert.ok(host.exports.includes("_initialize") && host.exports.includes("essa_main"));
  assert.equal(show(host.call("four", u32(5))), show(u32(20)));
  host.main();
  assert.equal(host.stdout, "four: 8\n");
});

test("a program without functions is left alone", async () => {
  const { code, output, wasm } = await built({ "plain.ts": "export function f(a: i32): i32 { return a; }\n" });
  assert.equal(code, 0, output);
  assert.deepEqual(new Host(wasm).exports, ["f", "memory"]);
});

test("an import that no host has is told", async () => {
  const { code, output, wasm } = await built({ "date.ts": 'import "essa";\n@essa function f(): i64 { return Date.now(); }\n' });
  assert.notEqual(code, 0);
  assert.match(output, /the module imports what essad does not have: env\.Date\.now/);
  assert.equal(wasm, null);
});

test("other runtimes do as well", async () => {
  for (const runtime of ["stub", "minimal"]) {
    const { code, output, wasm } = await built({ "r.ts": 'import { Option } from "essa";\n@essa class A { a: string[] | null = null; b!: Option<string>; }\n@essa function f(a: A[]): A[] { return a; }\n' }, "--runtime", runtime);
    assert.equal(code, 0, output);
    const one = join8(u64(2), [0, 0], [1], u64(1), str("text"), [1], str("more"));
    assert.equal(show(new Host(wasm).call("f", one)), show(one), runtime);
  }
});
