// Package supervisor runs plugins: it finds their programs, checks and starts them, watches over them, restarts them when
// they end, and stops them.
//
// Who asks for an engine or a store gets an engine.Engine or a storage.Store that outlives the plugin's process. While a
// process is replaced, new calls wait for the next one, within bounds; calls that were under way fail as Unavailable,
// except those of a store, which are sent again (batches hold absolute values and keep their order per shard).
//
// A restart is immediate at first and then backs off exponentially. A plugin that refuses its settings, or finds its data
// corrupt, is not started again: it has failed, and every call says why. No plugin outlives the daemon: it sees the end of
// its connection, and the kernel kills it when the thread that started it is gone, which is why all are started by one
// goroutine that keeps its thread until the last of them has ended.
//
// A call that its engine does not end in time after its deadline is the end of the engine's process, for a guest that holds
// it cannot be reached otherwise. Which call it was is told (EngineSpec.Killed), and time that the process had no processor
// is not held against it.
//
// Only package agent imports it. It may import sdk/{plugin,engine,storage,status}, go-plugin and hclog.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// Options of a supervisor. Zero durations mean the defaults.
type Options struct {
	Logger hclog.Logger // plugins' own logs go here, too
	// PluginDir are the folders that are searched for programs, in order.
	PluginDir []string
	// RuntimeDir holds the plugins' sockets; nobody else may use it. It is made with mode 0700 and swept at start. Where it
	// is empty a temporary folder is made.
	RuntimeDir string
	// Observe is told of every change of a plugin's state. It must not wait.
	Observe func(PluginStatus)

	StartTimeout time.Duration // from starting a process to its being configured; 20 s
	StableAfter  time.Duration // a process that lived as long as this is restarted at once; 10 s
	MaxBackoff   time.Duration // between two starts; 5 s
	HealthEvery  time.Duration // how often progress is looked at; 1 s
	// HealthTimeout is how long a plugin may give no sign of life while requests wait for it; 15 s.
	HealthTimeout time.Duration
	// CancelTimeout is how long an engine may go on with a call that was cancelled; 2 s.
	CancelTimeout time.Duration
	StopTimeout   time.Duration // a process that was asked to end is killed after this; 5 s
	DrainTimeout  time.Duration // how long requests may go on when a plugin is stopped or asks for its end; 10 s
}

