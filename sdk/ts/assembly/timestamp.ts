// Instants as lattice values have them: in encodings they are text, 2024-03-05T12:34:56.123456789Z.

import { Reader, Writer } from "./bincode";
import { clock } from "./io";

const BILLION: u32 = 1_000_000_000;
const DAY: i64 = 86400;
const MIN_YEAR: i64 = -262144;
const MAX_YEAR: i64 = 262143;

// Timestamp is an instant in UTC: nanoseconds, and a leap second that is its own instant after the 59th second.
export class Timestamp {
  // seconds since 1970, leap seconds not counted; nanos from 1e9 on are within the leap second that follows.
  constructor(readonly seconds: i64 = 0, readonly nanos: u32 = 0) {}

  static unixNano(ns: u64): Timestamp { return new Timestamp(ns / BILLION, <u32>(ns % BILLION)); }

  // Reads what toString writes and what upstream's chrono takes besides; null where it is no timestamp.
  static parse(text: string): Timestamp | null { return new TimeParser(text).parse(); }

  // -1, 0 or 1 as this is before, at or after other.
  compare(other: Timestamp): i32 {
    if (this.seconds != other.seconds) return this.seconds < other.seconds ? -1 : 1;
    return this.nanos < other.nanos ? -1 : i32(this.nanos > other.nanos);
  }

  // The first instant after this one.
  next(): Timestamp {
    const n = this.nanos + 1;
    return n == BILLION || n == 2 * BILLION ? new Timestamp(this.seconds + 1, 0) : new Timestamp(this.seconds, n);
  }

  // The canonical text, with 3, 6 or 9 digits of fraction where needed.
  toString(): string {
    const days = floorDiv(this.seconds, DAY);
    const second = this.seconds - days * DAY;
    const leap = this.nanos >= BILLION;
    return date(days) + "T" + padded(second / 3600, 2) + ":" + padded(second / 60 % 60, 2) + ":" +
      padded(second % 60 + (leap ? 1 : 0), 2) + fraction(leap ? this.nanos - BILLION : this.nanos) + "Z";
  }

  writeBincode(w: Writer): void { w.string(this.toString()); }

  readBincode(r: Reader): void {
    const t = Timestamp.parse(r.string());
    if (t == null) r.fail("not a timestamp");
    else this.set(t);
  }

  private set(t: Timestamp): void {
    store<i64>(changetype<usize>(this), t.seconds, offsetof<Timestamp>("seconds"));
    store<u32>(changetype<usize>(this), t.nanos, offsetof<Timestamp>("nanos"));
  }
}

// The time for a value that the last writer wins.
export function now(): Timestamp { return Timestamp.unixNano(clock()); }

function padded(n: i64, width: i32): string { return n.toString().padStart(width, "0"); }

function fraction(nanos: u32): string {
  if (nanos == 0) return "";
  if (nanos % 1_000_000 == 0) return "." + padded(nanos / 1_000_000, 3);
  return nanos % 1000 == 0 ? "." + padded(nanos / 1000, 6) : "." + padded(nanos, 9);
}

function floorDiv(a: i64, b: i64): i64 { return a / b - (a % b < 0 ? 1 : 0); }

// The calendar is counted in years that begin in March, so that the leap day is the last of its year.
function date(days: i64): string {
  days += 719468;
  const era = floorDiv(days, 146097), doe = days - era * 146097;
  const yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  const doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  const month = mp < 10 ? mp + 3 : mp - 9;
  const year = era * 400 + yoe + (month <= 2 ? 1 : 0);
  const sign = year < 0 ? "-" : year > 9999 ? "+" : "";
  return sign + padded(year < 0 ? -year : year, 4) + "-" + padded(month, 2) + "-" + padded(doy - (153 * mp + 2) / 5 + 1, 2);
}

