package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestFigures(t *testing.T) {
	var ready atomic.Bool
	s, err := Listen(Options{
		Listen: "127.0.0.1:0", Ready: ready.Load,
		Status: func(context.Context) *essav1.NodeStatus {
			return &essav1.NodeStatus{
				Scheduler: &essav1.SchedulerStatus{Calls: 7, Failed: 2, Quarantined: 6},
				Executor:  &essav1.ExecutorInfo{InFlight: 3, Strikes: 4, Refused: 9, Quarantine: []*essav1.Quarantine{{}}},
				Fabric:    &essav1.FabricStatus{Links: []*essav1.LinkStatus{{}, {}}, Refused: 5, Dropped: 1},
				Plugins:   []*essav1.PluginStatus{{Name: "wazero", Kind: "engine", State: "ready", Restarts: 3}},
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run() }()
	base := "http://" + s.Addr()
	if code, _ := get(t, base+"/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("a daemon that starts answers /readyz with %d", code)
	}
	ready.Store(true)
	if code, _ := get(t, base+"/readyz"); code != http.StatusOK {
		t.Errorf("a ready daemon answers /readyz with %d", code)
	}
	if code, body := get(t, base+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	_, body := get(t, base+"/metrics")
	for _, want := range []string{
		"essad_scheduler_calls_total 7", "essad_scheduler_calls_failed_total 2",
		"essad_fabric_links 2", "essad_fabric_refused_total 5", "essad_fabric_dropped_total 1",
		"essad_executor_calls_in_flight 3", "essad_executor_kills_total 4", "essad_executor_quarantined 1",
		"essad_executor_quarantine_refused_total 9", "essad_scheduler_quarantine_refused_total 6",
		`essad_plugin_up{kind="engine",name="wazero",shard="0"} 1`, `essad_plugin_restarts_total{kind="engine",name="wazero",shard="0"} 3`, "go_goroutines",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if strings.Contains(body, "essad_kvs_keys") {
		t.Error("/metrics has figures of a role that is off")
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListenError(t *testing.T) {
	_, err := Listen(Options{Listen: "127.0.0.1:99999"})
	if status.Of(err) != status.Invalid || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("error %v", err)
	}
}
