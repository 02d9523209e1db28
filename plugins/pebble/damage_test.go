package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

const damagedKeys = 200

// damagedValue is the value of key i; they are random, so that tables hold them as they are.
func damagedValue(i int) []byte {
	at := i * 7919 % (len(randomBytes) - 1000)
	return randomBytes[at : at+1000]
}

// killed returns the file system of a store that was killed with all its keys in the log.
func killed(t *testing.T) *vfs.MemFS {
	t.Helper()
	o := newMemOpener(t).(*memOpener)
	s, err := o.Open(t)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < damagedKeys; i += 5 {
		b := storage.Batch{Sync: true}
		for j := i; j < i+5; j++ {
			b.Ops = append(b.Ops, storage.Op{Key: fmt.Appendf(nil, "key%04d", j), Value: damagedValue(j)})
		}
		if err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	o.Kill(t)
	_ = s.Close()
	return o.fs
}

// closed returns the file system of a store that was closed with all its keys in tables.
func closed(t *testing.T) *vfs.MemFS {
	t.Helper()
	o := &memOpener{fs: killed(t), opts: testOptions("/store")}
	s, err := o.Open(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return o.fs
}

func readAll(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeAll(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// find returns the files with a name that matches, the largest last.
func find(t *testing.T, fs vfs.FS, pattern string) (names []string) {
	t.Helper()
	all, err := fs.List("/store")
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	for _, name := range all {
		if ok, _ := path.Match(pattern, name); !ok {
			continue
		}
		full := "/store/" + name
		if n := len(readAll(t, fs, full)); n >= largest {
			largest, names = n, append(names, full)
		} else {
			names = append([]string{full}, names...)
		}
	}
	if len(names) == 0 {
		t.Fatalf("no file %s in %v", pattern, all)
	}
	return names
}

func last(names []string) string { return names[len(names)-1] }

// verify opens the store and reads everything in every way: each answer is right or Corrupt. It says whether something
// was Corrupt.
func verify(t *testing.T, fs *vfs.MemFS, what string) (corrupt bool) {
	t.Helper()
	st, err := openOn(fs, testOptions("/store"), hclog.NewNullLogger())
	if err != nil {
		if status.Of(err) != status.Corrupt || !strings.Contains(err.Error(), "/store") {
			t.Errorf("%s: open: class %v: %v", what, status.Of(err), err)
		}
		return true
	}
	defer func() { _ = st.Close() }()
	seen := func(err error) bool {
		if err != nil && status.Of(err) != status.Corrupt {
			t.Errorf("%s: class %v: %v", what, status.Of(err), err)
		}
		corrupt = corrupt || err != nil
		return err != nil
	}
	for i := range damagedKeys {
		items, err := st.Get(context.Background(), [][]byte{fmt.Appendf(nil, "key%04d", i)})
		if !seen(err) && (!items[0].Found || !bytes.Equal(items[0].Value, damagedValue(i))) {
			t.Fatalf("%s: get of key %d: found %v, %d bytes, and no error", what, i, items[0].Found, len(items[0].Value))
		}
	}
	var many [][]byte
	for i := range damagedKeys {
		many = append(many, fmt.Appendf(nil, "key%04d", i))
	}
	items, err := st.Get(context.Background(), many)
	if !seen(err) {
		for i, it := range items {
			if !it.Found || !bytes.Equal(it.Value, damagedValue(i)) {
				t.Fatalf("%s: multi-get of key %d: found %v, and no error", what, i, it.Found)
			}
		}
	}
	page, err := st.Scan(context.Background(), storage.Range{})
	if !seen(err) && len(page.Items) != damagedKeys {
		t.Fatalf("%s: scan finds %d keys, and no error", what, len(page.Items))
	}
	return corrupt
}

// testFlips flips one bit at many places of a file, each in a copy of the store.
func testFlips(t *testing.T, fs *vfs.MemFS, name string, from, to, places int, mustSee bool) {
	good := readAll(t, fs, name)
	if to <= 0 {
		to += len(good)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range places {
		at, bit := from+r.IntN(to-from), byte(1)<<r.IntN(8)
		bad := bytes.Clone(good)
		bad[at] ^= bit
		hurt := fs.CrashClone(vfs.CrashCloneCfg{})
		writeAll(t, hurt, name, bad)
		what := fmt.Sprintf("%s, byte %d of %d, bit %08b", name, at, len(good), bit)
		if !verify(t, hurt, what) && mustSee {
			t.Errorf("%s: not noticed", what)
		}
	}
}

func TestWholeStoreVerifies(t *testing.T) {
	for name, fs := range map[string]*vfs.MemFS{"killed": killed(t), "closed": closed(t)} {
		if verify(t, fs, name) {
			t.Errorf("%s: an undamaged store is corrupt", name)
		}
	}
}

func TestDamagedLog(t *testing.T) {
	fs := killed(t)
	log := last(find(t, fs, "*.log"))
	// Behind the records lies what was preallocated.
	used := len(bytes.TrimRight(readAll(t, fs, log), "\x00"))
	testFlips(t, fs, log, 0, used, 40, true)
	testFlips(t, fs, log, used-900, used, 5, true) // in the last record, where Pebble alone sees an unfinished write
}

func TestLostLog(t *testing.T) {
	fs := killed(t)
	if err := fs.Remove(last(find(t, fs, "*.log"))); err != nil {
		t.Fatal(err)
	}
	if !verify(t, fs, "log removed") {
		t.Error("a lost log is not noticed")
	}
}

func TestTruncatedLog(t *testing.T) {
	for _, keep := range []float64{0, 0.3, 0.99} {
		fs := killed(t)
		log := last(find(t, fs, "*.log"))
		b := bytes.TrimRight(readAll(t, fs, log), "\x00")
		writeAll(t, fs, log, b[:int(keep*float64(len(b)))])
		if !verify(t, fs, fmt.Sprintf("log cut to %v", keep)) {
			t.Errorf("a log cut to %v is not noticed", keep)
		}
	}
}

func TestDamagedTable(t *testing.T) {
	fs := closed(t)
	table := last(find(t, fs, "*.sst"))
	testFlips(t, fs, table, 0, 0, 25, false)
	testFlips(t, fs, table, 0, 100_000, 5, true) // data blocks
}

func TestLostTable(t *testing.T) {
	fs := closed(t)
	if err := fs.Remove(last(find(t, fs, "*.sst"))); err != nil {
		t.Fatal(err)
	}
	if !verify(t, fs, "table removed") {
		t.Error("a lost table is not noticed")
	}
}

func TestDamagedManifest(t *testing.T) {
	for name, fs := range map[string]*vfs.MemFS{"killed": killed(t), "closed": closed(t)} {
		t.Run(name, func(t *testing.T) {
			testFlips(t, fs, last(find(t, fs, "MANIFEST-*")), 0, 0, 40, true)
		})
	}
}

func TestDamagedSmallFiles(t *testing.T) {
	fs := closed(t)
	for _, pattern := range []string{"OPTIONS-*", markFile, stampFile} {
		testFlips(t, fs, last(find(t, fs, pattern)), 0, 0, 15, false)
	}
}

// FuzzMarks puts anything into the mark file: the store opens with all its keys or says that it is corrupt.
func FuzzMarks(f *testing.F) {
	f.Add([]byte{}, uint64(0))
	f.Add(bytes.Repeat([]byte{0xff}, 64), uint64(1<<63))
	f.Fuzz(func(t *testing.T, page []byte, offset uint64) {
		fs := vfs.NewCrashableMem()
		s, err := openOn(fs, testOptions("/store"), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "key", []byte("value"), true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(page) > 64 {
			slot := page[:slotSize]
			copy(slot[8:], fmt.Append(nil, offset))
		}
		writeAll(t, fs, "/store/"+markFile, page)
		s, err = openOn(fs, testOptions("/store"), hclog.NewNullLogger())
		if err != nil {
			if status.Of(err) != status.Corrupt {
				t.Fatalf("class %v: %v", status.Of(err), err)
			}
			return
		}
		defer func() { _ = s.Close() }()
		items, err := s.Get(context.Background(), [][]byte{[]byte("key")})
		if err != nil || string(items[0].Value) != "value" {
			t.Fatalf("%v, %v", items, err)
		}
	})
}
