package runtime

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// fill sets everything that v holds to something that is not zero.
func fillAll(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fillAll(v.Field(i), r)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(3), 3))
		for i := range v.Len() {
			fillAll(v.Index(i), r)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fillAll(key, r)
			fillAll(value, r)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", r.Uint64()))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + r.Int64N(1<<40))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + r.Uint64N(100))
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// TestArtefact: all of an admitted module comes back, and nothing that is damaged does.
func TestArtefact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		want := &artefact{}
		fillAll(reflect.ValueOf(want).Elem(), r)
		b := want.encode()
		got, err := decodeArtefact(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
		for range 100 {
			bad := bytes.Clone(b)
			if r.IntN(2) == 0 {
				bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			} else {
				bad = bad[:r.IntN(len(bad))]
			}
			if _, err := decodeArtefact(bad); err == nil {
				t.Fatal("damage was not noticed")
			}
		}
	}
	empty := &artefact{}
	if _, err := decodeArtefact(empty.encode()); err != nil {
		t.Errorf("an empty one: %v", err)
	}
}

func FuzzCoder(f *testing.F) {
	a := &artefact{}
	fillAll(reflect.ValueOf(a).Elem(), rand.New(rand.NewPCG(1, 2)))
	f.Add(a.encode()[artefactHead:])
	f.Fuzz(func(t *testing.T, b []byte) {
		// Whatever is read, reading ends, and takes no more memory than there are bytes.
		var a artefact
		(&coder{b: b}).artefact(&a)
		var m snapMeta
		(&coder{b: b}).snapMeta(&m)
		(&coder{b: b}).seals(nil)
	})
}

var _ snapshot.Witness = (*seals)(nil)

// TestSeals: a file is known only as long as nothing has touched it, in the boot it was read in, and not where it was changed
// just before it was read.
func TestSeals(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "seals"), filepath.Join(dir, "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(sum uint32) bool {
		t.Helper()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return openSeals(path).check(file, info, sum)
	}
	known := func() bool {
		t.Helper()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return openSeals(path).Whole(info)
	}
	write("contents")
	sum, err := sumOf(file)
	if err != nil {
		t.Fatal(err)
	}
	if !check(sum) || known() {
		t.Error("a file that has just been written was sealed")
	}
	seal := func() {
		t.Helper()
		time.Sleep(sealAfter + 20*time.Millisecond)
		if check(sum+1) || known() {
			t.Error("with another checksum it was found whole")
		}
		if !check(sum) || !known() {
			t.Fatal("it was not sealed")
		}
	}
	seal()
	if !check(sum + 1) {
		t.Error("a sealed file was read")
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	write("kontents")
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if known() || check(sum) {
		t.Error("other contents of the same length and time")
	}
	write("contents")
	seal()
	if os.Rename(file, file+"2") != nil || os.WriteFile(file, []byte("contents"), 0o600) != nil {
		t.Fatal("cannot replace the file")
	}
	if known() {
		t.Error("another file of the same name")
	}
	seal()
	// Another boot, and damage.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range b {
		bad := bytes.Clone(b)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if known() {
			t.Fatalf("seals with another byte at %d", at)
		}
	}
	c := &coder{b: b[sealsHead:]}
	now := bootID
	bootID = func() string { return "another boot" }
	defer func() { bootID = now }()
	if c.seals(nil) != nil {
		t.Error("seals of another boot")
	}
}
