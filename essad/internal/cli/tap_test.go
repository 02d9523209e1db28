package cli

import (
	"strings"
	"testing"
)

func TestPreview(t *testing.T) {
	for in, want := range map[string]string{
		"":                                `""`,
		"hello":                           `"hello"`,
		"größe":                           `"größe"`,
		"a\nb":                            "610a62",
		"\x00\xff":                        "00ff",
		strings.Repeat("x", 60):           `"` + strings.Repeat("x", 48) + `"...`,
		strings.Repeat("x", 47) + "größe": `"` + strings.Repeat("x", 47) + `g"...`,
		strings.Repeat("x", 46) + "größe": `"` + strings.Repeat("x", 46) + `gr"...`,
		strings.Repeat("x", 45) + "größe": `"` + strings.Repeat("x", 45) + `gr"...`,
		strings.Repeat("\x01", 49):        strings.Repeat("01", 24) + "...",
	} {
		if got := preview([]byte(in)); got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
	}
}
