package wire

// maxZint is how many bytes a number has at most. The ninth has eight bits of it and no continuation bit, which is why
// encoding/binary's varints do not serve.
const maxZint = 9

// AppendZint appends v in 1 to 9 bytes: seven bits each, the lowest first, bit 7 set where more follow.
func AppendZint(b []byte, v uint64) []byte {
	for i := 1; v >= 0x80; i++ {
		if i == maxZint {
			break
		}
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// Zint reads a number from the front of b, and how many bytes it has.
func Zint(b []byte) (v uint64, n int, err error) {
	if v, n = zint(b); n == 0 {
		return 0, 0, ErrShort
	}
	return v, n, nil
}

// zint is Zint; n is 0 where b is too short.
func zint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i == maxZint-1 {
			return v | uint64(c)<<56, maxZint
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// zintLen returns how many bytes v takes.
func zintLen(v uint64) int {
	n := 1
	for ; v >= 0x80 && n < maxZint; n++ {
		v >>= 7
	}
	return n
}
