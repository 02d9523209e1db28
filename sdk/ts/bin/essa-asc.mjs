#!/usr/bin/env node
// asc for functions: the AssemblyScript compiler with what a module for essad needs.
//
//     essa-asc hello.ts -o hello.wasm [options of asc]
//
// It adds the transform and, where neither options nor an asconfig.json say otherwise, -O3; it finds the package "essa" without an installation of
// it; and it says when the module needs what no host of functions has.

import { readFile, writeFile, mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import EssaTransform from "../transform/index.mjs";

const sdk = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const hosts = ["host", "essa", "wasi_snapshot_preview1"];

let args = process.argv.slice(2);
const told = args.some((a) => /^(-O|--optimize|--debug|--shrinkLevel|--config|--target|--help|-h$|--version|-v$)/.test(a));
if (!told && (await readOrNull("asconfig.json")) === null) args = ["-O3", ...args];
// --upstream: a module for upstream's executors too.
args = args.flatMap((a) => (a === "--upstream" ? ["--use", "ESSA_UPSTREAM=1"] : [a]));

let missing = [];
const { error } = await asc.main(args, {
  stdout: process.stdout,
  stderr: process.stderr,
  transforms: [EssaTransform],
  async readFile(name, base) {
    const text = await readOrNull(resolve(base, name));
    const ours = /(?:^|[\\/])node_modules[\\/]essa[\\/](.*)$/.exec(name);
    return text ?? (ours ? readOrNull(join(sdk, ours[1])) : null);
  },
  async writeFile(name, contents, base) {
    if (typeof contents !== "string") missing = foreign(contents);
    if (missing.length > 0) return true; // nothing is written that cannot run
    const path = resolve(base, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, contents);
    return true;
  },
});
if (missing.length > 0) {
  process.stderr.write(`ERROR: the module imports what essad does not have: ${missing.join(", ")}\n` +
    "  Names of env come from parts of the standard library that need a browser, such as Date.now: use what essa exports.\n");
}
if (error || missing.length > 0) process.exitCode = 1;

async function readOrNull(path) {
  try {
    return await readFile(path, "utf8");
  } catch {
    return null;
  }
}

// The imports that no host of functions has.
function foreign(wasm) {
  return WebAssembly.Module.imports(new WebAssembly.Module(wasm))
    .filter((i) => !hosts.includes(i.module))
    .map((i) => `${i.module}.${i.name}`);
}
