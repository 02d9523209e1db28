@essa export class Numbers {
  a: bool = false;
  b: i8 = 0;
  c: i16 = 0;
  d: i32 = 0;
  e: i64 = 0;
  f: isize = 0;
  g: u8 = 0;
  h: u16 = 0;
  i: u32 = 0;
  j: u64 = 0;
  k: usize = 0;
  l: f32 = 0;
  m: f64 = 0;
  n: string = "";
  o: i32 = 0;
  p: u8 = 0;
  q: u16 = 0;
  r: i64 = 0;
}

// A file that is not the entry has functions, too.
@essa export function sum(n: Numbers): i64 { return n.e + n.r; }
