//go:build zenohc

package e2e

import (
	"strings"
	"testing"
)

func init() { tags = "zenohc" }

// The demo in clusters of which some daemons speak with the official library and others with ours, in every pair of roles that
// have much to say to each other. Who is lost and comes back is known to both kinds.
func TestMixedCluster(t *testing.T) {
	for _, native := range [][]string{{"kvs", "executor"}, {"scheduler"}, {"kvs", "scheduler", "executor"}} {
		t.Run(strings.Join(native, " "), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, "tcp", native...)
			c.start()
			d := c.daemons["routing"]
			checkDemo(t, d.must("run", guest("test-function")))
			d.must("deploy", "hello", guest("hello"))
			d.must("call", "hello", "sign", "--arg", "Ada")
			c.daemons["kvs"].kill()
			c.daemons["kvs"].start()
			eventually(t, "the guestbook is there again", func() bool {
				r := d.run("call", "hello", "guests")
				return r.code == 0 && strings.Contains(r.out, "Ada")
			})
			for _, name := range fourRoles { // each is a door for who may open its socket
				c.daemons[name].must("call", "hello", "guests")
			}
			wantAll(t, "status", d.must("status"), "node kvs", "node routing", "node scheduler", "node executor")
			for _, role := range fourRoles {
				c.daemons[role].stop()
			}
		})
	}
}
