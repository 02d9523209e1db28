package supervisor

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/plugin"
)

// An engine has the daemon's timer slack, a store the usual one.
func TestTimerSlackOfPlugins(t *testing.T) {
	l := newLauncher()
	defer l.close()
	slackOf := func(k plugin.Kind) string {
		var out strings.Builder
		cmd := exec.Command("cat", "/proc/self/timerslack_ns")
		cmd.Stdout = &out
		if err := l.start(cmd, k); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Skip("this kernel tells no timer slack")
		}
		return strings.TrimSpace(out.String())
	}
	slackOf(plugin.EngineKind)
	l.own = 2_000_000 // as if the daemon had it
	if got := slackOf(plugin.EngineKind); got != "2000000" {
		t.Errorf("engine: %s", got)
	}
	if got := slackOf(plugin.StoreKind); got != "50000" {
		t.Errorf("store: %s", got)
	}
	if got := slackOf(plugin.EngineKind); got != "2000000" {
		t.Errorf("engine after a store: %s", got)
	}
}
