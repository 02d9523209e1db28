package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path a unix socket may have on every system we run on.
const maxSocketPath = 103

// ErrInUse is in the error of an endpoint that is not listened on because somebody else does.
var ErrInUse = errors.New("somebody listens there already")

// listenUnix listens on the socket path for those whom mode permits. A socket file that a dead process left is replaced.
// A lock on a file beside the socket, held while the listener is open, decides between two processes that start at once;
// that file stays.
func listenUnix(path string, mode UnixMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("path has %d bytes, at most %d work", len(path), maxSocketPath)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, err
	}
	ln, err := replaceSocket(path, mode)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &unixListener{UnixListener: ln, path: path, lock: lock}, nil
}

// replaceSocket makes the socket in a folder that nobody else can enter and moves it into place once it has its mode and
// group, so that there is no moment at which others could connect.
func replaceSocket(path string, mode UnixMode) (*net.UnixListener, error) {
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode()&os.ModeSocket == 0:
		return nil, errors.New("there is a file that is no socket")
	case err == nil:
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, ErrInUse
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// The path by way of the open folder is short, however deep the folder lies.
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	made := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/s", d.Fd()), Net: "unix"})
	if errors.Is(err, os.ErrNotExist) { // no /proc
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	}
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err = place(made, path, mode); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

func place(made, path string, mode UnixMode) error {
	if mode.Group != 0 {
		if err := os.Chown(made, -1, mode.Group); err != nil {
			return err
		}
	}
	if err := os.Chmod(made, mode.Mode.Perm()); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// unixListener takes the socket file away with it.
type unixListener struct {
	*net.UnixListener
	path string
	lock *os.File
	once sync.Once
	err  error
}

// Close removes the socket before the lock, so that it cannot remove the next process's.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		l.err = l.UnixListener.Close()
		_ = os.Remove(l.path)
		_ = l.lock.Close()
	})
	return l.err
}
