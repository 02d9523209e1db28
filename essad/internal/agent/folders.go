package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/essa-project/essad/sdk/status"
)

// folders are the daemon's places on disk. The data folder is locked while the daemon lives, so that no plugin of a second
// one ever opens what this one has open.
type folders struct {
	data    string
	plugins string // sockets of plugins
	lock    *flock.Flock
}

// formatVersion is the version of the data folder's layout. A newer one is refused, for it may hold what this version
// would lose.
const formatVersion = 1

func (a *Agent) openFolders(context.Context) error {
	f := &folders{data: a.cfg.Node.DataDir, plugins: filepath.Join(a.cfg.Node.RuntimeDir, "plugins")}
	for _, dir := range []string{f.data, a.cfg.Node.RuntimeDir} {
		if err := privateDir(dir); err != nil {
			return err
		}
	}
	f.lock = flock.New(filepath.Join(f.data, "lock"), flock.SetPermissions(0o600))
	ok, err := f.lock.TryLock()
	if err != nil {
		return status.Errorf(status.Invalid, "lock the data folder %s: %w", f.data, err)
	}
	if !ok {
		return status.Errorf(status.Conflict,
			"another essad has the data folder %s open; stop it, or give this one a node.data_dir of its own", f.data)
	}
	if err := f.checkFormat(); err != nil {
		_ = f.lock.Unlock()
		return err
	}
	a.folders = f
	a.push("folders", func(context.Context) error { return f.lock.Close() })
	return nil
}

// privateDir makes a folder that nobody else can read. One that exists is taken as it is: its owner may have opened it on
// purpose (systemd makes RuntimeDirectory 0755).
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return status.Errorf(status.Invalid, "make folder: %w (choose another with node.data_dir or node.runtime_dir)", err)
	}
	probe := filepath.Join(dir, ".essad-write-test")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return status.Errorf(status.Invalid, "folder %s cannot be written: %w", dir, err)
	}
	if err := os.Remove(probe); err != nil && !errors.Is(err, fs.ErrNotExist) { // another daemon's probe has the same name
		return status.Errorf(status.Invalid, "folder %s: %w", dir, err)
	}
	return nil
}

func (f *folders) checkFormat() error {
	path := filepath.Join(f.data, "format")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFormat(path)
	}
	if err != nil {
		return status.Errorf(status.Invalid, "read the data folder's format: %w", err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	switch {
	case err != nil:
		return status.Errorf(status.Corrupt, "%s holds %q, not a format version: is %s a data folder of essad?", path, raw, f.data)
	case v > formatVersion:
		return status.Errorf(status.Invalid,
			"data folder %s has format %d, and this essad knows formats up to %d: use a newer essad", f.data, v, formatVersion)
	}
	return nil
}

func writeFormat(path string) error {
	if err := os.WriteFile(path, []byte(strconv.Itoa(formatVersion)+"\n"), 0o600); err != nil {
		return fmt.Errorf("stamp the data folder: %w", err)
	}
	return nil
}

func (f *folders) store(name string) string { return filepath.Join(f.data, "store", name) }

func (f *folders) engineCache(name string) string { return filepath.Join(f.data, "cache", name) }

// pluginDirs lists where plugins are looked for: the configured folder alone, or the two places beside the program.
func (a *Agent) pluginDirs() []string {
	if d := a.cfg.Node.PluginDir; d != "" {
		return []string{d}
	}
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	bin := filepath.Dir(exe)
	return []string{filepath.Join(bin, "..", "lib", "essad", "plugins"), filepath.Join(bin, "lib", "essad", "plugins"), bin}
}
