// Reads marked functions and classes off the syntax tree, and says what is wrong with them, all of it at once.

import { CommonFlags, DiagnosticCode, NodeKind, ParameterKind } from "assemblyscript";
import { snakeCase } from "./emit.mjs";

const WORD = /^[A-Za-z_$][A-Za-z0-9_$]*$/;

// Problems collects mistakes; asc shows them with file, line and column.
export class Problems {
  any = false;

  constructor(parser) {
    this.parser = parser;
  }

  at(node, text) {
    this.any = true;
    this.parser.error(DiagnosticCode.User_defined_0, node.range, text);
  }

  // A mark on something else, or on something inside a namespace, does nothing: say so.
  misplaced(node) {
    const mark = markOf(node);
    if (mark) this.at(mark, "@essa marks functions and classes");
    for (const m of node.kind === NodeKind.NamespaceDeclaration ? node.members : []) {
      const inner = markOf(m);
      if (inner) this.at(inner, "@essa marks functions and classes of a file, not of a namespace");
    }
  }
}

function markOf(node) {
  return node.decorators?.find((d) => d.name.kind === NodeKind.Identifier && d.name.text === "essa");
}

const textOf = (node) => node.range.source.text.slice(node.range.start, node.range.end);

// readFunction returns what the other files need to know of a marked function, undefined of others.
export function readFunction(node, problems) {
  const mark = markOf(node);
  if (!mark) return undefined;
  const options = readOptions(mark, ["name", "exported"], problems);
  const name = node.name.text;
  if (node.typeParameters?.length) problems.at(node.name, `${name} has type parameters: a function outside has none`);
  if (node.signature.explicitThisType) problems.at(node.name, `${name} has a this: a function outside has none`);
  const params = node.signature.parameters.map((p) => readParameter(p, problems));
  const result = node.signature.returnType;
  const returns = isOmitted(result) ? "void" : textOf(result);
  if (isOmitted(result)) problems.at(node.name, `${name} does not say what it returns`);
  return {
    node,
    name,
    params,
    result: returns === "void" ? null : { node: result, text: returns },
    stub: options.name ?? `${name}Remote`,
    exported: options.exported ?? snakeCase(name),
    isExported: (node.flags & CommonFlags.Export) !== 0,
  };
}

const isOmitted = (type) => type.range.start === type.range.end || (type.kind === NodeKind.NamedType && type.name.identifier.text === "");

function readParameter(p, problems) {
  if (p.parameterKind === ParameterKind.Rest) problems.at(p.name, "the number of arguments of a function outside is fixed: take an array");
  else if (p.parameterKind === ParameterKind.Optional || p.initializer) {
    problems.at(p.name, "arguments of a function outside have no defaults: take T | null or Option<T>");
  }
  if (isOmitted(p.type)) problems.at(p.name, `${p.name.text} has no type`);
  return { name: p.name.text, node: p.type, text: textOf(p.type) };
}

function readOptions(mark, known, problems) {
  const out = {};
  if (!mark.args?.length) return out;
  const [literal] = mark.args;
  if (mark.args.length > 1 || literal.kind !== NodeKind.Literal || !literal.names) {
    problems.at(mark, `@essa takes an object: @essa({ ${known.map((k) => `${k}: "..."`).join(", ")} })`);
    return out;
  }
  literal.names.forEach((key, i) => {
    const value = literal.values[i].value;
    if (!known.includes(key.text)) problems.at(key, `@essa knows ${known.join(" and ")}, not ${key.text}`);
    else if (typeof value !== "string" || !WORD.test(value)) problems.at(literal.values[i], `${key.text} is to be a name in quotes`);
    else out[key.text] = value;
  });
  return out;
}

// readClass returns what the other files need to know of a class.
export function readClass(node, problems) {
  const mark = markOf(node);
  const methods = new Set(node.members.filter((m) => m.kind === NodeKind.MethodDeclaration).map((m) => m.name.text));
  const own = methods.has("writeBincode") && methods.has("readBincode");
  for (const m of node.members) {
    const inner = markOf(m);
    if (inner) problems.at(inner, "@essa marks functions and classes of a file, not members of a class");
  }
  const c = { node, name: node.name.text, marked: !!mark && !own, encodes: !!mark || own, fields: [], extends: !!node.extendsType };
  if (!c.marked) return c;
  if (mark.args?.length) problems.at(mark, "@essa of a class takes nothing");
  if (methods.has("writeBincode") || methods.has("readBincode")) problems.at(node.name, `${c.name} has one of writeBincode and readBincode: it needs both, or none`);
  for (const m of node.members) {
    if (m.kind !== NodeKind.FieldDeclaration || m.flags & CommonFlags.Static) continue;
    if (!m.type || isOmitted(m.type)) problems.at(m.name, `field ${m.name.text} has no type`);
    else if (m.flags & CommonFlags.Readonly) problems.at(m.name, `field ${m.name.text} is readonly, and has to be set when it is read`);
    else c.fields.push({ name: m.name.text, node: m.type, text: textOf(m.type) });
  }
  return c;
}

// usesOf lists the names of types that values of a file's functions and classes have.
export function usesOf(file) {
  const nodes = [
    ...file.functions.flatMap((f) => [...f.params, ...(f.result ? [f.result] : [])]),
    ...file.classes.flatMap((c) => c.fields),
  ].map((v) => v.node);
  return nodes.flatMap(namesIn);
}

function namesIn(type) {
  if (type.kind !== NodeKind.NamedType) return [];
  const inner = (type.typeArguments ?? []).flatMap(namesIn);
  return type.name.next ? inner : [{ name: type.name.identifier.text, node: type }, ...inner];
}
