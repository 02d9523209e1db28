// The encoding, byte for byte as the bincode crate has it. The goldens were made by that crate and upstream's types.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { before, test } from "node:test";
import { f32, f64, hex, join, result, show, str, textOf, u32, u64, vec } from "./bincode.mjs";
import { Host, compile, here } from "./host.mjs";

let host, goldens;

before(async () => {
  const made = await compile("everytype.ts");
  assert.equal(made.code, 0, made.output);
  host = new Host(made.wasm);
  goldens = (await readFile(resolve(here, "../../lattice/testdata/goldens.txt"), "utf8")).split("\n");
});

// same sends bytes through a function that returns its argument.
const same = (name, raw) => assert.equal(show(host.call(name, raw)), show(raw), name);

function fails(name, raw, why) {
  host.stderr = "";
  assert.throws(() => host.call(name, raw), WebAssembly.RuntimeError, `${name} took ${show(raw)}`);
  assert.match(host.stderr, why);
}

test("stored values are the goldens", () => {
  const value = /^(LWW|Set|OSet|Single|Multi) .* len=(\d+)$/;
  let seen = 0;
  goldens.forEach((line, i) => {
    const m = value.exec(line);
    if (!m) return;
    let golden = hex(goldens[i + 1]);
    assert.equal(golden.length, Number(m[2]));
    const got = result(host.call("value", vec(join(golden, hex("01 02 03"))))); // trailing bytes are ignored
    if (line.startsWith("Set {a,bc}")) golden = join(u32(1), u64(2), str("a"), str("bc")); // upstream's order is random
    assert.equal(show(got), show(vec(golden)), line);
    for (let n = 0; n < golden.length; n++) {
      assert.ok(result(host.call("value", vec(golden.slice(0, n)))).err, `${line}: ${n} bytes were taken`);
    }
    seen++;
  });
  assert.equal(seen, 9);
});

test("essad's own kinds of values", () => {
  const lww = join(u32(0), str("2024-03-05T12:34:56Z"), vec(hex("01 02")));
  const kinds = [
    join(u32(5), f64(1.5), vec(hex("68 69"))),
    join(u32(6), u64(2), str("a"), u64(5), u64(2), str("b"), u64(1), u64(0)),
    join(u32(7), u64(2), str("k"), vec(lww), str("l"), vec(join(u32(7), u64(0)))),
  ];
  for (const k of kinds) assert.equal(show(result(host.call("value", vec(k)))), show(vec(k)));
  let deep = lww;
  for (let i = 0; i < 9; i++) deep = join(u32(7), u64(1), str("k"), vec(deep));
  assert.equal(result(host.call("value", vec(deep))).err, "maps are nested too deep");
  assert.equal(result(host.call("value", vec(u32(8)))).err, "unknown enum variant");
  const twice = join(u32(1), u64(3), str("b"), str("a"), str("b"));
  assert.equal(show(result(host.call("value", vec(twice)))), show(vec(join(u32(1), u64(2), str("a"), str("b")))));
});

test("timestamps are the goldens", () => {
  let formats = 0, parses = 0;
  for (const line of goldens) {
    let m = /^\w+: (\S+) ([0-9a-f]{2}(?: [0-9a-f]{2})+)$/.exec(line);
    if (m) {
      assert.equal(show(host.call("time", str(m[1])).slice(4)), show(hex(m[2])), line);
      formats++;
    }
    m = /^parse "(.*)" -> (Ok\((.*)\)|Err.*)$/.exec(line);
    if (m) {
      const got = result(host.call("time", str(m[1])));
      assert.equal(got.err ? "error" : textOf(got), m[3] ?? "error", line);
      parses++;
    }
  }
  assert.ok(formats >= 10 && parses >= 15, `${formats} formats, ${parses} parses`);
  const bad = ["", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:61Z", "+262144-01-01T00:00:00Z",
    "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00.Z", "99999999999999999999-01-01T00:00:00Z"];
  for (const text of bad) assert.equal(result(host.call("time", str(text))).err, "not a timestamp", text);
  for (const [text, after] of [
    ["2024-03-05T12:34:56.999999999Z", "2024-03-05T12:34:57Z"],
    ["2016-12-31T23:59:60.999999999Z", "2017-01-01T00:00:00Z"],
    ["2024-03-05T12:34:56Z", "2024-03-05T12:34:56.000000001Z"],
  ]) assert.equal(textOf(host.call("next", str(text))), after);
});

test("basic types", () => {
  const number = join([1], [0xff], [0xfe, 0xff], u32(-3 >>> 0), u64(-4), u64(-5), [6], [7, 0], u32(8), u64(9), u64(10),
    f32(1.5), f64(-0), str("é🙂\u0000"), u32(0x1f642), [12], [13, 0], u64(-14));
  same("echo_numbers", number);
  assert.equal(show(host.call("echo_numbers", join(number, [1, 2, 3]))), show(number));
  const nan = number.slice();
  nan.set(hex("01 00 00 00 00 00 f4 7f"), 1 + 1 + 2 + 4 + 8 + 8 + 1 + 2 + 4 + 8 + 8 + 4);
  same("echo_numbers", nan); // a NaN keeps its bits
  for (let n = 0; n < number.length; n++) fails("echo_numbers", number.slice(0, n), /arguments of echo_numbers cannot be decoded: unexpected end/);
  fails("echo_numbers", join([2], number.slice(1)), /a bool is neither 0 nor 1/);
  const wide = number.slice();
  wide.set(u64(2n ** 32n), 1 + 1 + 2 + 4 + 8 + 8 + 1 + 2 + 4 + 8); // a usize that has no place in 32 bits
  fails("echo_numbers", wide, /more than 32 bits/);
  assert.equal(show(host.call("divide", join(u64(-17), u64(5)))), show(join(u64(-3), u64(-2))));
  fails("divide", join(u64(2n ** 31n), u64(1)), /more than 32 bits/);
  assert.equal(show(host.call("kind", u32(1))), show(u32(2)));
  assert.equal(host.call("nothing").length, 0);
  assert.equal(host.call("fill").length, 0);
  assert.equal(show(host.call("sum", number)), show(u64(-18)));
});