func (o Options) orDefault() Options {
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{
		{&o.StartTimeout, 20 * time.Second},
		{&o.StableAfter, 10 * time.Second},
		{&o.MaxBackoff, 5 * time.Second},
		{&o.HealthEvery, time.Second},
		{&o.HealthTimeout, 15 * time.Second},
		{&o.CancelTimeout, 2 * time.Second},
		{&o.StopTimeout, 5 * time.Second},
		{&o.DrainTimeout, 10 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return o
}

// program is what engines and stores have in common.
type program struct {
	kind     plugin.Kind
	name     string // unique among the kind; messages use it
	block    string // name as the configuration has it
	shard    int
	shards   int
	plugin   string // the program is essad-plugin-PLUGIN
	path     string // or this one
	sha256   string
	settings map[string]string
	env      []string
}

// EngineSpec says which engine to start and how.
type EngineSpec struct {
	Name     string
	Shard    int    // which of Shards processes of this name it is, from 0
	Shards   int    // 0 means 1
	Plugin   string // the program is essad-plugin-PLUGIN; "" means Name
	Path     string // or this one
	SHA256   string // of the program, hexadecimal; "" means unchecked
	Settings map[string]string
	Env      []string // "K=V"; a plugin gets nothing of the daemon's own environment
	Border   engine.Border

	// KillAfter is how long after its deadline a call may go on before its process has to give a sign of life; without one
	// in the same time again it is killed, and with one if the call goes on for 20 times as long: no other stop has reached
	// its guest. 0 means 10 ms, less means never.
	KillAfter time.Duration
	// Killed is told of each call because of which the process is killed: it has gone on past its deadline and cannot be
	// ended otherwise. Calls that die with it are not among them. It must not wait.
	Killed func(LateCall)
	// MaxWait bounds how long a call waits for a process that is being replaced; 0 means 10 s, less means not at all.
	MaxWait time.Duration
}

// StoreSpec says which store to start and how.
type StoreSpec struct {
	Name     string
	Plugin   string // the program is essad-plugin-PLUGIN; "" means Name
	Path     string // or this one
	SHA256   string // of the program, hexadecimal; "" means unchecked
	Settings map[string]string
	Env      []string // "K=V"; a plugin gets nothing of the daemon's own environment

	// MaxWait bounds how long a request is carried over restarts of the process; 0 means 30 s, less means not at all.
	MaxWait time.Duration
}

// State of a plugin.
type State uint8

// The states.
const (
	Starting State = iota
	Ready
	BackingOff // it ended; the next start waits
	Draining   // it gets no new requests and ends when those under way are done
	Failed     // it will not be started again
	Stopped
)

// String names the state.
func (s State) String() string {
	return [...]string{"starting", "ready", "backing-off", "draining", "failed", "stopped"}[s]
}

// PluginStatus is what is known of a plugin.
type PluginStatus struct {
	Name         string
	Kind         string // "engine" or "store"
	Shard        int
	Shards       int    // 0 for a store
	Plugin       string // what the plugin calls itself
	Version      string // likewise
	Capabilities []string
	Path         string
	SHA256       string // of the program that runs; only Describe tells it
	State        State
	Since        time.Time // of the state
	Started      time.Time // of the process; zero while there is none
	PID          int       // 0 while there is no process
	Restarts     int
	LastError    string
}

// Supervisor runs plugins.
type Supervisor struct {
	opts Options
	log  hclog.Logger
	dir  string // of the sockets
	temp bool   // dir is ours to remove

	launcher *launcher

	mu      sync.Mutex
	plugins []*supervised
	closed  bool

	sums sums
}

// New prepares the runtime folder. Nothing is started yet.
func New(o Options) (*Supervisor, error) {
	o = o.orDefault()
	s := &Supervisor{opts: o, log: o.Logger, dir: o.RuntimeDir, launcher: newLauncher()}
	if err := s.prepareDir(); err != nil {
		return nil, fmt.Errorf("runtime folder of the plugins: %w", err)
	}
	return s, nil
}

// socketPath is how much longer than the runtime folder the path of a socket is: go-plugin adds a folder and a name, both
// with a random number. maxSocketPath is the kernel's bound.
const (
	socketPath    = len("/plugin-dir") + 10 + len("/plugin") + 10
	maxSocketPath = 107
	socketDirs    = "plugin-dir*"
)

func (s *Supervisor) prepareDir() (err error) {
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "essad-plugins-")
		s.temp = true
		return err
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if n := len(s.dir) + socketPath; n > maxSocketPath {
		return status.Errorf(status.Invalid, "%q is too long: sockets in it would have paths of %d bytes, at most %d are possible", s.dir, n, maxSocketPath)
	}
	if err = os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	fi, err := os.Lstat(s.dir)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !fi.IsDir() || ok && int(st.Uid) != os.Geteuid() {
		return status.Errorf(status.Denied, "%q is not a folder of this user", s.dir)
	}
	if fi.Mode().Perm() != 0o700 {
		if err = os.Chmod(s.dir, 0o700); err != nil {
			return err
		}
	}
	stale, err := filepath.Glob(filepath.Join(s.dir, socketDirs))
	for _, d := range stale {
		err = errors.Join(err, os.RemoveAll(d))
	}
	return err
}

// Engine starts an engine and returns when it is ready, or says why it cannot be used.
func (s *Supervisor) Engine(ctx context.Context, spec EngineSpec) (*Engine, error) {
	e := newEngine(s, spec)
	if err := s.add(ctx, e.p); err != nil {
		return nil, err
	}
	return e, nil
}

// Store starts a store and returns when it is ready, or says why it cannot be used.
func (s *Supervisor) Store(ctx context.Context, spec StoreSpec) (storage.Store, error) {
	st := newStore(s, spec)
	if err := s.add(ctx, st.p); err != nil {
		return nil, err
	}
	return st, nil
}

// add starts p and watches over it from then on.
func (s *Supervisor) add(ctx context.Context, p *supervised) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return status.Errorf(status.Unavailable, "plugin %q: the supervisor is closed", p.name)
	}
	for _, o := range s.plugins {
		if o.name == p.name && o.kind == p.kind {
			s.mu.Unlock()
			return status.Errorf(status.Conflict, "%s plugin %q is running already", p.kind, p.name)
		}
	}
	s.plugins = append(s.plugins, p)
	s.mu.Unlock()
	err := p.begin(ctx)
	if err != nil {
		s.remove(p)
	}
	return err
}

func (s *Supervisor) remove(p *supervised) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugins = slices.DeleteFunc(s.plugins, func(o *supervised) bool { return o == p })
}

// Status tells of every plugin, in the order of their starts.
func (s *Supervisor) Status() []PluginStatus {
	s.mu.Lock()
	plugins := slices.Clone(s.plugins)
	s.mu.Unlock()
	out := make([]PluginStatus, len(plugins))
	for i, p := range plugins {
		out[i] = p.status()
	}
	return out
}

// Describe is Status with the hashes of the programs, which take a moment to compute the first time.
func (s *Supervisor) Describe() []PluginStatus {
	out := s.Status()
	for i := range out {
		if out[i].PID != 0 {
			out[i].SHA256 = s.sums.of(out[i].PID)
		}
	}
	return out
}

// Close stops all plugins, the last started first, and returns when no process is left. When ctx ends the remaining
// processes are killed.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	plugins := slices.Clone(s.plugins)
	s.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(plugins) {
		if err := p.stop(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	s.launcher.close()
	if s.temp {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
