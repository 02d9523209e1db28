// What asc runs between parsing and compiling (--transform essa/transform): it makes functions for essad out of ordinary
// functions marked @essa.
//
// For each of them it writes an export that the host calls and a stub that starts the function elsewhere and returns its
// future result; for each class marked @essa, the methods that encode and decode it; for main, what essad run runs. All
// that is source text, put behind the text of the file it belongs to, and the file is parsed again: so what is written
// sees what the file sees, and lines keep their numbers. Types are left to the compiler (assembly/bincode.ts).

import { posix } from "node:path";
import { NodeKind, SourceKind } from "assemblyscript";
import { Transform } from "assemblyscript/transform";
import { classText, functionText, header } from "./emit.mjs";
import { Problems, readClass, readFunction, usesOf } from "./inspect.mjs";

// What the standard library would import from a host that browsers are, and what takes its place.
const ALIASES = new Map([
  ["abort", "~lib/essa/assembly/io/abort"],
  ["seed", "~lib/essa/assembly/io/seed"],
  ["trace", "~lib/essa/assembly/io/trace"],
  ["console", "~lib/essa/assembly/io/console"],
]);

export default class EssaTransform extends Transform {
  afterParse(parser) {
    const problems = new Problems(parser);
    const users = parser.sources.filter((s) => s.sourceKind === SourceKind.User || s.sourceKind === SourceKind.UserEntry);
    const entry = users.find((s) => s.sourceKind === SourceKind.UserEntry);
    const files = users.map((source) => readFile(source, problems));
    checkNames(files, problems);
    checkTypes(files, problems);
    if (problems.any) return;
    const exports = files.filter((f) => f.source !== entry).map((f) => reexports(entry, f)).join("");
    for (const f of files) {
      const text = generated(f, f.source === entry ? exports : "");
      if (text !== f.source.text) parseAgain(parser, f.source, text);
    }
    this.settle(parser);
  }

  // The options that every module for essad needs.
  settle(parser) {
    if (!parser.sources.some((s) => s.internalPath === "~lib/essa/assembly/io")) return; // it uses nothing of ours
    const options = this.program.options;
    options.exportStart ??= "_initialize"; // a reactor: its exports can be called
    options.globalAliases ??= new Map();
    for (const [name, ours] of ALIASES) {
      if (!options.globalAliases.has(name)) options.globalAliases.set(name, ours);
    }
  }
}

// readFile finds what a file has that concerns us.
function readFile(source, problems) {
  const file = { source, functions: [], classes: [], declared: new Map(), imported: new Map(), main: null, hasMainExport: false };
  for (const node of source.statements) {
    switch (node.kind) {
      case NodeKind.FunctionDeclaration: {
        const f = readFunction(node, problems);
        if (f) file.functions.push(f);
        if (node.name.text === "main") file.main = node;
        if (node.name.text === "essa_main") file.hasMainExport = true;
        break;
      }
      case NodeKind.ClassDeclaration: {
        const c = readClass(node, problems);
        file.declared.set(node.name.text, c);
        if (c.marked) file.classes.push(c);
        break;
      }
      case NodeKind.Import:
        for (const d of node.declarations ?? []) file.imported.set(d.name.text, { path: node.internalPath, name: d.foreignName.text });
        break;
      default:
        problems.misplaced(node);
    }
  }
  return file;
}

// checkNames refuses two functions that would be one outside.
function checkNames(files, problems) {
  const seen = new Map();
  for (const f of files.flatMap((file) => file.functions)) {
    const other = seen.get(f.exported);
    if (other) problems.at(f.node.name, `functions ${other.name} and ${f.name} are both ${f.exported} outside: give one another name with @essa({ exported: "..." })`);
    seen.set(f.exported, f);
  }
}

// checkTypes refuses classes without encoding where they are used; what it does not know the compiler will.
function checkTypes(files, problems) {
  const byPath = new Map(files.map((file) => [file.source.internalPath, file]));
  for (const file of files) {
    for (const use of usesOf(file)) {
      const from = file.imported.get(use.name);
      const c = from ? byPath.get(from.path)?.declared.get(from.name) : file.declared.get(use.name);
      if (c && !c.encodes) problems.at(use.node, `${use.name} has no encoding: mark its class @essa, or give it writeBincode and readBincode`);
    }
  }
}

// generated is the file's text with ours.
function generated(file, exports) {
  let text = file.source.text;
  for (const c of [...file.classes].sort((a, b) => b.node.range.end - a.node.range.end)) {
    const brace = c.node.range.end - 1; // the class's last line keeps its number
    text = text.slice(0, brace) + classText(c) + text.slice(brace);
  }
  let ours = file.functions.map(functionText).join("") + exports;
  const entry = file.source.sourceKind === SourceKind.UserEntry;
  if (entry && file.main && !file.hasMainExport) ours += "export function essa_main(): void { main(); }\n";
  if (file.functions.length + file.classes.length > 0) ours = header + ours;
  return ours === "" ? text : `${text}\n${ours}`;
}

// reexports makes exports of a file that is not the entry exports of the module.
function reexports(entry, file) {
  if (!entry || file.functions.length === 0) return "";
  const path = posix.relative(posix.dirname(entry.internalPath), file.source.internalPath);
  const names = file.functions.map((f) => `__essa_wrapper__${f.exported}`).join(", ");
  return `export { ${names} } from "${path.startsWith(".") ? path : "./" + path}";\n`;
}

// parseAgain puts a file's new text into the place of the old one.
function parseAgain(parser, source, text) {
  const at = parser.sources.indexOf(source);
  parser.sources.splice(at, 1);
  parser.donelog.delete(source.internalPath);
  parser.parseFile(text, source.normalizedPath, source.sourceKind === SourceKind.UserEntry);
  parser.sources.splice(at, 0, parser.sources.pop());
}