test("text is UTF-8", () => {
  const bad = ["ff", "c0 80", "ed a0 80", "f4 90 80 80", "e0 80 80", "c3", "f0 9f 99", "80", "61 c3 28", "f8 88 80 80 80"];
  for (const b of bad) fails("cut", join(vec(hex(b)), u64(0)), /a string is not valid UTF-8/);
  for (const s of ["", "a", "\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff", "\u{10000}\u{10ffff}"]) {
    same("http_get2", join(u64(1), str(s), str(s)));
  }
  assert.equal(result(host.call("check", [1])).err, "it failed: \ufffd"); // half a surrogate pair has no UTF-8
  for (const [code, want] of [[0x61, "61"], [0xe9, "c3 a9"], [0x20ac, "e2 82 ac"], [0x1f642, "f0 9f 99 82"], [0xd800, "ef bf bd"], [0x110000, "ef bf bd"]]) {
    assert.equal(show(host.call("char", u32(code))), show(vec(hex(want))));
  }
  for (const [raw, want] of [["c3 a9 00", "233"], ["", "unexpected end of input"], ["ff", "invalid char"],
    ["c3", "unexpected end of input"], ["ed a0 80", "invalid char"], ["80", "invalid char"]]) {
    assert.equal(textOf(host.call("chars", vec(hex(raw)))), want, raw);
  }
});

test("composite types", () => {
  const outer = (kinds) => join([1], str("note"), [0xf9, 0xff], vec([1, 2]), vec([]), u64(2), str("w"), str(""), ...[1, 2, 3, 4, 5, 6].map((n) => [n, 0]),
    u64(2), str("a"), [1], str("b"), [2], kinds, u64(2), u64(-1), u64(3), [1], str("p"), [9, 0], [1], [1], [7],
    u64(1), [5, 0], vec([8]), u32(215), u64(2), u32(-10 >>> 0), u32(15));
  const kinds = join(u64(2), [1, 0], u64(0), [7, 0], u64(1), str("x"));
  same("echo_outer", outer(kinds));
  // Maps and sets are written in order; of equal keys the last one counts.
  assert.equal(show(host.call("echo_outer", outer(join(u64(3), [7, 0], u64(0), [1, 0], u64(0), [7, 0], u64(1), str("x"))))), show(outer(kinds)));
  const keys = ["", "a", "b", "aa", "\uffff", "\u{10000}", "é"].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  same("http_get2", join(u64(keys.length), ...keys.map((k) => join(str(k), str(k)))));
  const mixed = [...keys].reverse();
  assert.equal(show(host.call("http_get2", join(u64(keys.length), ...mixed.map((k) => join(str(k), str(k)))))),
    show(join(u64(keys.length), ...keys.map((k) => join(str(k), str(k))))));
  assert.equal(show(host.call("number_set", join(u64(3), u32(5), u32(-1 >>> 0), u32(5)))), show(join(u64(2), u32(-1 >>> 0), u32(5))));
  assert.equal(show(host.call("floats", join(u64(2), f64(1), f64(2), u64(2), f32(0.5), f32(1), u64(2), [1, 0]))), show(join(u64(2), f64(2.5), f64(3))));
  assert.equal(show(host.call("options", [0, 0])), show(u64(107)));
  assert.equal(show(host.call("options", join([1], u64(1), [1], vec([1, 2])))), show(u64(3)));
  const lattices = join(str("2024-03-05T12:34:56.789Z"), u64(2), str("a"), str("b"), u64(1), str("z"),
    str("1970-01-01T00:00:00.000000005Z"), str("hi"), f64(1.5), vec([]), u64(1), str("n1"), u64(3), str("k"));
  same("lattices_there_and_back", lattices);
  fails("lattices_there_and_back", str("yesterday"), /not a timestamp/);
});

test("results", () => {
  assert.equal(show(result(host.call("half", u32(8)))), show(u32(4)));
  assert.equal(result(host.call("half", u32(3))).err, "an odd number has no half");
  assert.equal(show(result(host.call("cut", join(str("hello"), u64(2))))), show(join(str("he"), str("llo"))));
  assert.equal(result(host.call("cut", join(str("hello"), u64(9)))).err, "beyond the end");
  assert.equal(show(host.call("shadows", join(str("1"), vec([2]), [3, 4, 5, 0], [6], [1]))), show(u64(20)));
});

test("what an input claims is not believed", () => {
  const huge = u64(2n ** 64n - 1n), big = u64(2n ** 31n);
  for (const n of [huge, big]) {
    fails("cut", n, /unexpected end/);
    fails("http_get2", n, /unexpected end/);
    fails("value", n, /unexpected end/);
    fails("number_set", n, /unexpected end/);
    fails("floats", n, /unexpected end/);
    fails("count_units", n, /too many elements of no size/);
  }
  assert.equal(show(host.call("count_units", u64(65536))), show(u32(65536)));
  assert.equal(show(host.call("units", u32(3))), show(u64(3)));
});
