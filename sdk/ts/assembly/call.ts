import { essa_call, essa_get_error, essa_get_result, essa_get_result_len } from "./abi";
import { Reader, Writer } from "./bincode";
import { Code, EssaError } from "./errors";
import { Text, nothing } from "./text";
import { Result, none } from "./types";

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
    const buffer = fetch(this.id);
    if (buffer != null) return Result.ok<ArrayBuffer, EssaError>(buffer);
    return Result.err<ArrayBuffer, EssaError>(whyNot(this.id, this.name));
  }
}

// What the imports below write.
// @ts-ignore: decorator
@lazy const out: usize = memory.data(4, 4);

// The answer of the host to the last fetch.
let answer: i32 = Code.Ok;

// Waits for a call and takes its result; null where there is none, and answer then tells why.
function fetch(id: u32): ArrayBuffer | null {
  answer = essa_get_result_len(id, out);
  if (answer != Code.Ok) return null;
  const n = load<i32>(out);
  const buffer = n == 0 ? nothing : new ArrayBuffer(n);
  answer = essa_get_result(id, changetype<usize>(buffer), n, out);
  return answer == Code.Ok ? buffer : null;
}

function whyNot(id: u32, name: string): EssaError {
  const code = answer;
  return new EssaError("call", display(name), code, reason(id));
}

// Why a call failed, as the host tells it.
function reason(handle: u32): string {
  if (isDefined(ESSA_UPSTREAM)) {
    return "";
  } else {
    let buffer = new ArrayBuffer(256);
    for (let i = 0; i < 2; i++) {
      const code = essa_get_error(handle, changetype<usize>(buffer), buffer.byteLength, out);
      const n = load<u32>(out);
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
  const code = start(name, args);
  if (code != Code.Ok) return Result.err<Handle, EssaError>(new EssaError("call", display(name), code));
  return Result.ok<Handle, EssaError>(new Handle(load<u32>(out), name));
}

// Starts a call, and leaves its handle in out.
function start(name: string, args: Writer | null): i32 {
  const text = Text.of(name);
  if (args == null) return essa_call(text.at, text.length, 0, 0, out);
  return essa_call(text.at, text.length, args.dataStart, args.length, out);
}

// Waiting is what all futures have in common.
export abstract class Waiting {
  abstract wait(): EssaError | null;
}

// Future is a result that may not be there yet. One that nobody waits for does no harm: its call still runs.
export class Future<T> extends Waiting {
  private id: u32 = 0;
  private settled: bool = false;
  private failure: EssaError | null = null;
  private value: T = none<T>();

  // Starts an export. Stubs are made of it. That the call could not be started is told by wait and result, like
  // everything else that goes wrong.
  constructor(private readonly name: string, args: Writer | null) {
    super();
    const code = start(name, args);
    if (code == Code.Ok) this.id = load<u32>(out);
    else this.fail(new EssaError("call", display(name), code));
  }

  private fail(e: EssaError): void {
    this.settled = true;
    this.failure = e;
  }

  // Waits for the call and returns what it returned. Where there is nothing, this call ends with the reason.
  get(): T {
    const e = this.wait();
    if (e != null) throw new Error(e.toString());
    return this.value;
  }

  // Waits for the call; null where there is a result. It may be asked again.
  wait(): EssaError | null {
    if (!this.settled) this.settle();
    return this.failure;
  }

  private settle(): void {
    const encoded = fetch(this.id);
    if (encoded == null) {
      this.fail(whyNot(this.id, this.name));
      return;
    }
    const r = new Reader(encoded);
    this.value = r.read<T>();
    if (r.failed) this.fail(new EssaError("call", display(this.name), Code.InvalidResult, r.error));
    this.settled = true;
  }

  // Waits for the call, and returns what it returned or why there is nothing.
  result(): Result<T, EssaError> {
    const e = this.wait();
    return e == null ? Result.ok<T, EssaError>(this.value) : Result.err<T, EssaError>(e);
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
