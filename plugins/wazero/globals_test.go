package main

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

// TestGlobalsAreFound: the globals of every instance are where they are looked for, whatever stands before them in the
// instance's record; what is written there the guest sees, and the other way round.
func TestGlobalsAreFound(t *testing.T) {
	b, err := newBackend("")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	// (global i32 7) (global i64 -1) (global f64 1.5), mutable and exported as a, b, c; inc adds 1 to a. A memory and a table
	// come before them.
	wasm := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x04\x04\x01\x70\x00\x01\x05\x03\x01\x00\x01" +
		"\x06\x17\x03\x7f\x01\x41\x07\x0b\x7e\x01\x42\x7f\x0b\x7c\x01\x44\x00\x00\x00\x00\x00\x00\xf8\x3f\x0b" +
		"\x07\x13\x04\x01a\x03\x00\x01b\x03\x01\x01c\x03\x02\x03inc\x00\x00" +
		"\x0a\x0b\x01\x09\x00\x23\x00\x41\x01\x6a\x24\x00\x0b")
	compiled, err := b.rt.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	c := &code{rt: b.rt, compiled: compiled}
	for n := range 3 {
		mod, err := b.rt.InstantiateModule(ctx, compiled, moduleConfig)
		if err != nil {
			t.Fatal(err)
		}
		i := &instance{mod: mod, code: c}
		names := []string{"a", "b", "c"}
		if n == 2 {
			names = []string{"c", "a"} // others than before
		}
		if err := i.Globals(names); err != nil {
			t.Fatal(err)
		}
		want := map[string]uint64{"a": 7, "b": 1<<64 - 1, "c": 0x3ff8 << 48}
		check := func(when string) {
			t.Helper()
			bits, direct := make([]uint64, len(names)), make([]uint64, len(names))
			i.ReadGlobals(bits)
			for k, name := range names {
				if i.globals[k].at == nil {
					t.Fatalf("instance %d: global %q was not found", n, name)
				}
				direct[k] = mod.ExportedGlobal(name).(api.MutableGlobal).Get()
				if bits[k] != want[name] {
					t.Errorf("instance %d, %s: %q is %#x instead of %#x", n, when, name, bits[k], want[name])
				}
			}
			if !slices.Equal(bits, direct) {
				t.Errorf("instance %d, %s: %#x, and wazero says %#x", n, when, bits, direct)
			}
		}
		check("at first")
		bits := make([]uint64, len(names))
		for k, name := range names {
			want[name] = uint64(k + 40)
			bits[k] = want[name]
		}
		i.WriteGlobals(bits)
		check("written")
		if _, err := mod.ExportedFunction("inc").Call(ctx); err != nil {
			t.Fatal(err)
		}
		want["a"]++
		check("after the guest")
		i.SetGlobal("a", -2)
		if want["a"] = 1<<32 - 2; i.Global("a") != -2 {
			t.Errorf("%d", i.Global("a"))
		}
		i.SetGlobal64("c", -3)
		if want["c"] = 1<<64 - 3; i.Global64("c") != -3 {
			t.Errorf("%d", i.Global64("c"))
		}
		check("set one by one")
		i.Close()
	}
}

// TestGlobalsUnfound: where the record is not what is expected the globals are read and written through wazero.
func TestGlobalsUnfound(t *testing.T) {
	g := &counted{}
	x := global{name: "g", MutableGlobal: g}
	x.set(3)
	if x.get() != 3 || fmt.Sprint(g.sets, g.gets) != "1 1" {
		t.Errorf("%d, after %d sets and %d gets", x.get(), g.sets, g.gets)
	}
	if at := placeOf(make([]byte, 64), x); at != -1 || x.get() != 3 {
		t.Errorf("found at %d in a record that does not have it, and is %d", at, x.get())
	}
	if recordOf(nil) != nil {
		t.Error("a record of nothing")
	}
}

// counted is a global that is nowhere.
type counted struct {
	api.MutableGlobal
	bits       uint64
	sets, gets int
}

func (c *counted) Get() uint64     { c.gets++; return c.bits }
func (c *counted) Set(bits uint64) { c.sets++; c.bits = bits }
