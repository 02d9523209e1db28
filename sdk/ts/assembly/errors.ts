// Code is an answer of the host. The numbers are part of the ABI.
export enum Code {
  Ok = 0,
  UnknownError = -1, // the callee failed, the store refused, or time is up
  NoSuchFunction = -2, // the module has no export of that name
  BufferTooSmall = -3,
  NotFound = -4, // nothing is stored under the key, or the handle has ended
  InvalidFunctionSignature = -5, // the export takes something else than the length of its arguments
  NoResult = -6, // the callee ended without a result
  InvalidResult = -8, // what arrived cannot be decoded
}

function meaning(code: i32): string {
  switch (code) {
    case Code.Ok: return "no error";
    case Code.UnknownError: return "unspecified error";
    case Code.NoSuchFunction: return "no such function";
    case Code.BufferTooSmall: return "buffer too small";
    case Code.NotFound: return "not found";
    case Code.InvalidFunctionSignature: return "not a function that can be called";
    case Code.NoResult: return "it ended without a result";
    case Code.InvalidResult: return "the result cannot be decoded";
  }
  return "the host gave a code this library does not know";
}

// EssaError says what could not be done, and to what.
export class EssaError {
  constructor(
    readonly op: string, // "call", "get", ...
    readonly name: string, // of the function or key
    readonly code: Code,
    readonly detail: string = "", // more than the code says, where anything is known
  ) {}

  // The whole sentence.
  toString(): string {
    let text = this.op;
    if (this.name.length > 0) text += " " + this.name;
    text += ": " + meaning(this.code);
    if (this.detail.length > 0) text += ": " + this.detail;
    return text;
  }
}
