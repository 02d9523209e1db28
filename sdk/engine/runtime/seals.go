package runtime

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// seals remember which files of a module were read and found whole, so that starting it once more does not read megabytes
// again to find the same. A seal is what the kernel says of a file: which it is, its length, and when it was changed, its
// contents and all else. It holds for one boot: until then, what the kernel returns of the file is what was read, or the
// disk's own checksums have failed. More than that no check at the start could promise: code and images are mapped, and the
// kernel may read any page of them again whenever it likes.
//
// A change and the reading of a file may fall into the same tick of the kernel's clock, so what was changed a moment ago is
// not sealed.
type seals struct {
	path string

	mu    sync.Mutex
	known map[string]seal // by the file's base name
}

// seal is what the kernel says of a file.
type seal struct{ dev, ino, size, mtime, ctime uint64 }

// The form of a file: sealsMagic, the CRC-32C of what follows, the boot, and names with their seals.
var sealsMagic = []byte("essasea1")

const (
	sealsHead = 8 + 4
	maxSeals  = 64 // of one module
)

// sealAfter is how long before it is read a file must have been changed last. Ticks take 10 ms at most.
const sealAfter = 50 * time.Millisecond

// bootID returns what tells this boot from others; empty where the kernel does not.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
})

// openSeals reads a file of seals. Where there is none, or it is of another boot or damaged, nothing is sealed.
func openSeals(path string) *seals {
	s := &seals{path: path, known: map[string]seal{}}
	b, _, err := readSmall(path)
	if err != nil || len(b) < sealsHead || !bytes.HasPrefix(b, sealsMagic) ||
		crc32.Checksum(b[sealsHead:], castagnoli) != binary.LittleEndian.Uint32(b[len(sealsMagic):]) {
		return s
	}
	c := &coder{b: b[sealsHead:]}
	if known := c.seals(nil); !c.bad && known != nil {
		s.known = known
	}
	return s
}

// seals codes the boot and its seals. Those of another boot are nil.
func (c *coder) seals(known map[string]seal) map[string]seal {
	type named struct {
		name string
		seal
	}
	boot := bootID()
	c.text(&boot)
	var list []named
	for name, one := range known {
		list = append(list, named{name, one})
	}
	each(c, &list, func(n *named) {
		c.text(&n.name)
		for _, v := range []*uint64{&n.dev, &n.ino, &n.size, &n.mtime, &n.ctime} {
			number(c, v)
		}
	})
	if c.writes {
		return known
	}
	if boot == "" || boot != bootID() || len(list) > maxSeals {
		return nil
	}
	known = make(map[string]seal, len(list))
	for _, n := range list {
		known[n.name] = n.seal
	}
	return known
}

// sealOf returns what the kernel says of a file, and when that was changed last.
func sealOf(info fs.FileInfo) (s seal, changed time.Time, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return seal{}, time.Time{}, false
	}
	s = seal{dev: st.Dev, ino: st.Ino, size: uint64(st.Size), mtime: uint64(st.Mtim.Nano()), ctime: uint64(st.Ctim.Nano())}
	return s, time.Unix(0, max(st.Mtim.Nano(), st.Ctim.Nano())), true
}

// Whole implements snapshot.Witness.
func (s *seals) Whole(info fs.FileInfo) bool {
	now, _, ok := sealOf(info)
	s.mu.Lock()
	defer s.mu.Unlock()
	had, have := s.known[info.Name()]
	return ok && have && had == now
}

// Found implements snapshot.Witness. Where the seal cannot be written the file is read again the next time.
func (s *seals) Found(info fs.FileInfo) {
	now, changed, ok := sealOf(info)
	if !ok || bootID() == "" || time.Since(changed) < sealAfter {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxSeals {
		clear(s.known)
	}
	s.known[info.Name()] = now
	c := &coder{writes: true, b: append(bytes.Clone(sealsMagic), 0, 0, 0, 0)}
	c.seals(s.known)
	binary.LittleEndian.PutUint32(c.b[len(sealsMagic):], crc32.Checksum(c.b[sealsHead:], castagnoli))
	_ = writeFile(s.path, false, c.b)
}

// check tells whether a file has the checksum sum; it is read only where it is not sealed. info is what the kernel says of it.
func (s *seals) check(path string, info fs.FileInfo, sum uint32) bool {
	if s.Whole(info) {
		return true
	}
	if got, err := sumOf(path); err != nil || got != sum {
		return false
	}
	s.Found(info)
	return true
}

// sealsPath names the seals of a module's files.
func (d *disk) sealsPath(id string) string {
	return filepath.Join(d.dir, sealsDir, filepath.Base(d.path(id)))
}
