// Package plugin carries the contracts of engines and of stores over a process border: what a plugin's main function calls
// to serve one, and what the host calls to use it.
//
// A plugin is a program named essad-plugin-NAME that the daemon starts. Its main function is one call:
//
//	func main() { plugin.ServeEngine(newEngine, plugin.About{Name: "mine", Version: "1.0"}) }
//
// go-plugin starts it, agrees on the version of the control service and carries that over gRPC: who the plugin is, its
// settings, its health and its logs. What must be fast travels as frames (sdk/frame) over a socketpair that the plugin
// inherits as descriptor 3, both ways: invocations and what they ask of their host, batches, reads. A plugin that cannot
// use a descriptor says so and gets the same frames over one gRPC stream; its bodies are documented protobuf
// (sdk/proto/plugin/v1/frames.proto).
//
// Errors keep their class, detail and text in both directions; contexts travel with deadline and cancellation. When the
// other side is gone, everything that waits for it ends as Unavailable, and what had not left yet carries the detail
// status.DetailSafe. A plugin ends when its connection ends. It ignores SIGINT and SIGHUP, which a terminal sends to every
// process of the daemon's group; on SIGTERM it asks the host to drain it.
//
// Logs of a plugin go through the hclog.Logger it is given: they arrive in the daemon's log.
//
// It may import sdk/{engine,storage,frame,status,hlc,proto}, go-plugin, gRPC, protobuf and hclog. Plugins and the
// daemon's supervisor import it.
package plugin

import (
	"context"
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
)

// ControlVersion is the newest version of the control service.
const ControlVersion = 1

// EnvDescriptor is the variable that tells a plugin the number of its inherited connection.
const EnvDescriptor = "ESSAD_PLUGIN_FD"

// EnvLogLevel is the variable that tells a plugin how much to log, in hclog's words.
const EnvLogLevel = "ESSAD_PLUGIN_LOG"

// Handshake is what host and plugins agree on before versions: it keeps people from starting a plugin by hand.
var Handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  ControlVersion,
	MagicCookieKey:   "ESSAD_PLUGIN",
	MagicCookieValue: "6f1d0c9e5b0b4f0f9a3a8f7c2d41e6b8",
}

// controlName is the name of the only plugin of a set. Info tells whether it is an engine or a store.
const controlName = "essad"

// Versions is what a host offers to go-plugin: every version of the control service that it speaks.
func Versions() map[int]goplugin.PluginSet { return versions(nil) }

func versions(srv pluginv1.ControlServer) map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{ControlVersion: {controlName: &control{srv: srv}}}
}

// control is the control service in go-plugin's terms.
type control struct {
	goplugin.NetRPCUnsupportedPlugin
	srv pluginv1.ControlServer // nil in a host
}

func (c *control) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	if c.srv == nil {
		return errors.New("a host serves no plugin")
	}
	pluginv1.RegisterControlServer(s, c.srv)
	return nil
}

func (c *control) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return pluginv1.NewControlClient(cc), nil
}
