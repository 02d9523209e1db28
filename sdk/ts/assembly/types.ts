import { Reader, Writer } from "./bincode";

// Unit is the result of a function without one, ().
export class Unit {
  writeBincode(_w: Writer): void {}
  readBincode(_r: Reader): void {}
}

// The one value that a Unit has.
export const unit: Unit = new Unit();

// What is where no value is. Nobody sees it.
export function none<T>(): T {
  if (isReference<T>()) return changetype<T>(0);
  else return <T>0;
}

// Option is a value or none, for types that cannot be null. T | null is the same outside.
export class Option<T> {
  // Whether there is a value.
  some: bool = false;
  private inner: T = none<T>();

  static of<T>(v: T): Option<T> {
    const o = new Option<T>();
    o.some = true;
    o.inner = v;
    return o;
  }

  static none<T>(): Option<T> { return new Option<T>(); }

  // The value; the call ends where there is none.
  get value(): T {
    if (!this.some) throw new Error("there is no value");
    return this.inner;
  }

  // The value, or another one where there is none.
  or(other: T): T { return this.some ? this.inner : other; }

  writeBincode(w: Writer): void {
    w.bool(this.some);
    if (this.some) w.write<T>(this.inner);
  }

  readBincode(r: Reader): void {
    this.some = r.option();
    if (this.some) this.inner = r.read<T>();
  }
}

// Result is a value or an error. A function that can fail returns Result<T, string>, which in Go is (T, error).
export class Result<T, E> {
  // Whether it is a value.
  isOk: bool = false;
  private good: T = none<T>();
  private bad: E = none<E>();

  static ok<T, E>(v: T): Result<T, E> {
    const r = new Result<T, E>();
    r.isOk = true;
    r.good = v;
    return r;
  }

  static err<T, E>(e: E): Result<T, E> {
    const r = new Result<T, E>();
    r.bad = e;
    return r;
  }

  // Whether it is an error.
  get isErr(): bool { return !this.isOk; }

  // The value; where it is an error, the call ends with it.
  get value(): T {
    if (!this.isOk) throw new Error(textOf<E>(this.bad));
    return this.good;
  }

  // The error; the call ends where it is a value.
  get error(): E {
    if (this.isOk) throw new Error("there is no error");
    return this.bad;
  }

  writeBincode(w: Writer): void {
    w.variant(this.isOk ? 0 : 1);
    if (this.isOk) w.write<T>(this.good);
    else w.write<E>(this.bad);
  }

  readBincode(r: Reader): void {
    this.isOk = r.variant(2) == 0;
    if (this.isOk) this.good = r.read<T>();
    else this.bad = r.read<E>();
  }
}

function textOf<E>(e: E): string {
  if (isString<E>()) return changetype<string>(e);
  else if (isInteger<E>() || isFloat<E>()) return e.toString();
  else if (isDefined(e.toString)) return e.toString();
  else return "an error";
}

// The result of a function that returns Result<T, string> and did not fail.
export function ok<T>(v: T): Result<T, string> { return Result.ok<T, string>(v); }

// The result of a function that returns Result<T, string> and failed: err<u64>("the range is empty").
export function err<T>(text: string): Result<T, string> { return Result.err<T, string>(text); }
