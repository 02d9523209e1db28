package e2e

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
)

// stopsFailed has a daemon stop whose store does not take what it still has. It is given some more than the two to three
// seconds that it takes: with patience it would be half of node.shutdown_timeout, which is 15.
func (d *daemon) stopsFailed(wants ...string) {
	d.t.Helper()
	plugins := d.children()
	begun := time.Now()
	d.end()
	took := time.Since(begun)
	d.t.Logf("stopped within %v", took)
	if took > 8*time.Second {
		d.t.Errorf("stopping took %v", took)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != codeUnavailable {
		d.t.Errorf("the daemon ended with code %d, want %d", code, codeUnavailable)
	}
	wantAll(d.t, "the daemon's last words", tail(d.log.String(), 1500), append(wants, "essad: stop kvs: ", "bytes of changes did not reach the store")...)
	d.gone(plugins)
}

// A daemon whose store has failed for good stops as soon as one that has not, and says what was lost and why.
func TestStopWithFailedStore(t *testing.T) {
	t.Parallel()
	fails := filepath.Join(t.TempDir(), "fails")
	d, _ := startConfig(t, fmt.Sprintf("routing {}\nkvs {\n  store = \"frail\"\n}\nstore \"frail\" {\n  settings = { fails = %q }\n}\n", fails))
	d.must("kvs", "PUT", "a", "b")
	if err := syscall.Mknod(fails, syscall.S_IFREG|0o600, 0); err != nil {
		t.Fatal(err)
	}
	d.fails(codeUnavailable, []string{"fsync", "may have been applied"}, "kvs", "PUT", "a", "c")
	d.fails(codeUnavailable, []string{"fsync", "takes no writes"}, "kvs", "PUT", "b", "c")
	d.stopsFailed("fsync")
}

// Nor is a full disk waited for. What was acknowledged under durability = "memory" is lost with it, and the daemon says so.
func TestStopWithFullDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size, says string
		flags      []string
	}{
		"last byte": {"size=48m", "no space left", []string{"--set", "store.pebble.settings.min_free=0"}},
		"reserve":   {"size=176m", "min_free", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "small")
			if !mount(t, dir, c.size) {
				t.Skip("cannot mount a small file system")
			}
			d := newDaemon(t, dir, append(c.flags, "--set", "kvs.durability=memory")...)
			d.start()
			d.cleanUp()
			_, k := d.client()
			var err error
			for i := 0; err == nil && i < 1000; i++ {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, err = k.Set(ctx, client.UserSpace, "", fmt.Append(nil, i), bytes.Repeat([]byte{byte(i)}, 256<<10), client.PutOptions{})
				cancel()
			}
			if err == nil {
				t.Fatalf("a file system of %s took 250 MiB", c.size)
			}
			d.stopsFailed(c.says)
		})
	}
}
