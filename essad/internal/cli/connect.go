package cli

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

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

// trusted reports whether nobody but the user can have put a socket where userSocket says. The user's runtime folder is the
// system's promise; the one in the temporary folder anybody may have made first.
func trusted(socket string) bool {
	if os.Getenv("XDG_RUNTIME_DIR") != "" {
		return true
	}
	fi, err := os.Lstat(filepath.Dir(socket))
	if err != nil || !fi.IsDir() || fi.Mode().Perm()&0o022 != 0 {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// socket finds the daemon: the flag, the environment, the user's own daemon, the system's.
func (a *app) socket() string {
	if a.address != "" {
		return a.address
	}
	if s := os.Getenv("ESSA_ADDRESS"); s != "" {
		return s
	}
	if _, err := os.Stat(userSocket()); err == nil && trusted(userSocket()) {
		return userSocket()
	}
	return systemSocket
}

// ownSocket reports whether the daemon is reached by a socket of this machine.
func (a *app) ownSocket() bool { return true }

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
