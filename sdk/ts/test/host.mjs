// A host for tests: the imports over maps, where a call of another export runs at once, in an instance of its own. It is
// no judge of behaviour under a real host; the tests in Go are.

import { spawn } from "node:child_process";
import { webcrypto } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const here = dirname(fileURLToPath(import.meta.url));
const tool = resolve(here, "../bin/essa-asc.mjs");

// compile runs essa-asc as users do. Files are relative to this folder.
export async function compile(file, ...args) {
  const dir = await mkdtemp(join(tmpdir(), "essa-ts-"));
  try {
    const out = join(dir, "out.wasm");
    const result = await run([tool, relative(here, resolve(here, file)), "-o", relative(here, out), ...args]);
    return { ...result, wasm: await readFile(out).catch(() => null) };
  } finally {
    await rm(dir, { recursive: true });
  }
}

function run(args) {
  return new Promise((done) => {
    let output = "";
    const child = spawn(process.execPath, args, { cwd: here });
    child.stdout.on("data", (d) => (output += d));
    child.stderr.on("data", (d) => (output += d));
    child.on("close", (code) => done({ code, output }));
  });
}

const OK = 0, UNKNOWN = -1, NO_SUCH = -2, TOO_SMALL = -3, NOT_FOUND = -4;

export class Host {
  values = new Map();
  stdout = "";
  stderr = "";

  constructor(wasm) {
    this.module = new WebAssembly.Module(wasm);
  }

  get imports() {
    return WebAssembly.Module.imports(this.module).map((i) => `${i.module}.${i.name}`);
  }

  get exports() {
    return WebAssembly.Module.exports(this.module).map((e) => e.name);
  }

  // call runs a function, given by the name it has outside.
  call(name, args = new Uint8Array()) {
    const instance = new Instance(this, args);
    instance.exports[`__essa_wrapper__${name}`](args.length);
    return instance.result;
  }

  main() {
    new Instance(this, new Uint8Array()).exports.essa_main();
  }
}

class Instance {
  result = null;
  handles = [];

  constructor(host, args) {
    this.host = host;
    this.args = args;
    const { exports } = new WebAssembly.Instance(host.module, this.imports());
    this.exports = exports;
    exports._initialize();
  }

  bytes(at, n) {
    return new Uint8Array(this.exports.memory.buffer, at, n);
  }

  text(at, n) {
    return new TextDecoder("utf-8", { fatal: true }).decode(this.bytes(at, n));
  }

  u32(at, v) {
    new DataView(this.exports.memory.buffer).setUint32(at, v, true);
  }

  give(value, buf, cap, len) {
    if (value === undefined) return NOT_FOUND;
    this.u32(len, value.length);
    if (cap < value.length) return TOO_SMALL;
    this.bytes(buf, value.length).set(value);
    return OK;
  }

  length(key, n, len) {
    const value = this.host.values.get(this.text(key, n));
    if (value !== undefined) this.u32(len, value.length);
    return value === undefined ? NOT_FOUND : OK;
  }

  data(key, n, buf, cap, len) {
    return this.give(this.host.values.get(this.text(key, n)), buf, cap, len);
  }

  start(name, n, args, argsLen, out) {
    const handle = {};
    const wrapper = this.text(name, n);
    if (!(wrapper in this.exports)) return NO_SUCH;
    try {
      handle.value = this.host.call(wrapper.replace("__essa_wrapper__", ""), this.bytes(args, argsLen).slice());
    } catch (e) {
      handle.error = new TextEncoder().encode(`guest_fault: ${e.message}`);
    }
    this.u32(out, this.handles.push(handle));
    return OK;
  }

  write(fd, parts, count, written) {
    let n = 0;
    for (let i = 0; i < count; i++) {
      const view = new DataView(this.exports.memory.buffer, parts + 8 * i, 8);
      const size = Math.min(view.getUint32(4, true), 7); // as much as a busy pipe takes
      this.host[fd === 1 ? "stdout" : "stderr"] += new TextDecoder().decode(this.bytes(view.getUint32(0, true), size));
      n += size;
    }
    this.u32(written, n);
    return 0;
  }

  imports() {
    const handle = (h) => this.handles[h - 1];
    const finished = (h, then) => (handle(h) === undefined ? NOT_FOUND : handle(h).error ? UNKNOWN : then(handle(h).value));
    return {
      host: {
        essa_get_args: (buf, n) => (n < this.args.length ? TOO_SMALL : (this.bytes(buf, n).set(this.args), OK)),
        essa_set_result: (at, n) => ((this.result = this.bytes(at, n).slice()), OK),
        essa_call: (...p) => this.start(...p),
        essa_get_result_len: (h, len) => finished(h, (v) => (this.u32(len, v.length), OK)),
        essa_get_result: (h, buf, cap, len) => finished(h, (v) => {
          const code = this.give(v, buf, cap, len);
          if (code === OK) delete this.handles[h - 1];
          return code;
        }),
        essa_put_lattice: (key, n, at, len) => (this.host.values.set(this.text(key, n), this.bytes(at, len).slice()), OK),
        essa_get_lattice_len: (...p) => this.length(...p),
        essa_get_lattice_data: (...p) => this.data(...p),
      },
      essa: {
        essa_wait_lattice_len: (...p) => this.length(...p),
        essa_get_value_len: (...p) => this.length(...p),
        essa_get_value_data: (...p) => this.data(...p),
        essa_get_error: (h, buf, cap, len) => this.give(handle(h)?.error, buf, cap, len),
      },
      wasi_snapshot_preview1: {
        fd_write: (...p) => this.write(...p),
        clock_time_get: (_id, _precision, at) => (new DataView(this.exports.memory.buffer).setBigUint64(at, 1709642096789123456n, true), 0),
        poll_oneoff: (_subscriptions, _events, _count, ready) => (this.u32(ready, 1), 0),
        random_get: (at, n) => (webcrypto.getRandomValues(this.bytes(at, n)), 0),
        proc_exit: (status) => {
          throw new Error(`exit ${status}`);
        },
      },
    };
  }
}
