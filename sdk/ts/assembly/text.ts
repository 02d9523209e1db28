// The names and keys that imports are given, as UTF-8.

// A buffer of no bytes. That it is made when the module is initialised makes the allocator, too: a host that keeps what
// initialisation left does it once and not in every call.
export const nothing: ArrayBuffer = new ArrayBuffer(0);

// Names up to this many bytes are written into memory that is there for it; longer ones need some of their own.
const SHORT: i32 = 512;

// @ts-ignore: decorator
@lazy const room: usize = memory.data(512, 8);

// Text is the bytes of one name or key, until the next one is made. There is one object of it.
export class Text {
  at: usize = 0;
  length: u32 = 0;
  private own: ArrayBuffer = nothing;

  static of(text: string): Text {
    const n = String.UTF8.byteLength(text);
    const own = n <= SHORT ? nothing : new ArrayBuffer(n);
    const at = n <= SHORT ? room : changetype<usize>(own);
    String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, at, false, String.UTF8.ErrorMode.REPLACE);
    current.at = at;
    current.length = n;
    current.own = own;
    return current;
  }
}

const current: Text = new Text();
