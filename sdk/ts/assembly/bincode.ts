// bincode 1.3 with its default options: little endian, fixed width, no self-description, trailing bytes allowed. It is
// how arguments, results and lattice values are written, whatever language they come from.
//
// What each type is in Rust:
//
//   bool, i8..i64, u8..u64, f32, f64   the same         usize, isize           usize, isize (8 bytes)
//   string                             String           Uint8Array, ArrayBuffer   Vec<u8>
//   T[], StaticArray<T>, typed arrays  Vec<T>           Map<K, V>, Set<T>      HashMap, HashSet (written in order)
//   T | null, Option<T>                Option<T>        an enum                an enum without data
//   a class marked @essa               a struct         Result<T, E>           Result<T, E>
//   Unit                               ()
//
// A class with methods of its own, writeBincode(w: Writer): void and readBincode(r: Reader): void, encodes itself. Objects
// are made for readBincode without their constructor being called: it sets every field.

import { sequence, utf8Error } from "./utf8";

// A Writer collects encoded values.
export class Writer {
  private buffer: ArrayBuffer;
  private used: u32 = 0;

  constructor(capacity: i32 = 64) {
    this.buffer = new ArrayBuffer(max(capacity, 16));
  }

  // The number of bytes written so far.
  get length(): i32 { return <i32>this.used; }

  // Where the bytes are; until the next write.
  get dataStart(): usize { return changetype<usize>(this.buffer); }

  // The bytes, in memory of their own.
  toBuffer(): ArrayBuffer { return this.buffer.slice(0, this.length); }

  // Makes room for n more bytes and returns where they go.
  private room(n: u32): usize {
    const need = <u64>this.used + n;
    if (need > <u64>this.buffer.byteLength) this.grow(need);
    const at = this.dataStart + this.used;
    this.used += n;
    return at;
  }

  private grow(need: u64): void {
    const size = max(need, 2 * <u64>this.buffer.byteLength);
    if (size > <u64>i32.MAX_VALUE) throw new RangeError("an encoding of more than 2 GiB");
    const bigger = new ArrayBuffer(<i32>size);
    memory.copy(changetype<usize>(bigger), this.dataStart, this.used);
    this.buffer = bigger;
  }

  u8(v: u8): void { store<u8>(this.room(1), v); }
  u16(v: u16): void { store<u16>(this.room(2), v); }
  u32(v: u32): void { store<u32>(this.room(4), v); }
  u64(v: u64): void { store<u64>(this.room(8), v); }
  f32(v: f32): void { store<f32>(this.room(4), v); }
  f64(v: f64): void { store<f64>(this.room(8), v); }
  bool(v: bool): void { this.u8(v ? 1 : 0); }

  // The variant of an enum; what it holds follows.
  variant(v: u32): void { this.u32(v); }

  // A char: its UTF-8 form without a length. What is no char becomes U+FFFD.
  char(code: u32): void {
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
    this.text(String.fromCodePoint(<i32>code));
  }

  // A String. Half a surrogate pair becomes U+FFFD.
  string(v: string): void {
    this.u64(String.UTF8.byteLength(v));
    this.text(v);
  }

  private text(v: string): void {
    const at = this.room(String.UTF8.byteLength(v));
    String.UTF8.encodeUnsafe(changetype<usize>(v), v.length, at, false, String.UTF8.ErrorMode.REPLACE);
  }

  // A Vec<u8> of n bytes in memory.
  bytes(at: usize, n: i32): void {
    this.u64(n);
    this.raw(at, n);
  }

  // n bytes as they are.
  raw(at: usize, n: i32): void { memory.copy(this.room(n), at, n); }

  // A value of any type that has an encoding.
  write<T>(v: T): void {
    if (isNullable<T>()) {
      this.bool(changetype<usize>(v) != 0);
      if (changetype<usize>(v) != 0) this.write<nonnull<T>>(changetype<nonnull<T>>(v));
    } else if (isBoolean<T>()) {
      this.bool(v);
    } else if (isInteger<T>()) {
      if (isPointerSized<T>()) this.u64(<u64>v);
      else store<T>(this.room(sizeof<T>()), v);
    } else if (isFloat<T>()) {
      store<T>(this.room(sizeof<T>()), v);
    } else if (isString<T>()) {
      this.string(v);
    } else if (isArray<T>()) {
      this.list<valueof<T>, T>(v);
    } else if (isDefined(v.writeBincode)) {
      v.writeBincode(this);
    } else if (v instanceof StaticArray) {
      this.list<valueof<T>, T>(v);
    } else if (v instanceof ArrayBuffer) {
      this.bytes(changetype<usize>(v), v.byteLength);
    } else if (v instanceof ArrayBufferView) {
      this.u64(v.byteLength / sizeof<valueof<T>>());
      this.raw(v.dataStart, v.byteLength);
    } else if (v instanceof Map) {
      this.map<indexof<T>, valueof<T>>(v);
    } else if (v instanceof Set) {
      this.set<indexof<T>>(v);
    } else {
      ERROR("this type has no encoding: mark its class @essa, or give it writeBincode and readBincode");
    }
  }

