package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// process is one daemon of the cluster in one life.
type process struct {
	name    string
	id      string // of its node of the fabric
	started time.Time
}

// older reports whether p was there before q; all daemons agree on it.
func (p process) older(q process) bool {
	if !p.started.Equal(q.started) {
		return p.started.Before(q.started)
	}
	return p.id < q.id
}

// members is who is in the cluster, as this daemon sees it, and whether this daemon may be. It is pure: tokens go in.
type members struct {
	self process
	kvs  bool // this daemon has that role

	mu     sync.Mutex
	here   map[string]process  // by id
	stores map[string]struct{} // names of daemons with the role kvs
}

func newMembers(self process, kvs bool) *members {
	return &members{self: self, kvs: kvs, here: map[string]process{}, stores: map[string]struct{}{}}
}

// daemon takes a token of a daemon that appears or is gone, and returns why this daemon may not stay.
func (m *members) daemon(p process, here bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !here {
		delete(m.here, p.id)
		return nil
	}
	m.here[p.id] = p
	return m.verdict()
}

// store takes a token of the role kvs.
func (m *members) store(name string, here bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !here {
		delete(m.stores, name)
		return nil
	}
	m.stores[name] = struct{}{}
	return m.verdict()
}

var errSameName = errors.New("another daemon of the cluster has the name")

// recheck is the verdict on what is here now.
func (m *members) recheck() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.verdict()
}

// verdict is the same on both sides of a conflict: the daemon that came later has to go.
func (m *members) verdict() error {
	for _, p := range m.here {
		if p.id == m.self.id || !p.older(m.self) {
			continue
		}
		if p.name == m.self.name {
			return status.Errorf(status.Conflict, "%w %q since %s: give each a node.name of its own",
				errSameName, p.name, p.started.UTC().Format(time.RFC3339))
		}
		if _, store := m.stores[p.name]; store && m.kvs {
			return status.Errorf(status.Conflict,
				"daemon %q has the role kvs since %s, and a cluster has one key-value store so far: take the block kvs {} out of the configuration of %q",
				p.name, p.started.UTC().Format(time.RFC3339), m.self.name)
		}
	}
	return nil
}

// nameOf returns the name of the daemon whose node of the fabric has an id, "" where it is none.
func (m *members) nameOf(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.here[id].name
}

// names lists the daemons that are here.
func (m *members) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]struct{}{}
	for _, p := range m.here {
		out[p.name] = struct{}{}
	}
	return slices.Sorted(maps.Keys(out))
}

// follow makes this daemon known to the others and follows who is in the cluster. expel is called, once, with the reason why this
// daemon cannot be in it.
func (a *Agent) follow(s transport.Session, m *members, expel func(error)) error {
	var once sync.Once
	check := func(err error) {
		switch {
		case err == nil:
		case errors.Is(err, errSameName):
			// It may be this daemon's life before, of which not everybody knows yet that it has ended.
			time.AfterFunc(2*a.cfg.Fabric.Lease.Std(), func() {
				if err := m.recheck(); err != nil {
					once.Do(func() { expel(err) })
				}
			})
		default:
			once.Do(func() { expel(err) })
		}
	}
	_, err := s.SubscribeLiveliness(topic.Default.Daemons(), true, func(x transport.Sample) {
		name, id, started, err := topic.Default.ParseDaemon(x.Key)
		if err != nil {
			a.log.Warn("a daemon's token cannot be read", "key", x.Key, "error", err)
			return
		}
		here := x.Kind == transport.Put
		if id != m.self.id {
			a.log.Info(map[bool]string{true: "daemon is here", false: "daemon is gone"}[here], "node", name)
		}
		check(m.daemon(process{name, id, started}, here))
	})
	if err != nil {
		return fmt.Errorf("follow the daemons: %w", err)
	}
	_, err = s.SubscribeLiveliness(topic.Default.Alive("kvs", "*"), true, func(x transport.Sample) {
		if _, name, err := topic.Default.ParseAlive(x.Key); err == nil {
			check(m.store(name, x.Kind == transport.Put))
		}
	})
	if err != nil {
		return fmt.Errorf("follow the key-value store: %w", err)
	}
	_, err = s.Token(topic.Default.Daemon(m.self.name, m.self.id, m.self.started))
	return err
}

// joined says how a list of endpoints reads in a log.
func joined(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}
