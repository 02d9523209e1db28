// Bench-ts holds what the benches call, in TypeScript; examples/splitter has the same exports in C, and examples/bench-go
// in Go.
//
//     make bin/guests/bench-ts.wasm

import { LWW, Result, Timestamp, Unit, addToSet, err, getEncoded, now, ok, put, unit } from "essa";

// noop does nothing.
@essa function noop(): void {}

// echo returns its argument.
@essa function echo(data: Uint8Array): Uint8Array { return data; }

// nested makes one call of noop.
@essa function nested(): void { noopRemote().get(); }

// nestedMany makes n calls of noop, one after the other.
@essa function nestedMany(n: u64): u64 {
  for (let i: u64 = 0; i < n; i++) noopRemote().get();
  return n;
}

// split divides the range until each call has one number, and counts those.
@essa function split(start: u64, end: u64): Result<u64, string> {
  if (end <= start) return err<u64>("the range is empty");
  if (end - start == 1) return ok<u64>(1);
  const mid = start + (end - start) / 2;
  const left = splitRemote(start, mid), right = splitRemote(mid, end);
  const a = left.get(), b = right.get();
  if (a.isErr) return a;
  return b.isErr ? b : ok<u64>(a.value + b.value);
}

// concurrentKVSTest is split where each leaf adds its number to the set under key.
@essa function concurrentKVSTest(key: string, start: u64, end: u64): Result<Unit, string> {
  if (end <= start) return err<Unit>("the range is empty");
  if (end - start == 1) {
    addToSet(key, [start.toString()]);
    return ok(unit);
  }
  const mid = start + (end - start) / 2;
  const left = concurrentKVSTestRemote(key, start, mid), right = concurrentKVSTestRemote(key, mid, end);
  const a = left.get(), b = right.get();
  return a.isErr ? a : b;
}

// tally has something to do: it writes n numbers as text, reads them back, sorts them, and returns an FNV-1a hash of the text
// and the sum of the sorted numbers, each times its place.
@essa function tally(n: u64): u64 {
  const words = new Array<string>(<i32>n);
  let next: u32 = 1;
  for (let i = 0; i < words.length; i++) {
    next = next * 1664525 + 1013904223;
    words[i] = next.toString();
  }
  const text = words.join(" ") + " ";
  let hash: u32 = 2166136261;
  for (let i = 0; i < text.length; i++) hash = (hash ^ text.charCodeAt(i)) * 16777619;
  const list = text.trimEnd().split(" ").map<u32>((word) => <u32>U32.parseInt(word));
  list.sort((a, b) => a < b ? -1 : i32(a > b));
  let sum: u64 = 0;
  for (let i = 0; i < list.length; i++) sum += u64(list[i]) * i;
  return sum ^ hash;
}

// readCached reads key n times and returns the bytes it read, as stored.
@essa function readCached(key: string, n: u64): u64 {
  let sum: u64 = 0;
  for (let i: u64 = 0; i < n; i++) sum += getEncoded(key).byteLength;
  return sum;
}

// writeLWW puts size bytes under key, n times, and returns n.
@essa function writeLWW(key: string, size: u64, n: u64): u64 {
  const data = new Uint8Array(<i32>size);
  for (let i = 0; i < data.length; i++) data[i] = <u8>(97 + i % 26);
  let last = new Timestamp();
  for (let i: u64 = 0; i < n; i++) {
    const t = now();
    last = t.compare(last) > 0 ? t : last.next(); // each put must be newer than the one before
    put(key, LWW.at(last, data));
  }
  return n;
}
