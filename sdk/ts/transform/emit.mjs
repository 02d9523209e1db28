// The text that the transform writes. Names of its own begin with __essa_.

export const header = `// What follows was written by the transform of essa.
import { Future as __essa_Future, Reader as __essa_Reader, Unit as __essa_Unit, Writer as __essa_Writer, checkArgs as __essa_checkArgs, reply as __essa_reply, replyUnit as __essa_replyUnit, serve as __essa_serve } from "essa";
`;

// functionText is a function's stub and its export.
export function functionText(f) {
  const list = f.params.map((p) => `${p.name}: ${p.text}`).join(", ");
  const future = `__essa_Future<${f.result ? f.result.text : "__essa_Unit"}>`;
  const args = f.params.length > 0 ? "__essa_w" : "null";
  const write = (f.params.length > 0 ? " const __essa_w = new __essa_Writer();" : "") + f.params.map((p) => ` __essa_w.write<${p.text}>(${p.name});`).join("");
  const read = f.params.length === 0 ? "" : " const __essa_r = __essa_serve(__essa_n);" +
    f.params.map((p, i) => ` const __essa_a${i} = __essa_r.read<${p.text}>();`).join("") + ` __essa_checkArgs("${f.exported}", __essa_r);`;
  const call = `${f.name}(${f.params.map((_, i) => `__essa_a${i}`).join(", ")})`;
  const end = f.result ? `__essa_reply<${f.result.text}>(${call});` : `${call}; __essa_replyUnit();`;
  const wrapper = `__essa_wrapper__${f.exported}`;
  return `${f.isExported ? "export " : ""}function ${f.stub}(${list}): ${future} {${write} return new ${future}("${wrapper}", ${args}); }
export function ${wrapper}(__essa_n: i32): void {${read} ${end} }
`;
}

// classText is a class's methods, on one line.
export function classText(c) {
  const write = c.fields.map((f) => ` w.write<${f.text}>(this.${f.name});`).join("");
  const read = c.fields.map((f) => ` this.${f.name} = r.read<${f.text}>();`).join("");
  const parent = (method, v) => (c.extends ? ` super.${method}(${v});` : "");
  return ` writeBincode(w: __essa_Writer): void {${parent("writeBincode", "w")}${write} }` +
    ` readBincode(r: __essa_Reader): void {${parent("readBincode", "r")}${read} } `;
}

// snakeCase is the name by which a function is known outside unless it says another: the one its namesake in Rust has.
export function snakeCase(name) {
  const upper = (c) => c !== c.toLowerCase();
  let out = "";
  for (let i = 0; i < name.length; i++) {
    const c = name[i], before = name[i - 1], after = name[i + 1];
    const begins = i > 0 && upper(c) && before !== "_" && (!upper(before) || (after !== undefined && after !== after.toUpperCase()));
    out += (begins ? "_" : "") + c.toLowerCase();
  }
  return out;
}
