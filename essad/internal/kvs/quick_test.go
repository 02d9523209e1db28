package kvs_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/essa-project/essad/sdk/transport"
	fabric "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

// overZenoh has start use a Zenoh hub, whose queries are answered on the goroutine that reads them.
var overZenoh bool

// The tests of what a writer is told, once more with those that wait on no goroutine.
func TestOverZenoh(t *testing.T) {
	overZenoh = true
	defer func() { overZenoh = false }()
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
		{"FullWriteBuffer", TestFullWriteBuffer},
		{"StopWithStuckStore", TestStopWithStuckStore},
		{"StopWritesEverything", TestStopWritesEverything},
		{"CorruptRecord", TestCorruptRecord},
		{"LargestValue", TestLargestValue},
		{"AbsentKeys", TestAbsentKeys},
	} {
		t.Run(x.name, x.test)
	}
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
