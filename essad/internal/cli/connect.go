package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/local"
)

// systemSocket is where the packaged daemon listens.
const systemSocket = "/run/essad/essad.sock"

// userSocket is where `essad dev` listens: the user's runtime folder, or a folder of the user's own in the temporary one.
func userSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "essad.sock")
	}
	return filepath.Join(os.TempDir(), "essad-"+uidString(), "essad.sock")
}

// socket finds the daemon: the flag, the environment, the user's own daemon, the system's.
func (a *app) socket() string {
	if a.address != "" {
		return a.address
	}
	if s := os.Getenv("ESSA_ADDRESS"); s != "" {
		return s
	}
	if _, err := os.Stat(userSocket()); err == nil {
		return userSocket()
	}
	return systemSocket
}

// connect opens a session to the daemon.
func (a *app) connect(ctx context.Context) (transport.Session, error) {
	path := a.socket()
	s, err := local.Dial(ctx, path)
	if err != nil {
		return nil, status.Errorf(status.Unavailable,
			"no daemon at %s: %w (start one with `essad dev`, or name another with --address)", path, err)
	}
	return s, nil
}

// withClient runs f with a client of the daemon.
func (a *app) withClient(ctx context.Context, f func(*client.Client, transport.Session) error) error {
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(client.New(s), s)
}
