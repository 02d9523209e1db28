package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/essa-project/essad/sdk/status"
)

// programPrefix begins the names of plugins' programs.
const programPrefix = "essad-plugin-"

// find returns the program of a plugin.
func (s *Supervisor) find(p *program) (string, error) {
	if p.path != "" {
		return p.path, executable(p.path)
	}
	if strings.ContainsAny(p.plugin, "/\x00") || p.plugin == "" {
		return "", status.Errorf(status.Invalid, "%q is not a plugin's name", p.plugin)
	}
	var tried []string
	for _, dir := range s.opts.PluginDir {
		path := filepath.Join(dir, programPrefix+p.plugin)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if status.Of(err) != status.NotFound {
			return "", err
		}
		tried = append(tried, path)
	}
	return "", status.Errorf(status.NotFound, "%s plugin %q has no program; looked for %s; install it there or set the plugin's path",
		p.kind, p.name, strings.Join(tried, ", "))
}

// Installed lists the names of all plugins whose programs are in the folders that are searched.
func (s *Supervisor) Installed() []string {
	var out []string
	for _, dir := range s.opts.PluginDir {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // most often there is no such folder, and nothing in it
		}
		for _, e := range entries {
			name, is := strings.CutPrefix(e.Name(), programPrefix)
			if is && name != "" && executable(filepath.Join(dir, e.Name())) == nil {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return status.Errorf(status.NotFound, "plugin program %q does not exist", path)
	case err != nil:
		return status.Errorf(status.Invalid, "plugin program: %w", err)
	case !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0:
		return status.Errorf(status.Invalid, "plugin program %q is not executable", path)
	}
	return nil
}

func checksum(path, want string) error {
	if want == "" {
		return nil
	}
	got, err := hashOf(path)
	if err != nil {
		return status.Errorf(status.Invalid, "plugin program: %w", err)
	}
	if !strings.EqualFold(got, want) {
		return status.Errorf(status.Denied, "plugin program %q has SHA-256 %s, not %s as configured; it is not started", path, got, strings.ToLower(want))
	}
	return nil
}

func hashOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sums remembers the hashes of programs that run. Several processes, one after the other or side by side, run one program.
type sums struct {
	mu    sync.Mutex
	known map[fileID]string
}

// fileID tells a file from others, and from what it was before it was written to.
type fileID struct {
	dev, ino uint64
	size     int64
	changed  syscall.Timespec
}

// maxSums bounds what is remembered; there are fewer programs, but they may be replaced.
const maxSums = 64

// of returns the hash of what a process runs, which need not be what stands under its name by now; "" where it cannot be
// read, most often because the process has just ended.
func (s *sums) of(pid int) string {
	path := fmt.Sprintf("/proc/%d/exe", pid)
	fi, err := os.Stat(path)
	if err != nil {
		return ""
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	id := fileID{uint64(st.Dev), st.Ino, st.Size, st.Ctim} //nolint:unconvert // Dev has another type elsewhere
	s.mu.Lock()
	defer s.mu.Unlock() // two that ask at once need it computed once
	if sum := s.known[id]; sum != "" {
		return sum
	}
	sum, err := hashOf(path)
	if err != nil {
		return ""
	}
	if s.known == nil || len(s.known) >= maxSums {
		s.known = map[fileID]string{}
	}
	s.known[id] = sum
	return sum
}