function daysOf(year: i64, month: i64, day: i64): i64 {
  if (month <= 2) year--;
  const era = floorDiv(year, 400), yoe = year - era * 400;
  const doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

function daysIn(year: i64, month: i64): i64 {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// TimeParser takes a timestamp apart as chrono 0.4.19 does: one or two digits per field, blanks in places, a space for the
// T, any number of digits of a fraction (cut at nine), and an offset as Z, UTC, +02:00 or +0200. After the first mistake
// ok is false and nothing else matters.
class TimeParser {
  private at: i32 = 0;
  private ok: bool = true;

  constructor(private readonly text: string) {}

  parse(): Timestamp | null {
    const year = this.year(), month = this.after(45), day = this.after(45); // -
    this.separator();
    const hour = this.number(2), minute = this.after(58), second = this.after(58); // :
    const nanos = this.fraction(), offset = this.offset();
    this.blanks();
    if (!this.ok || this.at != this.text.length) return null;
    return civil(year, month, day, hour, minute, second, nanos, offset);
  }

  private fail(): i64 {
    this.ok = false;
    this.at = this.text.length;
    return 0;
  }

  // The character ahead, -1 at the end.
  private peek(): i32 { return this.at < this.text.length ? this.text.charCodeAt(this.at) : -1; }

  private blanks(): void {
    while (isBlank(this.peek())) this.at++;
  }

  // Takes a mark and the number after it.
  private after(mark: i32): i64 {
    this.blanks();
    if (this.peek() != mark) return this.fail();
    this.at++;
    return this.number(2);
  }

  private separator(): void {
    const c = this.peek();
    if (c != 84 && c != 32) this.fail(); // T or a space
    else this.at++;
  }

  private number(width: i32): i64 {
    this.blanks();
    return this.digits(width);
  }

  private digits(width: i32): i64 {
    let n: i64 = 0;
    const begin = this.at;
    while (this.at - begin < width && isDigit(this.peek())) {
      if (n > 1 << 40) return this.fail();
      n = n * 10 + (this.peek() - 48);
      this.at++;
    }
    return this.at > begin ? n : this.fail();
  }

  // Four digits at most, or any number of them after a sign.
  private year(): i64 {
    this.blanks();
    const c = this.peek();
    if (c != 43 && c != 45) return this.digits(4); // + or -
    this.at++;
    const n = this.digits(this.text.length);
    return c == 45 ? -n : n;
  }

  private fraction(): i64 {
    if (this.peek() != 46) return 0; // .
    this.at++;
    const begin = this.at;
    let n = this.digits(9);
    for (let i = this.at - begin; i < 9; i++) n *= 10;
    while (isDigit(this.peek())) this.at++;
    return n;
  }

  private offset(): i64 {
    this.blanks();
    const c = this.peek();
    if (c == 90 || c == 122) { // Z
      this.at++;
      return 0;
    }
    if (c == 85 || c == 117) { // UTC
      if (this.text.substr(this.at, 3).toUpperCase() != "UTC") return this.fail();
      this.at += 3;
      return 0;
    }
    if (c != 43 && c != 45) return this.fail(); // + or -
    this.at++;
    const hours = this.two();
    while (this.peek() == 58 || isBlank(this.peek())) this.at++;
    const minutes = this.two();
    if (hours > 23 || minutes > 59) return this.fail();
    return (c == 45 ? -1 : 1) * (hours * 3600 + minutes * 60);
  }

  // Exactly two digits.
  private two(): i64 {
    const begin = this.at;
    const n = this.digits(2);
    return this.at - begin == 2 ? n : this.fail();
  }
}

function isDigit(c: i32): bool { return c >= 48 && c <= 57; }

// Unicode's White_Space.
function isBlank(c: i32): bool {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
    c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

function civil(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64, nanos: i64, offset: i64): Timestamp | null {
  if (year < MIN_YEAR || year > MAX_YEAR || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
    hour > 23 || minute > 59 || second > 60) return null;
  if (second == 60) {
    second = 59;
    nanos += BILLION;
  }
  const seconds = daysOf(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
  if (seconds < daysOf(MIN_YEAR, 1, 1) * DAY || seconds >= daysOf(MAX_YEAR + 1, 1, 1) * DAY) return null;
  return new Timestamp(seconds, <u32>nanos);
}
