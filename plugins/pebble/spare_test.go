package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/essa-project/essad/sdk/storage"
)

// putDamaged writes all keys of the tests of damage.
func putDamaged(t *testing.T, s storage.Store) {
	t.Helper()
	for i := 0; i < damagedKeys; i += 5 {
		b := storage.Batch{Sync: true}
		for j := i; j < i+5; j++ {
			b.Ops = append(b.Ops, storage.Op{Key: fmt.Appendf(nil, "key%04d", j), Value: damagedValue(j)})
		}
		if err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
}

func waitForSpare(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); s.spares.bytes() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no spare log was made")
		}
	}
}

// onSpares returns the file system of a store that was killed with all its keys in a log that began as a spare, or with
// again in one that was a log before, and how much of it was written.
func onSpares(t *testing.T, again bool) (fs *vfs.MemFS, log string, used int) {
	t.Helper()
	o := newMemOpener(t).(*memOpener)
	o.opts.Memtable = 1 << 20
	st, err := o.Open(t)
	if err != nil {
		t.Fatal(err)
	}
	s := st.(*Store)
	putDamaged(t, s)
	waitForSpare(t, s)
	rounds := 1
	if again {
		rounds = 4 // Pebble keeps a few before it uses the first again
	}
	for range rounds {
		if err := s.db.Flush(); err != nil { // the next log
			t.Fatal(err)
		}
		putDamaged(t, s)
		waitForSpare(t, s)
	}
	o.Kill(t)
	_ = s.Close()
	m, read, err := openMarks(o.fs, "/store")
	if err != nil {
		t.Fatal(err)
	}
	_ = m.f.Close()
	log = fmt.Sprintf("/store/%06d.log", read[markLog].file)
	b := readAll(t, o.fs, log)
	if len(b) != int(s.opts.Memtable) {
		t.Fatalf("%s has %d bytes: it is not made of a spare of %d", log, len(b), s.opts.Memtable)
	}
	used = int(read[markLog].offset)
	if clean := len(strings.TrimRight(string(b[used:]), "\x00")) == 0; clean == again {
		at := used + len(b[used:]) - len(strings.TrimLeft(string(b[used:]), "\x00"))
		t.Fatalf("%s: the rest is zeros: %v; written up to %d, and there is something at %d: %x", log, clean, used, at, b[at:min(at+40, len(b))])
	}
	return o.fs, log, used
}

// What a log holds beyond its end is no end of the wrong kind, and does not hide damage before it.
func TestDamagedSpareLog(t *testing.T) {
	for name, again := range map[string]bool{"zeros": false, "records of an earlier log": true} {
		t.Run(name, func(t *testing.T) {
			fs, log, used := onSpares(t, again)
			if verify(t, fs.CrashClone(vfs.CrashCloneCfg{}), "killed") {
				t.Fatal("an undamaged store is corrupt")
			}
			testFlips(t, fs, log, 0, used, 8, true)
			testFlips(t, fs, log, used-900, used, 3, true)
		})
	}
}

// Spares outlive the process, and an unfinished one is no spare.
func TestSparesAreAdopted(t *testing.T) {
	noLeaks(t)
	opts := testOptions(t.TempDir())
	s := mustOpen(t, opts)
	putDamaged(t, s)
	waitForSpare(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{spareUnmade, sparePrefix + "7", sparePrefix + "x"} {
		f, err := vfs.Default.Create(vfs.Default.PathJoin(opts.Path, name), "test")
		if err == nil {
			_, err = f.Write([]byte("short"))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s = mustOpen(t, opts)
	defer func() { _ = s.Close() }()
	// The log that the store began with may be the spare itself.
	names, err := vfs.Default.List(opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	large := 0
	for _, name := range names {
		info, err := vfs.Default.Stat(vfs.Default.PathJoin(opts.Path, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // Pebble removes what its start has made obsolete
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, sparePrefix) && info.Size() != opts.Memtable {
			t.Errorf("%s of %d bytes was kept", name, info.Size())
		}
		if info.Size() == opts.Memtable {
			large++
		}
	}
	if large != 1 {
		t.Errorf("%d files of a spare's size, want the one from before", large)
	}
}

// A store without spares works, be it that none are wanted or that they cannot be made; and one that is hardly written to
// makes none.
func TestNoSpares(t *testing.T) {
	t.Run("unwanted", func(t *testing.T) {
		opts := testOptions(t.TempDir())
		opts.SpareLogs = 0
		s := mustOpen(t, opts)
		defer func() { _ = s.Close() }()
		putDamaged(t, s)
		time.Sleep(20 * time.Millisecond)
		if s.spares.bytes() != 0 {
			t.Error("there is one")
		}
	})
	t.Run("impossible", func(t *testing.T) {
		s, f, _ := openWithFaults(t, func(op errorfs.Op) error {
			if strings.Contains(op.Path, sparePrefix) && op.Kind == errorfs.OpFileWrite {
				return errors.New("no")
			}
			return nil
		})
		defer func() { _ = s.Close() }()
		f.on.Store(true)
		putDamaged(t, s)
		time.Sleep(20 * time.Millisecond)
		if s.spares.bytes() != 0 {
			t.Error("there is one")
		}
		putDamaged(t, s)
	})
	t.Run("idle", func(t *testing.T) {
		s := mustOpen(t, testOptions(t.TempDir()))
		defer func() { _ = s.Close() }()
		put(t, s, "k", []byte("v"), true)
		time.Sleep(20 * time.Millisecond)
		if s.spares.bytes() != 0 {
			t.Error("there is one")
		}
	})
}
