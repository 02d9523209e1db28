package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/essa-project/essad/config"
)

// Every command that --help lists has a page that says what --help says, and every key of the configuration is explained.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	if code := run(t.Context(), []string{"man", dir}, streams{os.Stdin, os.Stdout, os.Stderr}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	macro := regexp.MustCompile(`(?m)^\.(TH|SH|SS|TP|PP|nf|fi|br)( |$)`)
	read := func(name string) string {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if (line[0] == '.' && !macro.MatchString(line)) || line[0] == '\'' {
				t.Errorf("%s: a line of text is taken for a command: %s", name, line)
			}
		}
		return string(raw)
	}
	root := (&app{}).root()
	root.InitDefaultHelpCmd()
	pages := documented(root)
	if len(pages) < 30 {
		t.Errorf("%d pages", len(pages))
	}
	for _, c := range pages {
		text := read("man1/" + pageOf(c) + ".1")
		for _, want := range []string{roff(c.Short), ".SH SYNOPSIS", roff(strings.Split(c.Example, "\n")[0])} {
			if !strings.Contains(text, want) {
				t.Errorf("the page of %q does not say %q", c.CommandPath(), want)
			}
		}
	}
	if text := read("man1/essad-call.1"); !strings.Contains(text, `\fB\-\-arg stringArray\fR`) || !strings.Contains(text, `\-\-timeout duration`) {
		t.Errorf("essad-call.1 has not all options:\n%s", text)
	}
	text := read("man5/essad.hcl.5")
	for _, k := range config.Keys() {
		if !k.Block && !strings.Contains(text, roff(k.Path)) {
			t.Errorf("essad.hcl.5 does not explain %s", k.Path)
		}
	}
}

func TestManualFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"man", file}, streams{os.Stdin, &out, &out}); code != 65 || !strings.Contains(out.String(), "manual") {
		t.Errorf("exit code %d: %s", code, &out)
	}
}
