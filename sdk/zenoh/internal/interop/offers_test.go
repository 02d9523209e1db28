package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/zenoh"
)

func runScenarios(t *testing.T, a, b end, names ...string) {
	t.Helper()
	for _, s := range scenarios {
		if len(names) == 0 || slices.Contains(names, s.name) {
			base := "offers/" + strings.ReplaceAll(s.name, " ", "-")
			t.Run(s.name+"/there", func(t *testing.T) { s.run(t, a, b, base+"/there") })
			t.Run(s.name+"/back", func(t *testing.T) { s.run(t, b, a, base+"/back") })
		}
	}
}

// TestOffers runs the scenarios in which frames, fragments and sequence numbers matter most, and has them offer what we decline, and settle for less than we offer.
func TestOffers(t *testing.T) {
	for _, x := range []struct {
		name   string
		theirs []string
		batch  uint16 // ours
		qos    bool   // what they must find settled
	}{
		{"shared memory", []string{"transport/shared_memory/enabled", "true"}, 0, true},
		{"compression", []string{"transport/unicast/compression/enabled", "true"}, 0, true},
		{"no qos", []string{"transport/unicast/qos/enabled", "false"}, 0, false},
		{"low latency", []string{"transport/unicast/qos/enabled", "false", "transport/unicast/lowlatency", "true"}, 0, false},
		{"their small batches", []string{"transport/link/tx/batch_size", "256"}, 0, true},
		{"our small batches", nil, 256, true},
		{"8 bit", []string{"transport/link/tx/sequence_number_resolution", `"8bit"`}, 1024, true},
		{"16 bit", []string{"transport/link/tx/sequence_number_resolution", `"16bit"`}, 2048, true},
	} {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			withPythons(t, func(t *testing.T, py python) {
				sizes := "fragments"
				if x.batch == 0 && x.name != "their small batches" {
					sizes = "sizes"
				}
				c := config(zenoh.ModeRouter)
				c.Listen, c.BatchSize = []zenoh.Listen{{Endpoint: anyPort}}, x.batch
				hub := open(t, c)
				client := &theirs{
					startPeer(t, py, "client", append(dialling(hub.Locators()...), x.theirs...)...), "their client",
				}
				i := client.do(t, "info", nil)
				if fmt.Sprint(i.SHM) != "[false]" || fmt.Sprint(i.QoS) != fmt.Sprintf("[%v]", x.qos) {
					t.Fatalf("shared memory %v, QoS %v; want [false], [%v]", i.SHM, i.QoS, x.qos)
				}
				runScenarios(t, hub, client, "attributes", "order", "query", sizes)
				client.do(t, "close", nil) // or its shared memory stays

				at := freePort(t)
				router := &theirs{startPeer(t, py, "router", append(listening(at), x.theirs...)...), "their router"}
				c = config(zenoh.ModeClient)
				c.Connect, c.BatchSize = []string{at}, x.batch
				runScenarios(t, open(t, c), router, "attributes", "order", "query", sizes)
				router.do(t, "close", nil)
			})
		})
	}
}
