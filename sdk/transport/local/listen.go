package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/essa-project/essad/sdk/status"
)

// maxSocketPath is the longest path a unix socket may have on every system we run on.
const maxSocketPath = 103

// Listen listens on the unix socket path, for those whom mode permits. A socket file that a dead daemon left is replaced;
// one that somebody listens on is a Conflict. A lock on a file beside the socket, held while the listener is open, decides
// between two daemons that start at once; that file stays.
func Listen(path string, mode os.FileMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, status.Errorf(status.Invalid, "socket path %q has %d bytes, at most %d work (choose a shorter folder)",
			path, len(path), maxSocketPath)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	ln, err := replaceSocket(path, mode)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &listener{UnixListener: ln, path: path, lock: lock}, nil
}

func lockFile(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, listenError(path, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, conflict(path)
		}
		return nil, listenError(path, err)
	}
	return lock, nil
}

func conflict(path string) error {
	return status.Errorf(status.Conflict, "another daemon listens on %s (stop it, or configure another socket)", path)
}

func listenError(path string, err error) error {
	class := status.Unavailable
	if errors.Is(err, os.ErrPermission) {
		class = status.Denied
	}
	return status.Errorf(class, "listen on %s: %w", path, err)
}

// replaceSocket makes the socket in a folder that nobody else can enter and moves it into place once it has its mode, so
// that there is no moment at which others could connect.
func replaceSocket(path string, mode os.FileMode) (*net.UnixListener, error) {
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode()&os.ModeSocket == 0:
		return nil, status.Errorf(status.Conflict, "listen on %s: there is a file that is no socket", path)
	case err == nil:
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, conflict(path)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, listenError(path, err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, listenError(path, err)
	}
	defer os.RemoveAll(dir)
	// The path by way of the open folder is short, however deep the folder lies.
	d, err := os.Open(dir)
	if err != nil {
		return nil, listenError(path, err)
	}
	defer d.Close()
	made := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/s", d.Fd()), Net: "unix"})
	if errors.Is(err, os.ErrNotExist) { // no /proc
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	}
	if err != nil {
		return nil, listenError(path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(made, mode.Perm()); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		ln.Close()
		return nil, listenError(path, err)
	}
	return ln, nil
}

// listener takes the socket file away with it.
type listener struct {
	*net.UnixListener
	path string
	lock *os.File
	once sync.Once
	err  error
}

// Addr returns the path that clients dial.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close removes the socket before the lock, so that it cannot remove the next daemon's.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.err = l.UnixListener.Close()
		_ = os.Remove(l.path)
		_ = l.lock.Close()
	})
	return l.err
}
