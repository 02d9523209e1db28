package keyexpr

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a valid key expression. Comparing two that both have wildcards takes time proportional to the product of their
// lengths, hence the lower bound for those.
const (
	MaxBytes     = 16 << 10
	MaxWildBytes = 2 << 10
	MaxChunks    = 512
)

// Error is why a text is not a valid key expression.
type Error struct {
	Key string // its beginning, if it is long
	Why string
}

// Error returns what is wrong with which key expression.
func (e *Error) Error() string { return fmt.Sprintf("key expression %q: %s", e.Key, e.Why) }

func invalid(s, why string) error {
	const shown = 200
	if len(s) > shown {
		s = s[:shown] + "..."
	}
	return &Error{Key: strings.Clone(s), Why: why}
}

// Valid returns an *Error unless s is a key expression in canonical form.
func Valid(s string) error {
	if why := whyInvalid(s); why != "" {
		return invalid(s, why)
	}
	return nil
}

// Wild reports whether the valid key expression s has a wildcard.
func Wild(s string) bool { return strings.IndexByte(s, '*') >= 0 }

// plain reports whether s is valid, concrete and ASCII: the usual key of a message, which is checked in one pass.
func plain(s string) bool {
	if s == "" || len(s) > MaxBytes || s[len(s)-1] == '/' {
		return false
	}
	last, chunks := byte('/'), 1
	for i := range len(s) {
		c := s[i]
		if special[c] {
			if c != '/' || last == '/' {
				return false
			}
			chunks++
		}
		last = c
	}
	return chunks <= MaxChunks
}

// special are the bytes that plain has to look at.
var special = func() (t [256]bool) {
	for _, c := range "/*$#?" {
		t[c] = true
	}
	for c := utf8.RuneSelf; c < len(t); c++ {
		t[c] = true
	}
	return t
}()

// whyInvalid says what is wrong with s, or returns "".
func whyInvalid(s string) string {
	if plain(s) {
		return ""
	}
	if why := outOfBounds(s); why != "" {
		return why
	}
	afterStars := false
	for i := 0; i <= len(s); {
		var chunk string
		chunk, i = cut(s, i)
		switch chunk {
		case "":
			return "it has an empty chunk (a leading, trailing or double slash)"
		case "*", "**":
			if afterStars {
				return `"*" or "**" after "**" (write "*/**", or "**" once)`
			}
			afterStars = chunk == "**"
			continue
		}
		afterStars = false
		if why := invalidChunk(chunk); why != "" {
			return why
		}
	}
	return ""
}

func outOfBounds(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > MaxBytes:
		return "it is longer than 16 KiB"
	case len(s) > MaxWildBytes && Wild(s):
		return "it has wildcards and is longer than 2 KiB"
	case strings.Count(s, "/") >= MaxChunks:
		return "it has more than 512 chunks"
	case !utf8.ValidString(s):
		return "it is not UTF-8"
	}
	return ""
}

// invalidChunk checks a chunk that is neither "*" nor "**".
func invalidChunk(chunk string) string {
	if chunk == "$*" {
		return `a chunk "$*" (write "*")`
	}
	for i := 0; i < len(chunk); i++ {
		switch chunk[i] {
		case '#', '?':
			return `"#" and "?" cannot be part of it`
		case '*':
			return `"*" inside a chunk (write "$*")`
		case '$':
			if i+1 >= len(chunk) || chunk[i+1] != '*' {
				return `"$" without "*" after it`
			}
			if strings.HasPrefix(chunk[i+2:], "$*") {
				return `"$*$*" (write "$*")`
			}
			i++
		}
	}
	return ""
}

// cut returns the chunk of s that begins at i and where the next one does, which is len(s)+1 after the last.
func cut(s string, i int) (chunk string, next int) {
	if n := strings.IndexByte(s[i:], '/'); n >= 0 {
		return s[i : i+n], i + n + 1
	}
	return s[i:], len(s) + 1
}

// Canon returns the canonical form of s, or an *Error if it has none: "a/**/*" becomes "a/*/**", "a/$*" becomes "a/*".
func Canon(s string) (string, error) {
	if whyInvalid(s) == "" {
		return s, nil
	}
	if len(s) > MaxBytes {
		return "", invalid(s, "it is longer than 16 KiB")
	}
	var b strings.Builder
	b.Grow(len(s))
	deep := false // a "**" is due, once the run of "*" and "**" has ended
	for i := 0; i <= len(s); {
		var chunk string
		chunk, i = cut(s, i)
		chunk = collapse(chunk)
		if chunk == "**" {
			deep = true
			continue
		}
		if deep && chunk != "*" {
			appendChunk(&b, "**")
			deep = false
		}
		appendChunk(&b, chunk)
	}
	if deep {
		appendChunk(&b, "**")
	}
	c := b.String()
	if why := whyInvalid(c); why != "" {
		return "", invalid(s, why)
	}
	return c, nil
}

// appendChunk appends a chunk, which is empty only where s is invalid anyway: the slash before it then makes the result
// invalid, too.
func appendChunk(b *strings.Builder, chunk string) {
	if b.Len() > 0 || chunk == "" {
		b.WriteByte('/')
	}
	b.WriteString(chunk)
}

// collapse brings a chunk into its canonical form.
func collapse(chunk string) string {
	for strings.Contains(chunk, "$*$*") {
		chunk = strings.ReplaceAll(chunk, "$*$*", "$*")
	}
	if chunk == "$*" {
		return "*"
	}
	return chunk
}
