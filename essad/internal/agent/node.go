package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/essad/internal/supervisor"
	"github.com/essa-project/essad/sdk/client"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// startNode answers for the daemon as a whole: what it is, and that it is there.
func (a *Agent) startNode(context.Context) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	a.push("node", func(context.Context) error { return s.Close() })
	statusKey, pingKey := topic.Default.Admin("node", "status"), topic.Default.Ping(a.cfg.Node.Name)
	pong, err := proto.Marshal(&essav1.Pong{Node: a.cfg.Node.Name, Id: a.fabric.id()})
	if err != nil {
		return err
	}
	_, err = s.Queryable(statusKey, transport.QueryableOptions{}, func(q transport.Query) {
		st := a.status(q.Context())
		a.fabric.measure(q.Context(), st.Fabric)
		st.Plugins, st.Installed = pluginStatus(a.plugins.Describe()), a.plugins.Installed()
		raw, err := proto.Marshal(st)
		if err != nil {
			_ = transport.ReplyStatus(q, status.Errorf(status.Internal, "node: encode the status: %v", err))
			return
		}
		_ = q.Reply(statusKey, raw, transport.ReplyOptions{})
	})
	if err != nil {
		return err
	}
	_, err = s.Queryable(pingKey, transport.QueryableOptions{Inline: true}, func(q transport.Query) {
		_ = q.Reply(pingKey, q.Payload(), transport.ReplyOptions{Attachment: pong})
	})
	return err
}

func (a *Agent) status(ctx context.Context) *essav1.NodeStatus {
	n := &essav1.NodeStatus{
		Node: a.cfg.Node.Name, Version: Version, StartedUnixNano: a.started.UnixNano(), Roles: a.roles(), Pid: hostPID(),
	}
	n.Fabric = a.fabric.status(a.cfg.Fabric.Mode)
	n.Plugins = pluginStatus(a.plugins.Status())
	if a.executor != nil {
		n.Executor = a.executor.Info()
	}
	if a.scheduler != nil {
		n.Scheduler = a.scheduler.Status()
	}
	if a.kvs != nil {
		st := a.kvs.Stats(ctx)
		n.Kvs = &essav1.KVSStatus{
			Keys: st.Keys, MemoryBytes: st.MemoryBytes, Gets: st.Gets, Puts: st.Puts, Hits: st.Hits, Misses: st.Misses,
			DiskBytes: st.DiskBytes, Store: a.cfg.KVS.Store, Durability: a.cfg.KVS.Durability,
		}
	}
	return n
}

func pluginStatus(all []supervisor.PluginStatus) []*essav1.PluginStatus {
	out := make([]*essav1.PluginStatus, 0, len(all))
	for _, p := range all {
		s := &essav1.PluginStatus{
			Name: p.Name, Kind: p.Kind, State: p.State.String(), Pid: int32(p.PID), Restarts: int32(p.Restarts),
			LastError: p.LastError, Version: p.Version, Shard: int32(p.Shard), Shards: int32(p.Shards),
			Capabilities: p.Capabilities, Path: p.Path, Sha256: p.SHA256, Plugin: p.Plugin,
		}
		if !p.Started.IsZero() {
			s.StartedUnixNano = p.Started.UnixNano()
		}
		out = append(out, s)
	}
	// In the order of the configuration's names, not in that in which the processes happened to start.
	slices.SortStableFunc(out, func(a, b *essav1.PluginStatus) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Shard, b.Shard))
	})
	return out
}

// measure fills in the round trips of the links.
func (f *fabric) measure(ctx context.Context, st *essav1.FabricStatus) {
	trips := f.trips(ctx)
	for _, l := range st.Links {
		l.RttNano = int64(trips[l.Id])
	}
}

// trips measures the round trip to all daemons at once, by the ids of their nodes of the fabric. Who does not answer in time is left out.
func (f *fabric) trips(ctx context.Context) map[string]time.Duration {
	ctx, cancel := context.WithTimeout(ctx, pingWait)
	defer cancel()
	out := map[string]time.Duration{}
	for range 3 { // the first one finds sleepers; the shortest is what the way takes
		err := client.New(f.self).Ping(ctx, "*", nil, func(p client.Pong) {
			if had, ok := out[p.ID]; !ok || p.RTT < had {
				out[p.ID] = p.RTT
			}
		})
		if err != nil {
			break
		}
	}
	return out
}
