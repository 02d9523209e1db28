import { essa_call, essa_get_error, essa_get_result, essa_get_result_len } from "./abi";
import { Reader, Writer } from "./bincode";
import { Code, EssaError } from "./errors";
import { Result } from "./types";

// What begins the export names of functions. The rest is the name by which a function is called from outside.
const PREFIX = "__essa_wrapper__";

// Bounds the text of a failure. The host cuts nothing, so a longer text is left out.
const MAX_REASON: u32 = 1 << 16;

// The name under which people know an export.
function display(name: string): string {
  return name.startsWith(PREFIX) ? name.substring(PREFIX.length) : name;
}

// Handle stands for a call that was started. It ends with wait.
export class Handle {
  constructor(readonly id: u32, readonly name: string) {}

  // Waits for the call and returns its encoded result. A second wait is NotFound.
  wait(): Result<ArrayBuffer, EssaError> {
    const size = memory.data(4, 4);
    let code = essa_get_result_len(this.id, size);
    if (code != Code.Ok) return this.failed(code);
    const buffer = new ArrayBuffer(load<i32>(size));
    code = essa_get_result(this.id, changetype<usize>(buffer), buffer.byteLength, size);
    if (code != Code.Ok) return this.failed(code);
    return Result.ok<ArrayBuffer, EssaError>(buffer);
  }

  private failed(code: i32): Result<ArrayBuffer, EssaError> {
    return Result.err<ArrayBuffer, EssaError>(new EssaError("call", display(this.name), code, reason(this.id)));
  }
}

// Why a call failed, as the host tells it.
function reason(handle: u32): string {
  if (isDefined(ESSA_UPSTREAM)) {
    return "";
  } else {
    const size = memory.data(4, 4);
    let buffer = new ArrayBuffer(256);
    for (let i = 0; i < 2; i++) {
      const code = essa_get_error(handle, changetype<usize>(buffer), buffer.byteLength, size);
      const n = load<u32>(size);
      if (code == Code.Ok) return String.UTF8.decodeUnsafe(changetype<usize>(buffer), n);
      if (code != Code.BufferTooSmall || n > MAX_REASON) return "";
      buffer = new ArrayBuffer(n);
    }
    return "";
  }
}

// Starts an export of this module in an instance of its own and returns at once. Functions marked @essa are called
// through their stubs; this is for exports made by hand, and for names that are not known before.
export function call(name: string, args: Writer): Result<Handle, EssaError> {
  const handle = memory.data(4, 4);
  const text = String.UTF8.encode(name, false, String.UTF8.ErrorMode.REPLACE);
  const code = essa_call(changetype<usize>(text), text.byteLength, args.dataStart, args.length, handle);
  if (code != Code.Ok) return Result.err<Handle, EssaError>(new EssaError("call", display(name), code));
  return Result.ok<Handle, EssaError>(new Handle(load<u32>(handle), name));
}

// Waiting is what all futures have in common.
export abstract class Waiting {
  abstract wait(): EssaError | null;
}

// Future is a result that may not be there yet. One that nobody waits for does no harm: its call still runs.
export class Future<T> extends Waiting {
  private handle: Handle | null = null;
  private outcome: Result<T, EssaError> | null = null;

  // Starts an export. Stubs are made of it. That the call could not be started is told by wait and result, like
  // everything else that goes wrong.
  constructor(name: string, args: Writer) {
    super();
    const started = call(name, args);
    if (started.isOk) this.handle = started.value;
    else this.outcome = Result.err<T, EssaError>(started.error);
  }

  // Waits for the call, and returns what it returned or why there is nothing. It may be asked again.
  result(): Result<T, EssaError> {
    let outcome = this.outcome;
    if (outcome == null) {
      outcome = this.finish(<Handle>this.handle);
      this.outcome = outcome;
    }
    return outcome;
  }

  private finish(handle: Handle): Result<T, EssaError> {
    const encoded = handle.wait();
    if (encoded.isErr) return Result.err<T, EssaError>(encoded.error);
    const r = new Reader(encoded.value);
    const v = r.read<T>();
    if (!r.failed) return Result.ok<T, EssaError>(v);
    return Result.err<T, EssaError>(new EssaError("call", display(handle.name), Code.InvalidResult, r.error));
  }

  // Waits for the call and returns what it returned. Where there is nothing, this call ends with the reason.
  get(): T { return this.result().value; }

  // Waits for the call; null where there is a result.
  wait(): EssaError | null {
    const outcome = this.result();
    return outcome.isOk ? null : outcome.error;
  }
}

// Waits for all of several futures and returns the first error among them.
export function waitAll(futures: Waiting[]): EssaError | null {
  let first: EssaError | null = null;
  for (let i = 0; i < futures.length; i++) {
    const e = futures[i].wait();
    if (first == null) first = e;
  }
  return first;
}
