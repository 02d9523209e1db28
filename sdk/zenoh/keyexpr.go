package zenoh

import (
	"fmt"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
)

// KeyExpr is a valid key expression in canonical form. The zero value is none, and an error everywhere.
type KeyExpr struct{ s string }

// NewKeyExpr checks that s is a valid key expression in canonical form; its error is an ErrKeyExpr.
func NewKeyExpr(s string) (KeyExpr, error) {
	if err := keyexpr.Valid(s); err != nil {
		return KeyExpr{}, fmt.Errorf("%w: %w", ErrKeyExpr, err)
	}
	return KeyExpr{s}, nil
}

// NewKeyExprAutocanonized brings s into canonical form, as "a/**/*" into "a/*/**".
func NewKeyExprAutocanonized(s string) (KeyExpr, error) {
	c, err := keyexpr.Canon(s)
	if err != nil {
		return KeyExpr{}, fmt.Errorf("%w: %w", ErrKeyExpr, err)
	}
	return KeyExpr{c}, nil
}

// MustKeyExpr is NewKeyExpr for constants: it panics where s is not valid.
func MustKeyExpr(s string) KeyExpr {
	k, err := NewKeyExpr(s)
	if err != nil {
		panic(err)
	}
	return k
}

// String returns the text of the key expression.
func (k KeyExpr) String() string { return k.s }

// IsZero reports whether k is none.
func (k KeyExpr) IsZero() bool { return k.s == "" }

// Intersects reports whether some key matches both.
func (k KeyExpr) Intersects(other KeyExpr) bool { return keyexpr.Intersects(k.s, other.s) }

// Includes reports whether every key that matches other matches k.
func (k KeyExpr) Includes(other KeyExpr) bool { return keyexpr.Includes(k.s, other.s) }

// Join returns k, a slash and s, in canonical form.
func (k KeyExpr) Join(s string) (KeyExpr, error) { return NewKeyExprAutocanonized(k.s + "/" + s) }

// Concat returns k with s appended, which must be a valid key expression.
func (k KeyExpr) Concat(s string) (KeyExpr, error) { return NewKeyExpr(k.s + s) }

func (k KeyExpr) check() error {
	if k.s == "" {
		return fmt.Errorf("%w: none was given", ErrKeyExpr)
	}
	return nil
}
