// Package gateway is the daemon's door for HTTP: figures for Prometheus, and whether the daemon is alive and ready.
//
// It listens only where it is configured to, and offers nothing that changes anything. It may import what a role may.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// Options are what a gateway is made of.
type Options struct {
	Listen string // host:port
	Status func(context.Context) *essav1.NodeStatus
	Ready  func() bool
}

// Server is a listening gateway.
type Server struct {
	http *http.Server
	ln   net.Listener
}

// Listen opens the gateway's address; Run serves it.
func Listen(o Options) (*Server, error) {
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, status.Errorf(status.Invalid, "metrics.listen: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &nodeCollector{o.Status})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !o.Ready() {
			http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return &Server{ln: ln, http: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}, nil
}

// Addr is where the gateway listens.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Run serves until Close.
func (s *Server) Run() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// Close ends the gateway: requests under way have until ctx ends.
func (s *Server) Close(ctx context.Context) error { return s.http.Shutdown(ctx) }

// nodeCollector turns the daemon's status into figures when they are asked for.
type nodeCollector struct {
	status func(context.Context) *essav1.NodeStatus
}

// figure is one metric of a daemon.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*essav1.NodeStatus) (float64, bool)
}

func newFigure(name, help string, kind prometheus.ValueType, of func(*essav1.NodeStatus) (float64, bool)) figure {
	return figure{prometheus.NewDesc("essad_"+name, help, nil, nil), kind, of}
}

func ofScheduler(get func(*essav1.SchedulerStatus) float64) func(*essav1.NodeStatus) (float64, bool) {
	return func(n *essav1.NodeStatus) (float64, bool) {
		if n.Scheduler == nil {
			return 0, false
		}
		return get(n.Scheduler), true
	}
}

func ofExecutor(get func(*essav1.ExecutorInfo) float64) func(*essav1.NodeStatus) (float64, bool) {
	return func(n *essav1.NodeStatus) (float64, bool) {
		if n.Executor == nil {
			return 0, false
		}
		return get(n.Executor), true
	}
}

func ofKVS(get func(*essav1.KVSStatus) float64) func(*essav1.NodeStatus) (float64, bool) {
	return func(n *essav1.NodeStatus) (float64, bool) {
		if n.Kvs == nil {
			return 0, false
		}
		return get(n.Kvs), true
	}
}

func ofFabric(get func(*essav1.FabricStatus) float64) func(*essav1.NodeStatus) (float64, bool) {
	return func(n *essav1.NodeStatus) (float64, bool) {
		if n.Fabric == nil {
			return 0, false
		}
		return get(n.Fabric), true
	}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var figures = []figure{
	newFigure("start_time_seconds", "When the daemon started, in seconds since 1970.", gauge,
		func(n *essav1.NodeStatus) (float64, bool) { return float64(n.StartedUnixNano) / 1e9, true }),
	newFigure("fabric_links", "Daemons, routers and clients that the daemon is linked to.", gauge,
		ofFabric(func(f *essav1.FabricStatus) float64 { return float64(len(f.Links)) })),
	newFigure("fabric_refused_total", "What clients asked for and may not do.", counter,
		ofFabric(func(f *essav1.FabricStatus) float64 { return float64(f.Refused) })),
	newFigure("fabric_dropped_total", "Messages that links had no room for.", counter,
		ofFabric(func(f *essav1.FabricStatus) float64 { return float64(f.Dropped) })),
	newFigure("scheduler_calls_total", "Calls and runs taken.", counter,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(s.Calls) })),
	newFigure("scheduler_calls_failed_total", "Calls and runs that ended in an error.", counter,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(s.Failed) })),
	newFigure("scheduler_calls_retried_total", "Attempts after the first of a call.", counter,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(s.Retried) })),
	newFigure("scheduler_calls_in_flight", "Calls and runs under way.", gauge,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(s.InFlight) })),
	newFigure("scheduler_calls_queued", "Calls that wait for an executor.", gauge,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(s.Queued) })),
	newFigure("scheduler_executors", "Executors that the scheduler knows.", gauge,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(len(s.Executors)) })),
	newFigure("executor_calls_in_flight", "Invocations under way.", gauge,
		ofExecutor(func(e *essav1.ExecutorInfo) float64 { return float64(e.InFlight) })),
	newFigure("executor_kills_total", "Calls that went on past their deadline, so that their engine was killed.", counter,
		ofExecutor(func(e *essav1.ExecutorInfo) float64 { return float64(e.Strikes) })),
	newFigure("executor_quarantined", "Versions of deployments, and modules, whose calls are refused.", gauge,
		ofExecutor(func(e *essav1.ExecutorInfo) float64 { return float64(len(e.Quarantine)) })),
	newFigure("executor_quarantine_refused_total", "Calls that the executor refused because of a quarantine.", counter,
		ofExecutor(func(e *essav1.ExecutorInfo) float64 { return float64(e.Refused) })),
	newFigure("scheduler_quarantine_refused_total", "Calls that the scheduler refused because an executor has their deployment in quarantine.", counter,
		ofScheduler(func(s *essav1.SchedulerStatus) float64 { return float64(s.Quarantined) })),
	newFigure("executor_fuel_total", "Fuel used by calls and runs that ended well, in units of about an instruction of the guest.", counter,
		ofExecutor(func(e *essav1.ExecutorInfo) float64 { return float64(e.Fuel) })),
	newFigure("kvs_keys", "Keys stored, an estimate.", gauge, ofKVS(func(k *essav1.KVSStatus) float64 { return float64(k.Keys) })),
	newFigure("kvs_memory_bytes", "Bytes of values in memory.", gauge,
		ofKVS(func(k *essav1.KVSStatus) float64 { return float64(k.MemoryBytes) })),
	newFigure("kvs_disk_bytes", "Bytes of the store on disk; negative where unknown.", gauge,
		ofKVS(func(k *essav1.KVSStatus) float64 { return float64(k.DiskBytes) })),
	newFigure("kvs_gets_total", "Reads.", counter, ofKVS(func(k *essav1.KVSStatus) float64 { return float64(k.Gets) })),
	newFigure("kvs_puts_total", "Writes.", counter, ofKVS(func(k *essav1.KVSStatus) float64 { return float64(k.Puts) })),
	newFigure("kvs_misses_total", "Reads that had to ask the store.", counter,
		ofKVS(func(k *essav1.KVSStatus) float64 { return float64(k.Misses) })),
}

var (
	pluginUp = prometheus.NewDesc("essad_plugin_up", "1 while the plugin's process is ready.", pluginLabels, nil)
	restarts = prometheus.NewDesc("essad_plugin_restarts_total", "Starts of the plugin after the first.", pluginLabels, nil)
)

// pluginLabels tell plugins apart; a store has shard 0.
var pluginLabels = []string{"name", "kind", "shard"}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range figures {
		ch <- f.desc
	}
	ch <- pluginUp
	ch <- restarts
}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n := c.status(ctx)
	for _, f := range figures {
		if v, ok := f.of(n); ok {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v)
		}
	}
	for _, p := range n.Plugins {
		up := 0.0
		if p.State == "ready" {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(pluginUp, gauge, up, p.Name, p.Kind, strconv.Itoa(int(p.Shard)))
		ch <- prometheus.MustNewConstMetric(restarts, counter, float64(p.Restarts), p.Name, p.Kind, strconv.Itoa(int(p.Shard)))
	}
}
