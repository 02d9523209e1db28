package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// disk is the folder in which admitted modules and their native code outlive the process. Several processes may use one.
//
//	admitted/KEY   an admitted module: its facts, its rewritten bytes and the names of its files of native code
//	native/...     files of native code, named by the backend
//	images/KEY.*   what instances of it begin with: its data, laid out, and its memory after initialisation
//	seals/KEY      which of those files were found whole since the machine was started
//	making/...     what is being compiled
//
// Files are renamed into place when they are complete, and carry a checksum. KEY is made of the module's hash, of what
// decides how it is rewritten and compiled, and of the program, so a changed one never reads what another wrote.
type disk struct {
	dir    string
	most   int64
	suffix []byte // what the key is made of beside the module
	log    func(string, ...any)
	mu     sync.Mutex // sweeping
}

// Folders of the cache.
const (
	admittedDir = "admitted"
	nativeDir   = "native"
	imagesDir   = "images"
	sealsDir    = "seals"
	makingDir   = "making"
)

// Kinds of images.
const baseImage = "data"

func snapImage(warmUp string) string {
	if warmUp == "" {
		return "snapshot"
	}
	sum := sha256.Sum256([]byte(warmUp))
	return "snapshot-" + hex.EncodeToString(sum[:8])
}

// leftover is how old a file that belongs to nothing must be to be removed: another process may be making it.
const leftover = time.Hour

// NativeDir returns the folder for the backend's native code within a cache folder.
func NativeDir(cacheDir string) string { return filepath.Join(cacheDir, nativeDir) }

// openDisk makes the folder where there is none, and removes what is left over in it.
func openDisk(dir string, most int64, info engine.Info, o admit.Options, log func(string, ...any)) (*disk, error) {
	d := &disk{dir: dir, most: most, log: log}
	for _, sub := range []string{"", admittedDir, nativeDir, imagesDir, sealsDir, makingDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make the cache of modules: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache of modules private: %w", err)
	}
	program, err := programHash()
	if err != nil {
		return nil, fmt.Errorf("tell this program from others: %w", err)
	}
	d.suffix = fmt.Appendf(nil, "\n%s %s\n%s\n%+v\n%s", info.Name, info.Version, program, o, cpuFeatures())
	return d, d.sweep()
}

// programHash returns the hash of the running program, computed once.
var programHash = sync.OnceValues(func() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		name, exeErr := os.Executable()
		if exeErr != nil {
			return "", exeErr
		}
		if f, err = os.Open(name); err != nil {
			return "", err
		}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
})

// cpuFeatures returns what the kernel says the first processor can do; empty where it says nothing.
func cpuFeatures() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "flags") || strings.HasPrefix(line, "Features") {
			return line
		}
	}
	return ""
}

func (d *disk) path(id string) string {
	sum := sha256.Sum256(append([]byte(id), d.suffix...))
	return filepath.Join(d.dir, admittedDir, hex.EncodeToString(sum[:]))
}

// imagePath names an image of a module.
func (d *disk) imagePath(id, kind string) string {
	return filepath.Join(d.dir, imagesDir, filepath.Base(d.path(id))+"."+kind)
}

// load returns what is kept of a module, or nil where it is not all there. With sums the files of native code are checked; an
// engine that checks them itself need not read them twice.
func (d *disk) load(id string, sums bool) *artefact {
	path := d.path(id)
	b, changed, err := readSmall(path)
	if err != nil {
		return nil
	}
	a, err := decodeArtefact(b)
	if err != nil {
		d.log("a cached module is damaged and is made again", "file", path)
		return nil
	}
	a.seals = openSeals(d.sealsPath(id))
	for _, n := range a.Native {
		file := filepath.Join(d.dir, nativeDir, n.Name)
		info, err := os.Stat(file)
		if err != nil {
			return nil
		}
		if sums && !a.seals.check(file, info, n.Sum) {
			d.log("cached native code is damaged and is made again", "file", file)
			d.remove(id)
			return nil
		}
	}
	if a.Base {
		if _, err := os.Stat(d.imagePath(id, baseImage)); err != nil {
			return nil
		}
	}
	if now := time.Now(); now.Sub(changed) > usedWithin {
		_ = os.Chtimes(path, now, now) // for sweep, which removes what was used least recently; not critical
	}
	return a
}

// usedWithin is how exactly it is known when a module was used last: writing that down costs as much as reading the module.
const usedWithin = time.Minute

// readSmall reads a file and tells when it was changed last. It asks the kernel for less than package os, which looks whether
// a file can be waited for: of a cold start on a fast engine that is some of the time.
func readSmall(path string) (b []byte, changed time.Time, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, time.Time{}, err
	}
	b = make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := unix.Read(fd, b[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, time.Time{}, err
		case m == 0: // somebody has shortened it
			return b[:n], time.Time{}, nil
		}
		n += max(m, 0)
	}
	return b, time.Unix(st.Mtim.Unix()), nil
}

