package transport

import (
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
)

// Bounds of key expressions: of all, and of those with wildcards.
const (
	MaxKeyBytes  = keyexpr.MaxBytes
	MaxWildBytes = keyexpr.MaxWildBytes
)

// ValidKeyExpr returns an Invalid error unless s is a key expression in Zenoh's canonical form: chunks separated by "/",
// none empty, where "*" stands for one chunk, "**" for any number, "$*" inside a chunk for any characters, and a chunk
// that starts with "@" is matched only by itself. There are at most keyexpr.MaxChunks of them.
func ValidKeyExpr(s string) error {
	if err := keyexpr.Valid(s); err != nil {
		return status.Errorf(status.Invalid, "%w", err)
	}
	return nil
}

// Wild reports whether the valid key expression s holds a wildcard.
func Wild(s string) bool { return keyexpr.Wild(s) }

// Intersects reports whether some key matches both of the valid key expressions a and b.
func Intersects(a, b string) bool { return keyexpr.Intersects(a, b) }

// Includes reports whether every key that matches the valid key expression b matches the valid key expression a too.
func Includes(a, b string) bool { return keyexpr.Includes(a, b) }
