// One function for each kind of argument and result, the namesakes of those in sdk/guest/essagen/internal/everytype: the
// same bytes in, the same bytes out.

import {
  LWW, OrderedSet, Option, Priority, Reader, Result, SetValue, Timestamp, Unit, Value, Writer, err, ok, unit,
} from "essa";
import { Numbers } from "./numbers";

@essa class Pair<A, B> {
  first!: A;
  second!: B;
}

// Celsius encodes itself, as tenths of a degree.
class Celsius {
  degrees: f64 = 0;
  writeBincode(w: Writer): void { w.write<i32>(<i32>(this.degrees * 10)); }
  readBincode(r: Reader): void { this.degrees = <f64>r.read<i32>() / 10; }
}

// Grid is an array of fixed size, which has no count.
class Grid {
  cells: i16[] = [];
  writeBincode(w: Writer): void {
    for (let i = 0; i < 6; i++) w.write<i16>(this.cells[i]);
  }
  readBincode(r: Reader): void {
    this.cells = [];
    for (let i = 0; i < 6; i++) this.cells.push(r.read<i16>());
  }
}

@essa class Outer extends Noted {
  bytes!: Uint8Array;
  blob!: ArrayBuffer;
  words!: string[];
  grid!: Grid;
  ages!: Map<string, u8>;
  byKind!: Map<u16, string[]>;
  seen!: Set<i64>;
  maybe: Pair<string, u16> | null = null;
  twice!: Option<Option<u8>>;
  list!: Pair<u16, Uint8Array>[];
  temp!: Celsius;
  temps!: StaticArray<Celsius>;
  nothing!: Unit;
}

// Noted has what is embedded in Outer.
@essa class Noted {
  note: string | null = null;
  hidden: i16 = 0;
}

@essa class Lattices {
  at!: Timestamp;
  set!: SetValue;
  ordered!: OrderedSet;
  lww!: LWW;
  priority!: Priority;
  clock!: Map<string, u64>;
  key!: string;
}

@essa function echoNumbers(n: Numbers): Numbers { return n; }
@essa function echoOuter(o: Outer): Outer { return o; }
@essa({ exported: "lattices_there_and_back", name: "sendLattices" }) function echoLattices(l: Lattices): Lattices { return l; }
@essa function nothing(): void {}

@essa function check(fail: bool): Result<Unit, string> {
  return fail ? err<Unit>("it failed: " + String.fromCharCode(0xd800)) : ok(unit);
}

@essa function half(n: u32): Result<u32, string> {
  return n % 2 == 1 ? err<u32>("an odd number has no half") : ok<u32>(n / 2);
}

@essa class Quotient {
  quotient: isize = 0;
  remainder: isize = 0;
}

@essa function divide(n: isize, by: isize): Quotient { return { quotient: n / by, remainder: n % by }; }

@essa function cut(s: string, at: usize): Result<Pair<string, string>, string> {
  if (at > <usize>s.length) return err<Pair<string, string>>("beyond the end");
  return ok<Pair<string, string>>({ first: s.slice(0, <i32>at), second: s.slice(<i32>at) });
}

@essa function shadows(w: string, r: Uint8Array, a0: u8, argsLen: u8, Future: u8, name: u8, e: i8, flag: bool): isize {
  return String.UTF8.byteLength(w) + r.length + a0 + argsLen + Future + e;
}

@essa function fill(u: Unit): Unit { return u; }

@essa({ exported: "http_get2" }) function HTTPGet2(unnamed: Map<string, string>): Map<string, string> { return unnamed; }
@essa function divideLower(n: u8): u8 { return n / 2; }

// What follows is asked by this folder's own tests.

// A stored value, decoded and encoded again.
@essa function value(stored: Uint8Array): Result<ArrayBuffer, string> {
  const r = new Reader(stored.buffer);
  const v = Value.decode(r);
  return r.failed ? err<ArrayBuffer>(r.error) : ok<ArrayBuffer>(v.encode().toBuffer());
}

// A timestamp in its canonical form.
@essa function time(text: string): Result<string, string> {
  const t = Timestamp.parse(text);
  return t == null ? err<string>("not a timestamp") : ok<string>(t.toString());
}

@essa function next(text: string): string { return (<Timestamp>Timestamp.parse(text)).next().toString(); }

@essa function char(code: u32): ArrayBuffer {
  const w = new Writer(1);
  w.char(code);
  return w.toBuffer();
}

// What is wrong with bytes read as a char, or the char.
@essa function chars(bytes: ArrayBuffer): string {
  const r = new Reader(bytes);
  const c = r.char();
  return r.failed ? r.error : c.toString();
}

@essa function floats(a: Float64Array, b: f32[], c: StaticArray<bool>): Float64Array {
  for (let i = 0; i < b.length; i++) a[i] += b[i] + (c[i] ? 1 : 0);
  return a;
}

@essa function units(n: u32): Unit[] {
  const out: Unit[] = [];
  for (let i: u32 = 0; i < n; i++) out.push(unit);
  return out;
}

@essa function countUnits(u: Unit[]): i32 { return u.length; }
@essa function numberSet(s: Set<i32>): Set<i32> { return s; }
@essa function options(a: Option<u64>, b: u8[] | null): u64 { return a.or(7) + (b == null ? 100 : <u64>b.length); }

enum Kind { A, B, C }
@essa function kind(k: Kind): Kind { return k == Kind.B ? Kind.C : k; }
