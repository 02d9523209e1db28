package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/client"
)

// The ids of ps are what `essad result` takes, not what protobuf makes of bytes.
func TestProcessInJSON(t *testing.T) {
	raw, err := json.Marshal(processesOf([]*client.Process{{Id: []byte("0123456789abcdef"), Kind: "run"}}))
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(raw, &got); err != nil || got[0]["id"] != "30313233343536373839616263646566" || got[0]["kind"] != "run" {
		t.Errorf("%s, %v", raw, err)
	}
}

// A folder that somebody else could have made does not lead to a daemon.
func TestTrustedSocket(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o777: false, 0o720: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if got := trusted(filepath.Join(dir, "s")); got != want {
			t.Errorf("mode %v: trusted %v", mode, got)
		}
	}
	link := filepath.Join(t.TempDir(), "l")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if trusted(filepath.Join(link, "s")) || trusted("/nowhere/s") {
		t.Error("a link and a folder that is not there are trusted")
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if s := userSocket(); !strings.HasPrefix(s, dir) || !trusted(s) {
		t.Errorf("the user's runtime folder: %s", s)
	}
}
