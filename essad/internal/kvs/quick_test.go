package kvs_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	fabric "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

var (
	overZenoh bool // start uses a Zenoh hub, whose queries are answered on the goroutine that reads them
	twoAtOnce bool // and a disk that is given two batches at a time
)

// The tests of what a writer is told, once more with those that wait on no goroutine, and with two batches under way.
func TestQuick(t *testing.T) {
	defer func() { overZenoh, twoAtOnce = false, false }()
	for _, overZenoh = range []bool{false, true} {
		twoAtOnce = true
		t.Run(map[bool]string{false: "bus", true: "zenoh"}[overZenoh], testQuick)
	}
}

func testQuick(t *testing.T) {
	for _, x := range []struct {
		name string
		test func(*testing.T)
	}{
		{"AcknowledgedWritesSurvive", TestAcknowledgedWritesSurvive},
		{"WriterLeaves", TestWriterLeaves},
		{"SyncOnDemand", TestSyncOnDemand},
		{"WritersShareAnFsync", TestWritersShareAnFsync},
		{"StoreComesBack", TestStoreComesBack},
		{"StoreFails", TestStoreFails},
		{"StoreFailsForGood", TestStoreFailsForGood},
		{"StopWithFailedStore", TestStopWithFailedStore},
		{"FullWriteBuffer", TestFullWriteBuffer},
		{"StopWithStuckStore", TestStopWithStuckStore},
		{"StopWritesEverything", TestStopWritesEverything},
		{"CorruptRecord", TestCorruptRecord},
		{"TwoUnderWay", testTwoUnderWay},
		{"Group", testGroup},
	} {
		t.Run(x.name, x.test)
	}
}

// Two batches are under way at once. Where the first one fails, the second, which the disk may have taken all the same, is
// not acknowledged before the first has been sent again, and leaves what is newer.
func testTwoUnderWay(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d})
	ctx := ctxOf(t)
	if _, err := n.kvs.Set(ctx, user, "", []byte("k"), []byte("0"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		failure := status.Errorf(status.Unavailable, "away")
		stuck := make(chan struct{})
		d.set(func(d *disk) { d.stuck, d.fail = stuck, failure })
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				if _, err := n.kvs.Set(ctx, user, "", []byte("k"), fmt.Append(nil, round, "/", i), client.PutOptions{}); err != nil {
					t.Error(err)
				}
			})
			for before := time.Now(); n.underWay() <= i && time.Since(before) < 5*time.Second; {
				time.Sleep(100 * time.Microsecond)
			}
		}
		if w := n.underWay(); w != 2 {
			t.Fatalf("%d batches are under way", w)
		}
		// The first one fails, the second does not.
		d.set(func(d *disk) { d.stuck, d.failures = nil, 1 })
		close(stuck)
		wg.Wait()
		d.set(func(d *disk) { d.fail = nil })
		want := fmt.Sprint(round, "/", 1)
		items, err := d.safe.Get(ctx, [][]byte{[]byte("\x01\x00k")})
		if err != nil || !bytes.Contains(items[0].Value, []byte(want)) {
			t.Fatalf("the disk has %q, %v; want %s", items[0].Value, err, want)
		}
	}
}

// underWay is how many batches were started and not waited for to the end.
func (n *node) underWay() int {
	s := n.running.(*starter)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// hub is a node of which the role is a session, and every client a client.
type hub struct {
	t    testing.TB
	node *zenoh.Node
	at   string
}

func newHub(t testing.TB) *hub {
	t.Helper()
	at := "unixsock-stream/" + filepath.Join(t.TempDir(), "hub")
	node, err := zenoh.OpenNode(context.Background(), zenoh.Config{Mode: zenoh.ModeRouter, Listen: []zenoh.Listen{{Endpoint: at}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	return &hub{t: t, node: node, at: at}
}

// Role implements bus.
func (h *hub) Role() transport.Session {
	h.t.Helper()
	s, err := h.node.Session()
	if err != nil {
		h.t.Fatal(err)
	}
	return fabric.Wrap(s)
}

// Open implements bus.
func (h *hub) Open() transport.Session {
	h.t.Helper()
	s, err := fabric.Open(context.Background(), zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{h.at}, NoReconnect: true})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}
