// The few encodings that tests write by hand.

export const join = (...parts) => Uint8Array.from(parts.flatMap((p) => [...p]));
export const hex = (text) => Uint8Array.from(text.trim().split(/\s+/).filter(Boolean), (b) => parseInt(b, 16));
export const u32 = (v) => bytes(4, (d) => d.setUint32(0, v, true));
export const u64 = (v) => bytes(8, (d) => d.setBigUint64(0, BigInt.asUintN(64, BigInt(v)), true));
export const f64 = (v) => bytes(8, (d) => d.setFloat64(0, v, true));
export const f32 = (v) => bytes(4, (d) => d.setFloat32(0, v, true));
export const vec = (raw) => join(u64(raw.length), raw);
export const str = (text) => vec(new TextEncoder().encode(text));
export const show = (raw) => Buffer.from(raw).toString("hex");

function bytes(n, set) {
  const out = new Uint8Array(n);
  set(new DataView(out.buffer));
  return out;
}

// A Result whose error is a String: the value's bytes, or { err }.
export function result(raw) {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  if (view.getUint32(0, true) === 0) return raw.slice(4);
  return { err: new TextDecoder().decode(raw.slice(12, 12 + Number(view.getBigUint64(4, true)))) };
}

export const textOf = (raw) => new TextDecoder().decode(raw.slice(8));
