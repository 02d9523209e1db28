package transport

import (
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/status"
)

// The algebra is tested where it is; here it is that callers get a class with its errors.
func TestValidKeyExpr(t *testing.T) {
	for _, k := range []string{"a", "a/*/**", "a/$*b", "@a/b", "ä/ö"} {
		if err := ValidKeyExpr(k); err != nil {
			t.Error(err)
		}
	}
	for _, k := range []string{"", "/a", "a//b", "a/**/*", "a*", "a#b", "a\xffb", strings.Repeat("a", MaxKeyBytes+1)} {
		err := ValidKeyExpr(k)
		if status.Of(err) != status.Invalid || !strings.Contains(err.Error(), "key expression") {
			t.Errorf("%.40q: %v", k, err)
		}
	}
}
