import { clock_time_get, fd_write, proc_exit, random_get } from "./abi";

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

// Prints text and a line end to standard output.
export function print(text: string): void {
  emit(STDOUT, text + "\n");
}

// Prints text and a line end to standard error: the log of a call, the terminal of a run.
export function eprint(text: string): void {
  emit(STDERR, text + "\n");
}

// Ends the instance with an exit status, as essad run reports it.
export function exit(status: u32): void {
  proc_exit(status);
  unreachable();
}

// Room for an iovec and the answer. It is static memory, so that the report of an abort needs no memory.
// @ts-ignore: decorator
@lazy const vector: usize = memory.data(12, 4);

function emit(fd: u32, text: string): void {
  const data = String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE);
  emitBytes(fd, changetype<usize>(data), data.byteLength);
}

// A descriptor that takes nothing more ends it: there is nobody to tell.
function emitBytes(fd: u32, at: usize, left: usize): void {
  while (left > 0) {
    store<usize>(vector, at);
    store<usize>(vector, left, 4);
    store<u32>(vector, 0, 8);
    if (fd_write(fd, vector, 1, vector + 8) != 0) return;
    const n = min<usize>(load<u32>(vector, 8), left);
    if (n == 0) return;
    at += n;
    left -= n;
  }
}

// What asc calls where a program throws, fails an assertion or goes beyond an array: the message goes to standard error
// and the call ends with a trap. The transform puts it in the place of env.abort.
export function abort(message: string | null = null, file: string | null = null, line: u32 = 0, column: u32 = 0): void {
  let text = "abort";
  if (message != null) text += ": " + message;
  if (file != null && file.length > 0) text += " at " + file + ":" + line.toString() + ":" + column.toString();
  eprint(text);
  unreachable();
}

// In the place of env.seed: what Math.random begins with.
export function seed(): f64 {
  random_get(vector, 8);
  return reinterpret<f64>((load<u64>(vector) >> 12) | 0x3ff0000000000000);
}

// In the place of env.trace: text and numbers to standard error.
export function trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  let text = "trace: " + message;
  if (n > 0) text += " " + a0.toString();
  if (n > 1) text += ", " + a1.toString();
  if (n > 2) text += ", " + a2.toString();
  if (n > 3) text += ", " + a3.toString();
  if (n > 4) text += ", " + a4.toString();
  eprint(text);
}

// In the place of the console that browsers have.
export namespace console {
  export function log(message: string = ""): void { print(message); }
  export function info(message: string = ""): void { print(message); }
  export function debug(message: string = ""): void { print(message); }
  export function warn(message: string = ""): void { eprint(message); }
  export function error(message: string = ""): void { eprint(message); }
  export function assert<T>(condition: T, message: string = ""): void {
    if (!condition) eprint("assertion failed: " + message);
  }
}

// The clock, in nanoseconds since 1970.
export function clock(): u64 {
  store<u64>(stamp, 0);
  clock_time_get(0, 1, stamp);
  return load<u64>(stamp);
}

// @ts-ignore: decorator
@lazy const stamp: usize = memory.data(8, 8);
