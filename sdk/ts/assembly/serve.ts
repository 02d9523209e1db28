// What the exports that the transform writes are made of. It may be used by hand as well.

import { essa_get_args, essa_set_result } from "./abi";
import { Reader, Writer } from "./bincode";
import { Code } from "./errors";
import { nothing } from "./text";

// The arguments of the running call. argsLen is what the export was given.
export function serve(argsLen: i32): Reader {
  const buffer = argsLen == 0 ? nothing : new ArrayBuffer(argsLen);
  const code = essa_get_args(changetype<usize>(buffer), argsLen);
  if (code != Code.Ok) throw new Error("the host does not give the arguments: " + code.toString());
  return new Reader(buffer);
}

// Ends the call where the arguments of a function could not be decoded.
export function checkArgs(name: string, r: Reader): void {
  if (r.failed) throw new Error("the arguments of " + name + " cannot be decoded: " + r.error);
}

// Sets the result of the running call.
export function reply<T>(v: T): void {
  const w = new Writer();
  w.write<T>(v);
  set(w.dataStart, w.length);
}

// Sets the result of a function that returns nothing.
export function replyUnit(): void { set(0, 0); }

function set(at: usize, n: i32): void {
  const code = essa_set_result(at, n);
  if (code != Code.Ok) throw new Error("the host does not take the result: " + code.toString());
}
