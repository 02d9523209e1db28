// Calls and state, for calls.test.mjs.

import {
  Code, Future, LWW, Result, SetValue, Unit, Writer, addToSet, call, eprint, err, exit, get, getEncoded, getWait, ok, print, putBytes,
  putString, setOf, tryGet, tryPut, unit, waitAll,
} from "essa";

@essa function add(a: u64, b: u64): u64 { return a + b; }
@essa function crash(how: string): Unit {
  if (how == "throw") throw new Error("it is thrown");
  if (how == "assert") assert(false, "it is so");
  if (how == "index") [1, 2].at(5);
  if (how == "exit") exit(3);
  if (how == "unwrap") refuse("no").value;
  return unit;
}
@essa function refuse(text: string): Result<u64, string> { return text == "" ? ok<u64>(1) : err<u64>(text); }

// Sums by many calls at once, and asks a future twice.
@essa function tree(depth: u64): u64 {
  if (depth == 0) return 1;
  const left = treeRemote(depth - 1), right = treeRemote(depth - 1);
  return left.get() + right.get() + (left.get() - left.get());
}

@essa function failures(): string[] {
  const out: string[] = [];
  const crashed = crashRemote("throw");
  out.push(text(crashed.wait()));
  out.push(text(crashed.wait()));
  out.push(text(new Future<u64>("nowhere", new Writer()).wait()));
  out.push(text(new Future<string>("__essa_wrapper__add", sum(1, 2)).wait()));
  const refused = refuseRemote("too late").get();
  out.push(refused.error);
  out.push(refuseRemote("").get().value.toString());
  const handle = call("__essa_wrapper__add", sum(3, 4)).value;
  out.push(handle.wait().value.byteLength.toString());
  out.push(text(handle.wait().isErr ? handle.wait().error : null));
  out.push(text(waitAll([refuseRemote(""), crashRemote("throw"), addRemote(1, 2)])));
  out.push(text(waitAll([addRemote(1, 2)])));
  return out;
}

function sum(a: u64, b: u64): Writer {
  const w = new Writer();
  w.write<u64>(a);
  w.write<u64>(b);
  return w;
}

function text<E>(e: E): string { return changetype<usize>(e) == 0 ? "none" : e!.toString(); }

@essa function state(): string[] {
  const out: string[] = [];
  out.push(get("nothing") == null ? "null" : "value");
  out.push(setOf("nothing").length.toString());
  putString("text", "é");
  out.push((get("text") as LWW).text);
  out.push((get("text") as LWW).time.toString());
  putBytes("bytes", new Uint8Array(300));
  out.push(getEncoded("bytes").byteLength.toString());
  addToSet("set", ["b", "a", "b"]);
  out.push(setOf("set").join(","));
  out.push((getWait("set") as SetValue).elements.length.toString());
  out.push(text(tryPut("set", SetValue.of(["c"]))));
  out.push(text(tryGet("broken").error));
  return out;
}

@essa function wrongKind(): string[] {
  putString("text", "é");
  return setOf("text");
}

let remembered: u32 = 0;

@essa function remember(): u32 { return ++remembered; }
@essa function random(): f64 { return Math.random(); }
@essa function code(): i32 { return Code.NotFound; }

export function main(): void {
  print("to stdout: €");
  eprint("to stderr");
  console.log("log");
  console.warn("warn");
  console.error();
  console.assert(1 > 2, "order");
  trace("numbers", 2, 1.5, 2);
}
