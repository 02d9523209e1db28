package agent

import (
	"context"
	"path/filepath"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/sdk/transport/zenohc"
	"github.com/essa-project/essad/sdk/zenoh"
)

// openNative opens the node of the official library, where the configuration asks for it. The roles' sessions are then its own,
// and it has the endpoints of the mesh. The library asks no policy, so clients stay with the daemon's other node, which is one
// more peer of the mesh for their sake: c is its configuration, and becomes that of what is left for it.
func (f *fabric) openNative(ctx context.Context, cfg *config.Config, c *zenoh.Config) error {
	n := *c
	n.Listen = nil
	if c.Uplink {
		n.Mode, n.Uplink = zenoh.ModeClient, false
	} else {
		n.Mode = zenoh.ModePeer
		inner := "unixsock-stream/" + filepath.Join(cfg.Node.RuntimeDir, "mesh.sock")
		var clients []zenoh.Listen
		for _, l := range c.Listen {
			if l.Relation == zenoh.RelationSouth {
				clients = append(clients, l)
			} else {
				n.Listen = append(n.Listen, l)
				f.mesh = append(f.mesh, l.Endpoint)
			}
		}
		n.Listen = append(n.Listen, zenoh.Listen{Endpoint: inner})
		c.Listen, c.Connect = clients, append(append([]string(nil), c.Connect...), inner)
	}
	var err error
	f.native, err = zenohc.OpenNode(ctx, n)
	return err
}

// id is that of the node by which the others know this daemon.
func (f *fabric) id() string {
	if f.native != nil {
		return f.native.ID()
	}
	return f.node.ID().String()
}

// locators are where others reach this daemon.
func (f *fabric) locators() []string { return append(f.node.Locators(), f.mesh...) }

// transports are the links that a status shows: those that the other node has to daemons only repeat the library's.
func (f *fabric) transports() []zenoh.Transport {
	all := f.node.Transports()
	if f.native == nil {
		return all
	}
	out := f.native.Transports()
	for _, t := range all {
		if t.Relation == zenoh.RelationSouth {
			out = append(out, t)
		}
	}
	return out
}
