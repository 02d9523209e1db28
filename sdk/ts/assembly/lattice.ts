// The values that essad stores: two of them merge into one, in any order and any number of times, with the same outcome.
// The host merges; here they are made and read. Kinds 0 to 4 are those of upstream, the others are essad's own.

import { Reader, Writer } from "./bincode";
import { Timestamp, now } from "./timestamp";

// Tag is the kind of a value. The numbers are part of the stored form.
export enum Tag { LWW, Set, OrderedSet, SingleCausal, MultiCausal, Priority, Counter, Map }

// Bounds how deep maps may be nested in a value, as the host does.
const MAX_DEPTH: i32 = 8;

// Value is one of the classes below.
export abstract class Value {
  abstract get tag(): Tag;
  // Writes the value without its kind: its form as an argument.
  abstract writeBincode(w: Writer): void;

  // The stored form.
  encode(): Writer {
    const w = new Writer();
    w.variant(this.tag);
    this.writeBincode(w);
    return w;
  }

  // Reads a stored form. Trailing bytes are ignored. What goes wrong is the reader's error, and the value then no matter.
  static decode(r: Reader, depth: i32 = 0): Value {
    switch (r.variant(8)) {
      case Tag.LWW: return r.read<LWW>();
      case Tag.Set: return r.read<SetValue>();
      case Tag.OrderedSet: return r.read<OrderedSet>();
      case Tag.SingleCausal: return r.read<SingleCausal>();
      case Tag.MultiCausal: return r.read<MultiCausal>();
      case Tag.Priority: return r.read<Priority>();
      case Tag.Counter: return r.read<Counter>();
    }
    return MapValue.decode(r, depth);
  }
}

// LWW keeps the data with the newest timestamp.
export class LWW extends Value {
  time!: Timestamp;
  data!: Uint8Array;

  // A value of this moment.
  static of(data: Uint8Array): LWW { return LWW.at(now(), data); }

  static at(time: Timestamp, data: Uint8Array): LWW {
    const v = new LWW();
    v.time = time;
    v.data = data;
    return v;
  }

  get tag(): Tag { return Tag.LWW; }
  // The data as text.
  get text(): string { return textOf(this.data); }

  writeBincode(w: Writer): void {
    w.write<Timestamp>(this.time);
    w.write<Uint8Array>(this.data);
  }

  readBincode(r: Reader): void {
    this.time = r.read<Timestamp>();
    this.data = r.bytes();
  }
}

// Priority keeps the data with the greatest priority.
export class Priority extends Value {
  priority: f64 = 0;
  data!: Uint8Array;

  static of(priority: f64, data: Uint8Array): Priority {
    const v = new Priority();
    v.priority = priority;
    v.data = data;
    return v;
  }

  get tag(): Tag { return Tag.Priority; }

  writeBincode(w: Writer): void {
    w.f64(this.priority);
    w.write<Uint8Array>(this.data);
  }

  readBincode(r: Reader): void {
    this.priority = r.f64();
    this.data = r.bytes();
  }
}

// SetValue is a set of byte strings that only grows.
export class SetValue extends Value {
  // In ascending order, each once.
  elements!: Uint8Array[];

  static of(texts: string[]): SetValue { return SetValue.ofBytes(allBytes(texts)); }

  static ofBytes(elements: Uint8Array[]): SetValue {
    const v = new SetValue();
    v.elements = ordered(elements);
    return v;
  }

  get tag(): Tag { return Tag.Set; }
  // The elements as texts.
  get texts(): string[] { return allTexts(this.elements); }

  writeBincode(w: Writer): void { w.write<Uint8Array[]>(this.elements); }
  readBincode(r: Reader): void { this.elements = ordered(r.read<Uint8Array[]>()); }
}

// OrderedSet is a set that other systems keep in order; here every set is.
export class OrderedSet extends Value {
  elements!: Uint8Array[];

  static of(texts: string[]): OrderedSet {
    const v = new OrderedSet();
    v.elements = ordered(allBytes(texts));
    return v;
  }

  get tag(): Tag { return Tag.OrderedSet; }
  get texts(): string[] { return allTexts(this.elements); }

  writeBincode(w: Writer): void { w.write<Uint8Array[]>(this.elements); }
  readBincode(r: Reader): void { this.elements = ordered(r.read<Uint8Array[]>()); }
}

// SingleCausal keeps the values that no later one has replaced, by the vector clocks of their writers. The host keeps
// concurrent versions apart; here are their joined clock and the union of their values.
export class SingleCausal extends Value {
  clock!: Map<string, u64>;
  elements!: Uint8Array[];

  static of(clock: Map<string, u64>, elements: Uint8Array[]): SingleCausal {
    const v = new SingleCausal();
    v.clock = clock;
    v.elements = ordered(elements);
    return v;
  }

  get tag(): Tag { return Tag.SingleCausal; }

  writeBincode(w: Writer): void {
    w.write<Map<string, u64>>(this.clock);
    w.write<Uint8Array[]>(this.elements);
  }

  readBincode(r: Reader): void {
    this.clock = r.read<Map<string, u64>>();
    this.elements = ordered(r.read<Uint8Array[]>());
  }
}