  private list<E, L>(v: L): void {
    this.u64(v.length);
    for (let i = 0, n = v.length; i < n; i++) this.write<E>(v[i]);
  }

  private map<K, V>(v: Map<K, V>): void {
    const keys = v.keys();
    keys.sort((a: K, b: K): i32 => compare<K>(a, b));
    this.u64(keys.length);
    for (let i = 0, n = keys.length; i < n; i++) {
      this.write<K>(keys[i]);
      this.write<V>(v.get(keys[i]));
    }
  }

  private set<E>(v: Set<E>): void {
    const elements = v.values();
    elements.sort((a: E, b: E): i32 => compare<E>(a, b));
    this.write<E[]>(elements);
  }
}

// usize and isize take 8 bytes in every language's encoding, and 4 in this one's memory. Their names are all that tells
// them from u32 and i32; equal strings of a program are one string, so this costs nothing when it runs.
// @ts-ignore: decorator
@inline
function isPointerSized<T>(): bool {
  return changetype<usize>(nameof<T>()) == changetype<usize>("usize") || changetype<usize>(nameof<T>()) == changetype<usize>("isize");
}

// Orders keys: strings by their UTF-8 form, as other languages do, numbers by size.
function compare<K>(a: K, b: K): i32 {
  if (isString<K>()) return compareText(a, b);
  else if (isReference<K>()) ERROR("keys of maps and elements of sets are strings or numbers");
  else return a < b ? -1 : i32(a > b);
}

function compareText(a: string, b: string): i32 {
  for (let i = 0, n = min(a.length, b.length); i < n; i++) {
    let x = a.charCodeAt(i), y = b.charCodeAt(i);
    if (x == y) continue;
    // Surrogates stand for what comes after all else.
    if (x >= 0xd800 && y >= 0xd800) {
      x = x >= 0xe000 ? x - 0x800 : x + 0x2000;
      y = y >= 0xe000 ? y - 0x800 : y + 0x2000;
    }
    return x - y;
  }
  return a.length - b.length;
}

// Bounds elements that have no bytes of their own, such as Unit[]: nothing in the input bounds them.
const MAX_EMPTY: u64 = 1 << 16;

// A Reader takes values off a buffer. After an error every method returns zeros and empty values; error tells the first.
// What the methods return never aliases the input, and takes no more memory than a constant beyond it, whatever it claims.
export class Reader {
  private at: usize;
  private end: usize;
  // The first error, empty where there is none.
  error: string = "";

  constructor(private readonly buffer: ArrayBuffer) {
    this.at = changetype<usize>(buffer);
    this.end = this.at + buffer.byteLength;
  }

  // The number of bytes not yet read.
  get left(): i32 { return <i32>(this.end - this.at); }

  get failed(): bool { return this.error.length > 0; }

  // Makes text the reader's error, unless it has one.
  fail(text: string): void {
    if (!this.failed) this.error = text;
    this.at = this.end;
  }

  // Takes n bytes; 0 where there are not so many.
  private take(n: u64): usize {
    if (n > <u64>(this.end - this.at)) {
      this.fail("unexpected end of input");
      return 0;
    }
    const at = this.at;
    this.at += <usize>n;
    return at;
  }

  u8(): u8 { const p = this.take(1); return p ? load<u8>(p) : 0; }
  u16(): u16 { const p = this.take(2); return p ? load<u16>(p) : 0; }
  u32(): u32 { const p = this.take(4); return p ? load<u32>(p) : 0; }
  u64(): u64 { const p = this.take(8); return p ? load<u64>(p) : 0; }
  f32(): f32 { const p = this.take(4); return p ? load<f32>(p) : 0; }
  f64(): f64 { const p = this.take(8); return p ? load<f64>(p) : 0; }
  bool(): bool { return this.flag("a bool is neither 0 nor 1"); }

  // The tag of an Option; true means that the value follows.
  option(): bool { return this.flag("the tag of an option is neither 0 nor 1"); }

  private flag(bad: string): bool {
    const v = this.u8();
    if (v > 1) this.fail(bad);
    return v == 1;
  }

  // The variant of an enum that has n of them.
  variant(n: u32): u32 {
    const v = this.u32();
    if (v < n || this.failed) return v;
    this.fail("unknown enum variant");
    return 0;
  }

