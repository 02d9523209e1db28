package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/essa-project/essad/sdk/engine/snapshot"
	"github.com/essa-project/essad/sdk/status"
)

// base is what the memory of a module's instances begins with: its data, laid out. It is opened when it is first needed,
// which with a snapshot on disk is never.
type base struct {
	path  string
	seals *seals
	once  sync.Once
	image *snapshot.Image // nil where there are no data, or the module still has them
	err   error
}

func (b *base) get() (*snapshot.Image, error) {
	b.once.Do(func() {
		if b.path != "" {
			b.image, _, b.err = snapshot.Open(b.path, b.seals) // which are there where there is a path
		}
	})
	return b.image, b.err
}

func (b *base) close() {
	if b.image != nil {
		_ = b.image.Close() // it was only read
	}
}

// damaged has a module made again whose data on disk cannot be read.
func (ms *modules) damaged(m *module, err error) error {
	ms.rt.log("a cached module's data are damaged and are made again", "module", m.id, "error", err)
	ms.disk.remove(m.id)
	ms.mu.Lock()
	if ms.byID[m.id] == m {
		ms.drop(m.place)
	}
	ms.mu.Unlock()
	e := status.Errorf(status.NotFound, "module %s has to be prepared again: %w", m.id, err)
	e.Detail = "module"
	return e
}

// snapMeta is what is kept of a snapshot beside the memory.
type snapMeta struct {
	Names     []string // of globals
	Bits      []uint64 // their values
	Monotonic int64    // what the guest's monotonic clock had reached
	Seeds     []int
}

func (c *coder) snapMeta(m *snapMeta) {
	each(c, &m.Names, c.text)
	each(c, &m.Bits, func(v *uint64) { number(c, v) })
	number(c, &m.Monotonic)
	each(c, &m.Seeds, func(v *int) { number(c, v) })
}

// image makes the image of a snapshot: in the cache on disk, where nothing but the module decides what it is, else in
// memory that counts as the engine's.
func (ms *modules) image(p *pool, warmUp string, s *snap, mem []byte) error {
	source, err := snapshot.Memory(mem)
	if err != nil {
		return err
	}
	if ms.disk != nil && p.durable {
		c := &coder{writes: true}
		c.snapMeta(&snapMeta{p.mod.globals, s.globals, max(ms.rt.monotonic()+s.shift, 0), s.seeds})
		if s.image, err = snapshot.Create(ms.disk.imagePath(p.mod.id, snapImage(warmUp)), source, c.b); err == nil {
			return nil
		}
		ms.rt.log("a snapshot could not be kept on disk", "module", p.mod.id, "error", err)
	}
	charge := int64(source.Stored())
	if !ms.rt.budget.reserve(charge) {
		return fmt.Errorf("the engine has no memory for a snapshot of %d bytes", charge)
	}
	if s.image, err = snapshot.New(source); err != nil {
		ms.rt.budget.release(charge)
		return err
	}
	s.charged = charge
	return nil
}

// loadSnap looks for a pool's snapshot on disk. What is damaged, or of another module, is removed.
func (ms *modules) loadSnap(p *pool, warmUp string) *snap {
	if ms.disk == nil {
		return nil
	}
	path := ms.disk.imagePath(p.mod.id, snapImage(warmUp))
	im, b, err := snapshot.Open(path, p.mod.base.seals)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s *snap
	if err == nil {
		if s, err = ms.readSnap(p.mod, im, b); err != nil {
			err = errors.Join(err, im.Close())
		}
	}
	if err != nil {
		ms.rt.log("a snapshot on disk cannot be used and is made again", "module", p.mod.id, "error", err)
		_ = os.Remove(path)
		return nil
	}
	if !ms.rt.pools.publish(p, s) {
		s.close()
		s, _, _ = ms.rt.pools.state(p)
	}
	return s
}

func (ms *modules) readSnap(m *module, im *snapshot.Image, b []byte) (*snap, error) {
	var meta snapMeta
	c := &coder{b: b}
	if c.snapMeta(&meta); c.bad || len(c.b) > 0 {
		return nil, errDamaged
	}
	s := &snap{
		image: im, size: im.Size(), globals: meta.Bits, seeds: meta.Seeds, shift: max(meta.Monotonic-ms.rt.monotonic(), 0),
	}
	switch {
	case !slices.Equal(meta.Names, m.globals) || len(meta.Bits) != len(m.globals):
		return nil, fmt.Errorf("it has other globals than the module")
	case s.size < int(m.facts.Memory.Min)*pageSize || s.size%pageSize != 0:
		return nil, fmt.Errorf("its memory has %d bytes", s.size)
	case len(s.seeds) > maxSeeds || slices.ContainsFunc(s.seeds, func(at int) bool { return at < 0 || at > s.size-stateBytes }):
		return nil, fmt.Errorf("its random states are nowhere")
	}
	ms.rt.cleanGlobals(m, s.globals)
	return s, nil
}

// setFresh tells those who prepare a module what was found out when it ran.
func (ms *modules) setFresh(m *module, why string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m.info.Fresh = why
}