// MultiCausal is a SingleCausal that knows what its writers had seen of other keys.
export class MultiCausal extends Value {
  clock!: Map<string, u64>;
  dependencies!: Map<string, Map<string, u64>>;
  elements!: Uint8Array[];

  static of(clock: Map<string, u64>, dependencies: Map<string, Map<string, u64>>, elements: Uint8Array[]): MultiCausal {
    const v = new MultiCausal();
    v.clock = clock;
    v.dependencies = dependencies;
    v.elements = ordered(elements);
    return v;
  }

  get tag(): Tag { return Tag.MultiCausal; }

  writeBincode(w: Writer): void {
    w.write<Map<string, u64>>(this.clock);
    w.write<Map<string, Map<string, u64>>>(this.dependencies);
    w.write<Uint8Array[]>(this.elements);
  }

  readBincode(r: Reader): void {
    this.clock = r.read<Map<string, u64>>();
    this.dependencies = r.read<Map<string, Map<string, u64>>>();
    this.elements = ordered(r.read<Uint8Array[]>());
  }
}

// CounterEntry is what one writer has added and subtracted in all.
export class CounterEntry {
  up: u64 = 0;
  down: u64 = 0;

  static of(up: u64, down: u64): CounterEntry {
    const e = new CounterEntry();
    e.up = up;
    e.down = down;
    return e;
  }

  writeBincode(w: Writer): void {
    w.u64(this.up);
    w.u64(this.down);
  }

  readBincode(r: Reader): void {
    this.up = r.u64();
    this.down = r.u64();
  }
}

// Counter is a number that many add to and subtract from. Each writer has an entry of its own and writes only that one.
export class Counter extends Value {
  entries!: Map<string, CounterEntry>;

  static of(writer: string, up: u64, down: u64): Counter {
    const v = new Counter();
    v.entries = new Map();
    v.entries.set(writer, CounterEntry.of(up, down));
    return v;
  }

  get tag(): Tag { return Tag.Counter; }

  // The sum, as far as 64 bits hold it.
  get value(): i64 {
    let sum: i64 = 0;
    const entries = this.entries.values();
    for (let i = 0; i < entries.length; i++) sum += entries[i].up - entries[i].down;
    return sum;
  }

  writeBincode(w: Writer): void { w.write<Map<string, CounterEntry>>(this.entries); }
  readBincode(r: Reader): void { this.entries = r.read<Map<string, CounterEntry>>(); }
}

// MapValue is a map whose values merge one by one.
export class MapValue extends Value {
  private keys: Uint8Array[] = [];
  private values: Value[] = [];

  get tag(): Tag { return Tag.Map; }

  // The value under a key, null where there is none.
  get(key: string): Value | null {
    const i = this.find(bytesOf(key));
    return i < 0 ? null : this.values[i];
  }

  // The keys as texts, in the order in which they came.
  get texts(): string[] { return allTexts(this.keys); }

  set(key: string, v: Value): void { this.put(bytesOf(key), v); }

  private find(key: Uint8Array): i32 {
    for (let i = 0; i < this.keys.length; i++) if (compareBytes(this.keys[i], key) == 0) return i;
    return -1;
  }

  private put(key: Uint8Array, v: Value): void {
    const i = this.find(key);
    if (i >= 0) {
      this.values[i] = v;
      return;
    }
    this.keys.push(key);
    this.values.push(v);
  }

  writeBincode(w: Writer): void {
    w.u64(this.keys.length);
    for (let i = 0; i < this.keys.length; i++) {
      w.write<Uint8Array>(this.keys[i]);
      const v = this.values[i].encode();
      w.bytes(v.dataStart, v.length);
    }
  }

  static decode(r: Reader, depth: i32): MapValue {
    const v = new MapValue();
    if (depth >= MAX_DEPTH) r.fail("maps are nested too deep");
    const n = r.count(20); // two lengths and a kind
    for (let i = 0; i < n && !r.failed; i++) {
      const key = r.bytes();
      const inner = new Reader(r.bytes().buffer);
      const value = Value.decode(inner, depth + 1);
      if (inner.failed) r.fail(inner.error);
      if (!r.failed) v.put(key, value);
    }
    return v;
  }
}

export function bytesOf(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE));
}

function textOf(data: Uint8Array): string { return String.UTF8.decodeUnsafe(data.dataStart, data.length); }

function allBytes(texts: string[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let i = 0; i < texts.length; i++) out.push(bytesOf(texts[i]));
  return out;
}

function allTexts(elements: Uint8Array[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < elements.length; i++) out.push(textOf(elements[i]));
  return out;
}

function compareBytes(a: Uint8Array, b: Uint8Array): i32 {
  const c = memory.compare(a.dataStart, b.dataStart, min(a.length, b.length));
  return c != 0 ? c : a.length - b.length;
}

// Elements in ascending order, each once.
function ordered(elements: Uint8Array[]): Uint8Array[] {
  const all = elements.slice(0);
  all.sort(compareBytes);
  const out: Uint8Array[] = [];
  for (let i = 0; i < all.length; i++) if (i == 0 || compareBytes(all[i - 1], all[i]) != 0) out.push(all[i]);
  return out;
}