  // A char.
  char(): u32 {
    if (this.left == 0) this.fail("unexpected end of input");
    if (this.failed) return 0;
    const n = sequence(load<u8>(this.at));
    const p = this.take(n);
    if (n == 0 || (p != 0 && utf8Error(p, n))) this.fail("invalid char");
    return this.failed ? 0 : String.UTF8.decodeUnsafe(p, n).codePointAt(0);
  }

  // The count of a sequence whose elements take at least size bytes each: one that the input cannot hold is an error.
  count(size: u32): i32 {
    const n = this.u64();
    if (n <= <u64>this.left / size) return <i32>n;
    this.fail("unexpected end of input");
    return 0;
  }

  // A String. It must be valid UTF-8.
  string(): string {
    const n = this.count(1);
    const p = this.take(n);
    if (n == 0) return "";
    if (utf8Error(p, n)) {
      this.fail("a string is not valid UTF-8");
      return "";
    }
    return String.UTF8.decodeUnsafe(p, n);
  }

  // A Vec<u8>.
  bytes(): Uint8Array {
    const n = this.count(1);
    const out = new Uint8Array(n);
    memory.copy(out.dataStart, this.take(n), n);
    return out;
  }

  // A value of any type that has an encoding.
  read<T>(): T {
    if (isNullable<T>()) {
      return this.option() ? changetype<T>(this.read<nonnull<T>>()) : changetype<T>(0);
    } else if (isBoolean<T>()) {
      return <T>this.bool();
    } else if (isInteger<T>()) {
      return isPointerSized<T>() ? <T>this.pointer<T>() : this.number<T>();
    } else if (isFloat<T>()) {
      return this.number<T>();
    } else if (isString<T>()) {
      return changetype<T>(this.string());
    } else {
      return this.object<T>(changetype<T>(0));
    }
  }

  private number<T>(): T {
    const p = this.take(sizeof<T>());
    return p ? load<T>(p) : <T>0;
  }

  // A usize or isize, which may be more than fits here.
  private pointer<T>(): T {
    const v = this.u64();
    const short = <T>v;
    if (<u64>short != v) this.fail("a usize or isize of more than 32 bits");
    return this.failed ? <T>0 : short;
  }

  // none is no object: it is there so that its type can be asked.
  private object<T>(none: T): T {
    if (isArray<T>()) {
      return this.list<valueof<T>, T>();
    } else if (isDefined(none.readBincode)) {
      const at = __new(offsetof<T>(), idof<T>());
      memory.fill(at, 0, offsetof<T>()); // some runtimes do not
      const v = changetype<T>(at);
      v.readBincode(this);
      return v;
    } else if (none instanceof StaticArray) {
      return changetype<T>(StaticArray.fromArray<valueof<T>>(this.list<valueof<T>, valueof<T>[]>()));
    } else if (none instanceof ArrayBuffer) {
      return changetype<T>(this.bytes().buffer);
    } else if (none instanceof ArrayBufferView) {
      return this.numbers<valueof<T>, T>();
    } else if (none instanceof Map) {
      return changetype<T>(this.map<indexof<T>, valueof<T>>());
    } else if (none instanceof Set) {
      return changetype<T>(this.set<indexof<T>>());
    } else {
      ERROR("this type has no encoding: mark its class @essa, or give it writeBincode and readBincode");
    }
  }

  // A typed array: its elements are numbers, and in memory as they are encoded.
  private numbers<E, L>(): L {
    const n = this.count(sizeof<E>());
    const out = instantiate<L>(n);
    memory.copy(out.dataStart, this.take(<u64>n * sizeof<E>()), <usize>n * sizeof<E>());
    return out;
  }

  private list<E, L>(): L {
    const out = instantiate<L>();
    const n = this.elements<E>();
    for (let i: u64 = 0; i < n; i++) {
      const before = this.at;
      const v = this.read<E>();
      if (this.at == before && n > MAX_EMPTY) this.fail("too many elements of no size");
      if (this.failed) break;
      out.push(v);
    }
    return out;
  }

  // The count of elements of a type. Those of classes may take no bytes; all others take some.
  private elements<E>(): u64 {
    if (isNullable<E>()) return this.count(1);
    else if (isInteger<E>() || isFloat<E>()) return this.count(isPointerSized<E>() ? 8 : sizeof<E>());
    else if (isString<E>()) return this.count(8);
    else return this.u64();
  }

  private map<K, V>(): Map<K, V> {
    const out = new Map<K, V>();
    const n = this.elements<K>();
    for (let i: u64 = 0; i < n && !this.failed; i++) {
      const k = this.read<K>();
      const v = this.read<V>();
      if (!this.failed) out.set(k, v);
    }
    return out;
  }

  private set<E>(): Set<E> {
    const out = new Set<E>();
    const n = this.elements<E>();
    for (let i: u64 = 0; i < n && !this.failed; i++) {
      const v = this.read<E>();
      if (!this.failed) out.add(v);
    }
    return out;
  }
}
