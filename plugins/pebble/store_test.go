package main

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/storagetest"
)

// noLeaks checks, at the end of a test, that the stores it closed have left no goroutine. Failed stores do (see park), and
// so does Pebble where it cannot open.
func noLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func testOptions(path string) Options {
	o := DefaultOptions(path)
	o.Memtable, o.Cache, o.WriteQueue, o.MinFree = 4<<20, 4<<20, 8<<20, 0
	return o
}

// memOpener opens a store on a file system in memory that can lose what was not fsynced.
type memOpener struct {
	fs   *vfs.MemFS
	opts Options
}

func newMemOpener(*testing.T) storagetest.Opener {
	return &memOpener{fs: vfs.NewCrashableMem(), opts: testOptions("/store")}
}

func (o *memOpener) Open(testing.TB) (storage.Store, error) {
	return asStore(openOn(o.fs, o.opts, hclog.NewNullLogger()))
}

func asStore(s *Store, err error) (storage.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (o *memOpener) Kill(testing.TB) { o.fs = o.crash(100) }

func (o *memOpener) CutPower(testing.TB) { o.fs = o.crash(0) }

func (o *memOpener) crash(unsyncedPercent int) *vfs.MemFS {
	return o.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rand.New(rand.NewPCG(1, 2))})
}

func TestStoreInMemory(t *testing.T) {
	noLeaks(t)
	storagetest.Run(t, newMemOpener)
}

// dirOpener opens a store in a real folder.
type dirOpener struct{ opts Options }

func (o *dirOpener) Open(testing.TB) (storage.Store, error) {
	return asStore(Open(o.opts, hclog.NewNullLogger()))
}

func TestStoreOnDisk(t *testing.T) {
	noLeaks(t)
	storagetest.Run(t, func(t *testing.T) storagetest.Opener { return &dirOpener{testOptions(t.TempDir())} })
}

func mustOpen(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(opts, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s storage.Store, key string, value []byte, sync bool) {
	t.Helper()
	if err := s.Apply(context.Background(), storage.Batch{Ops: []storage.Op{{Key: []byte(key), Value: value}}, Sync: sync}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}
