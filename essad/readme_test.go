package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/sdk/status"
)

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestReadmeExitCodes holds the table of exit codes against the one in sdk/status.
func TestReadmeExitCodes(t *testing.T) {
	text := readme(t)
	for _, c := range status.Classes() {
		if row := fmt.Sprintf("| %d | `%s` |", c.ExitCode(), c); !strings.Contains(text, row) {
			t.Errorf("README.md has no row %q", row)
		}
	}
}

// TestReadmeConfiguration loads the configurations that README.md shows.
func TestReadmeConfiguration(t *testing.T) {
	blocks := strings.Split(readme(t), "```hcl\n")[1:]
	if len(blocks) < 3 {
		t.Fatalf("README.md shows %d configurations", len(blocks))
	}
	for _, rest := range blocks {
		block, _, closed := strings.Cut(rest, "```")
		if !closed {
			t.Fatal("README.md does not end a configuration")
		}
		if _, _, err := config.Load(config.Sources{Inline: []config.Inline{{Name: "README.md", Data: []byte(block)}}}); err != nil {
			t.Errorf("%v\nin\n%s", err, block)
		}
	}
}

// TestReadmeLinks wants every file that README.md links to.
func TestReadmeLinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(readme(t), -1)
	if len(links) == 0 {
		t.Fatal("README.md has no links")
	}
	for _, m := range links {
		if strings.Contains(m[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(m[1]))); err != nil {
			t.Errorf("README.md links to %s: %v", m[1], err)
		}
	}
}
