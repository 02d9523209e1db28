package topic

import (
	"strings"
	"unicode/utf8"

	"github.com/essa-project/essad/sdk/status"
)

const upperHex = "0123456789ABCDEF"

// reserved reports whether c means something in a key expression or in this encoding.
func reserved(c byte) bool {
	switch c {
	case '%', '/', '*', '$', '?', '#':
		return true
	}
	return c < 0x20 || c == 0x7f
}

// Encode turns any string into one chunk of a key expression. Bytes that mean something there, and those that are not
// UTF-8, become %XX; so does a leading "@", which would make the chunk verbatim. The empty string becomes "%".
func Encode(s string) string {
	if s == "" {
		return "%"
	}
	plain := true
	for i := 0; i < len(s); i++ {
		if reserved(s[i]) || s[i] >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain && s[0] != '@' {
		return s
	}
	return encodeSlow(s)
}

func encodeSlow(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if reserved(c) || (i == 0 && c == '@') {
				escape(&b, c)
			} else {
				b.WriteByte(c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			escape(&b, c)
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func escape(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteByte(upperHex[c>>4])
	b.WriteByte(upperHex[c&15])
}

// Decode turns a chunk back into the string it stands for. It also takes chunks in which more is escaped than Encode
// escapes, since foreign clients use the URL encoders of their languages.
func Decode(chunk string) (string, error) {
	if chunk == "%" {
		return "", nil
	}
	if chunk == "" {
		return "", status.Errorf(status.Invalid, "empty chunk in a key (an empty name is written %%)")
	}
	if strings.IndexByte(chunk, '%') < 0 {
		return chunk, nil
	}
	var b strings.Builder
	b.Grow(len(chunk))
	for i := 0; i < len(chunk); i++ {
		if chunk[i] != '%' {
			b.WriteByte(chunk[i])
			continue
		}
		if i+2 >= len(chunk) {
			return "", status.Errorf(status.Invalid, "chunk %q: %% must be followed by two hexadecimal digits", chunk)
		}
		hi, ok1 := unhex(chunk[i+1])
		lo, ok2 := unhex(chunk[i+2])
		if !ok1 || !ok2 {
			return "", status.Errorf(status.Invalid, "chunk %q: %% must be followed by two hexadecimal digits", chunk)
		}
		b.WriteByte(hi<<4 | lo)
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// wild encodes a chunk that names a node or a role, where "*" stands for all of them.
func wild(s string) string {
	if s == "*" {
		return s
	}
	return Encode(s)
}

// noArgs is the last chunk of a call whose arguments travel as its payload.
const noArgs = "-"

func encodeArgs(args string) string {
	switch args {
	case "":
		return noArgs
	case noArgs:
		return "%2D"
	}
	return Encode(args)
}

func decodeArgs(chunk string) (string, error) {
	if chunk == noArgs {
		return "", nil
	}
	return Decode(chunk)
}
