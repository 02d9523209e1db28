// Tells whether n bytes in memory are anything but UTF-8: the decoder of the standard library takes what comes.
export function utf8Error(at: usize, n: usize): bool {
  const end = at + n;
  while (at < end) {
    const c = load<u8>(at);
    const size = sequence(c);
    if (size == 0 || at + size > end) return true;
    at += size;
    if (size == 1) continue;
    const p = at - size, second = load<u8>(p, 1);
    // What would be too long a form, half a surrogate pair, or beyond Unicode shows in the second byte.
    const least: u8 = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    const most: u8 = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return true;
    if (size > 2 && (load<u8>(p, 2) & 0xc0) != 0x80) return true;
    if (size > 3 && (load<u8>(p, 3) & 0xc0) != 0x80) return true;
  }
  return false;
}

// The length of the sequence that begins with c, 0 where none does.
export function sequence(c: u8): usize {
  if (c < 0x80) return 1;
  if (c < 0xc2 || c > 0xf4) return 0;
  return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}
