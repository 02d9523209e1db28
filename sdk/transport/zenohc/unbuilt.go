//go:build !zenohc

package zenohc

import (
	"context"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// Open fails: this program was built without libzenohc.
func Open(context.Context, zenoh.Config) (transport.Session, error) { return nil, errUnbuilt() }

// OpenNode fails: this program was built without libzenohc.
func OpenNode(context.Context, zenoh.Config) (Node, error) { return nil, errUnbuilt() }

func errUnbuilt() error {
	return status.Safe(status.Errorf(status.Unavailable, "this program was built without libzenohc: "+
		"build it with cgo, libzenohc 1.9 (with its unstable API) and -tags zenohc, or use essad's own implementation"))
}
