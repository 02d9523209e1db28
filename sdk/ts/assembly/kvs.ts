// State: a store of values under keys, shared by all calls of a deployment. Functions that have no way to fail end the
// call with the reason; those named try return it.

import {
  essa_get_lattice_data, essa_get_lattice_len, essa_get_value_data, essa_get_value_len, essa_put_lattice,
  essa_wait_lattice_len, poll_oneoff,
} from "./abi";
import { Reader, Writer } from "./bincode";
import { Code, EssaError } from "./errors";
import { LWW, SetValue, Value, bytesOf } from "./lattice";
import { Text } from "./text";
import { Result } from "./types";

// How often a read starts again because the value grew between asking its length and reading it. Only hosts without
// snapshots, such as upstream's, ever make it start again.
const MAX_REREADS = 8;

// How long a wait rests between two looks where the host cannot wait, in nanoseconds.
const POLL_EVERY: u64 = 100_000_000;

// How long it rests where it can, for a key that was deleted as soon as it appeared.
const REST: u64 = 1_000_000;

// Merges v into what is stored under key. It is acknowledged when this returns, and whoever waits for this call's result
// will see it. A value of another kind than the stored one is refused.
export function put(key: string, v: Value): void {
  const e = tryPut(key, v);
  if (e != null) throw new Error(e.toString());
}

// As put, but returns why it failed; null where it did not.
export function tryPut(key: string, v: Value): EssaError | null {
  const w = v.encode();
  const k = Text.of(key);
  const code = essa_put_lattice(k.at, k.length, w.dataStart, w.length);
  return code == Code.Ok ? null : new EssaError("put", key, code);
}

// What is stored under key, null where there is nothing.
export function get(key: string): Value | null { return tryGet(key).value; }

// As get, but returns why it failed.
export function tryGet(key: string): Result<Value | null, EssaError> {
  const read = lookUp(key);
  if (read.isErr) {
    if (read.error.code == Code.NotFound) return Result.ok<Value | null, EssaError>(null);
    return Result.err<Value | null, EssaError>(read.error);
  }
  return decode(key, read.value);
}

// What is stored under key. It waits until there is something, at most as long as the call may last.
export function getWait(key: string): Value { return <Value>tryGetWait(key).value; }

// As getWait, but returns why it failed. The value is never null.
export function tryGetWait(key: string): Result<Value | null, EssaError> {
  while (true) {
    const code = waitFor(key);
    if (code != Code.Ok && code != Code.NotFound) return Result.err<Value | null, EssaError>(new EssaError("get", key, code));
    const read = lookUp(key);
    if (read.isOk) return decode(key, read.value);
    if (read.error.code != Code.NotFound) return Result.err<Value | null, EssaError>(read.error);
    rest(isDefined(ESSA_UPSTREAM) ? POLL_EVERY : REST);
  }
}

// The stored form of what is under key; the call ends where there is nothing.
export function getEncoded(key: string): ArrayBuffer { return lookUp(key).value; }

// Sets key to text: of several, the last one by the clock wins.
export function putString(key: string, text: string): void { put(key, LWW.of(bytesOf(text))); }

// Sets key to data: of several, the last one by the clock wins.
export function putBytes(key: string, data: Uint8Array): void { put(key, LWW.of(data)); }

// Adds texts to the set under key, which begins to exist with the first.
export function addToSet(key: string, texts: string[]): void { put(key, SetValue.of(texts)); }

// The elements of the set under key in ascending order, none where there is no set.
export function setOf(key: string): string[] {
  const v = get(key);
  if (v == null) return [];
  if (v instanceof SetValue) return (v as SetValue).texts;
  throw new Error(new EssaError("get", key, Code.InvalidResult, "it does not hold a set").toString());
}

// What the imports write: the length of a value.
// @ts-ignore: decorator
@lazy const size: usize = memory.data(4, 4);

function decode(key: string, data: ArrayBuffer): Result<Value | null, EssaError> {
  const r = new Reader(data);
  const v = Value.decode(r);
  if (!r.failed) return Result.ok<Value | null, EssaError>(v);
  return Result.err<Value | null, EssaError>(new EssaError("get", key, Code.InvalidResult, r.error));
}

// Asks for the length of a value and then for the value, and again where it grew in between.
function lookUp(key: string): Result<ArrayBuffer, EssaError> {
  const k = Text.of(key);
  let code: i32 = Code.BufferTooSmall;
  for (let i = 0; i < MAX_REREADS && code == Code.BufferTooSmall; i++) {
    code = lengthOf(k);
    if (code != Code.Ok) break;
    const buffer = new ArrayBuffer(load<i32>(size));
    code = dataOf(k, buffer);
    if (code == Code.Ok) return Result.ok<ArrayBuffer, EssaError>(whole(buffer, load<i32>(size)));
  }
  return Result.err<ArrayBuffer, EssaError>(new EssaError("get", key, code));
}

function whole(buffer: ArrayBuffer, n: i32): ArrayBuffer { return n < buffer.byteLength ? buffer.slice(0, n) : buffer; }

// Compiled with --use ESSA_UPSTREAM=1 a module needs the imports of module "host" alone, and runs on upstream's executors
// too: it waits by polling then, sees upstream's kinds of values only, and learns of failed calls that they failed.

function lengthOf(k: Text): i32 {
  if (isDefined(ESSA_UPSTREAM)) return essa_get_lattice_len(k.at, k.length, size);
  else return essa_get_value_len(k.at, k.length, size);
}

function dataOf(k: Text, buffer: ArrayBuffer): i32 {
  const at = changetype<usize>(buffer);
  if (isDefined(ESSA_UPSTREAM)) return essa_get_lattice_data(k.at, k.length, at, buffer.byteLength, size);
  else return essa_get_value_data(k.at, k.length, at, buffer.byteLength, size);
}

// Waits in the host. The wait is over, with NotFound, when there is a value of a kind that upstream does not know.
function waitFor(key: string): i32 {
  if (isDefined(ESSA_UPSTREAM)) {
    return Code.Ok;
  } else {
    const k = Text.of(key);
    return essa_wait_lattice_len(k.at, k.length, size);
  }
}

// Sleeps: a subscription to the monotonic clock, which WASI answers with an event.
function rest(nanos: u64): void {
  const subscription = memory.data(48, 8), event = memory.data(32, 8);
  memory.fill(subscription, 0, 48);
  store<u32>(subscription, 1, 16); // the monotonic clock
  store<u64>(subscription, nanos, 24);
  poll_oneoff(subscription, event, 1, memory.data(4, 4));
}