// store keeps an admitted module, and moves its native code from a folder of making into place.
func (d *disk) store(id string, a *artefact, made string) error {
	kept := *a
	if a.layout != nil {
		im, err := snapshot.Create(d.imagePath(id, baseImage), a.layout, nil)
		if err == nil {
			err = im.Close()
		}
		if err != nil {
			return fmt.Errorf("keep the module's data: %w", err)
		}
		kept.Base = true
	}
	err := filepath.WalkDir(made, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(made, path)
		if err != nil {
			return err
		}
		sum, err := sumOf(path)
		if err != nil {
			return err
		}
		kept.Native = append(kept.Native, native{name, sum})
		to := filepath.Join(d.dir, nativeDir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.Rename(path, to)
	})
	if err != nil {
		return fmt.Errorf("keep native code: %w", err)
	}
	return writeFile(d.path(id), true, kept.encode())
}

// writeFile writes a file of which there is all or nothing; with sync also after a crash of the machine.
func writeFile(path string, sync bool, contents []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(contents)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// making returns a new folder for a backend to compile into. The caller removes it.
func (d *disk) making() (string, error) {
	return os.MkdirTemp(filepath.Join(d.dir, makingDir), "module-")
}

// kept is an admitted module as sweep sees it.
type kept struct {
	path   string
	used   time.Time
	size   int64
	native []string
	images []string // and seals
}

// sweep removes leftovers, and of the rest what was used least recently until it fits.
func (d *disk) sweep() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := time.Now().Add(-leftover)
	d.removeOld(filepath.Join(d.dir, makingDir), old, nil)
	list, owned, err := d.inventory(old)
	if err != nil {
		return fmt.Errorf("look through the cache of modules: %w", err)
	}
	d.removeOld(filepath.Join(d.dir, nativeDir), old, owned)
	d.removeOld(filepath.Join(d.dir, imagesDir), old, owned)
	d.removeOld(filepath.Join(d.dir, sealsDir), old, owned)
	var total int64
	for _, k := range list {
		total += k.size
	}
	slices.SortFunc(list, func(a, b kept) int { return a.used.Compare(b.used) })
	for _, k := range list {
		if total <= d.most {
			break
		}
		d.removeFiles(k.path, k.native, k.images)
		total -= k.size
	}
	return nil
}

// remove forgets a module.
func (d *disk) remove(id string) {
	path := d.path(id)
	images, _ := filepath.Glob(filepath.Join(d.dir, imagesDir, filepath.Base(path)+".*")) // the pattern is well formed
	d.removeFiles(path, nativeOf(path), append(images, d.sealsPath(id)))
}

func (d *disk) removeFiles(path string, native, images []string) {
	_ = os.Remove(path)
	for _, name := range images {
		_ = os.Remove(name)
	}
	for _, name := range native {
		_ = os.Remove(filepath.Join(d.dir, nativeDir, name))
	}
}

// inventory lists the admitted modules and the files that belong to them.
func (d *disk) inventory(old time.Time) (list []kept, owned map[string]bool, err error) {
	owned = map[string]bool{}
	files, err := os.ReadDir(filepath.Join(d.dir, admittedDir))
	if err != nil {
		return nil, nil, err
	}
	images, err := os.ReadDir(filepath.Join(d.dir, imagesDir))
	if err != nil {
		return nil, nil, err
	}
	for _, e := range files {
		info, err := e.Info()
		if err != nil {
			continue // another process removed it
		}
		k := kept{path: filepath.Join(d.dir, admittedDir, e.Name()), used: info.ModTime(), size: info.Size()}
		if strings.HasPrefix(e.Name(), ".") {
			if k.used.Before(old) {
				_ = os.Remove(k.path)
			}
			continue
		}
		k.native = nativeOf(k.path)
		own := make([]string, 0, len(k.native))
		for _, name := range k.native {
			own = append(own, filepath.Join(d.dir, nativeDir, name))
		}
		for _, im := range images {
			if strings.HasPrefix(im.Name(), e.Name()+".") {
				k.images = append(k.images, filepath.Join(d.dir, imagesDir, im.Name()))
			}
		}
		k.images = append(k.images, filepath.Join(d.dir, sealsDir, e.Name()))
		for _, path := range append(own, k.images...) {
			owned[path] = true
			if info, err := os.Stat(path); err == nil {
				k.size += info.Size()
			}
		}
		list = append(list, k)
	}
	return list, owned, nil
}

// nativeOf reads the names of native code out of an admitted module's file, which begins with them.
func nativeOf(path string) (names []string) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	c := &coder{b: make([]byte, 16<<10)}
	n, _ := f.ReadAt(c.b, artefactHead)
	c.b = c.b[:max(n, 0)]
	var list []native
	c.natives(&list)
	for _, n := range list {
		if n.Name != "" && filepath.IsLocal(n.Name) { // the file may be damaged
			names = append(names, n.Name)
		}
	}
	return names
}

// removeOld removes files below dir that are old and not owned.
func (d *disk) removeOld(dir string, old time.Time, owned map[string]bool) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || owned[path] {
			return nil
		}
		if info, err := e.Info(); err == nil && info.ModTime().Before(old) {
			_ = os.Remove(path)
			_ = os.Remove(filepath.Dir(path)) // where it was the last one
		}
		return nil
	})
}
