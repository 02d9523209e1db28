package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Whoever reads JSON learns the class of a wrong command line, too.
func TestUsageAsJSON(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-o", "json", "call"}, streams{os.Stdin, &out, &out}); code != exitUsage ||
		!strings.Contains(out.String(), `"class":"invalid"`) {
		t.Errorf("exit code %d: %s", code, &out)
	}
}

// Who named no daemon is told where one was looked for.
func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv(envAddress, "")
	if _, err := os.Stat(systemSocket); err == nil {
		t.Skip("this machine has a daemon")
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"status"}, streams{os.Stdin, &out, &out}); code != 69 ||
		!strings.Contains(out.String(), "no daemon at "+userSocket()+", nor at "+systemSocket) {
		t.Errorf("exit code %d: %s", code, &out)
	}
}

func TestNamed(t *testing.T) {
	for key, want := range map[string]string{
		"": `""`, "a\n": `"a\n"`, strings.Repeat("k", 64): `"` + strings.Repeat("k", 64) + `"`,
		strings.Repeat("k", 65): `"` + strings.Repeat("k", 64) + `"...`,
	} {
		if got := named(key); got != want {
			t.Errorf("%q is named %s, want %s", key, got, want)
		}
	}
}
