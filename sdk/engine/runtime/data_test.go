package runtime

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// dataModule is a module with a memory and data segments.
func dataModule(segments []segment) []byte {
	content := binary.AppendUvarint(nil, uint64(len(segments)))
	for _, s := range segments {
		content = append(content, 0, opI32Const)
		content = appendVarint(content, int64(int32(uint32(s.at))))
		content = append(content, opEnd)
		content = append(binary.AppendUvarint(content, uint64(len(s.data))), s.data...)
	}
	m := []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x02") // memory of 2 pages
	m = append(m, sectionData)
	return append(binary.AppendUvarint(m, uint64(len(content))), content...)
}

// apply returns the memory that the segments of a module make.
func apply(t *testing.T, wasm []byte) (mem []byte, segments int) {
	t.Helper()
	i := bytes.IndexByte(wasm[13:], sectionData) + 13
	size, n := binary.Uvarint(wasm[i+1:])
	section := wasm[i+1+n:][:size]
	r := bytes.NewReader(section)
	count, _ := binary.ReadUvarint(r)
	mem = make([]byte, 2<<16)
	for range count {
		s, ok := readSegment(r, section)
		if !ok {
			t.Fatal("a segment cannot be read")
		}
		copy(mem[s.at:], s.data)
	}
	return mem, int(count)
}

// TestJoinData: joined segments make the same memory, and those that must not be joined are left alone.
func TestJoinData(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var fewer int
	for range 500 {
		var list []segment
		at := uint64(rng.IntN(100))
		for range rng.IntN(30) {
			data := make([]byte, rng.IntN(40))
			for i := range data {
				data[i] = byte(rng.IntN(256))
			}
			list = append(list, segment{at, data})
			at += uint64(len(data) + rng.IntN(10)*rng.IntN(60))
		}
		if rng.IntN(4) == 0 && len(list) > 2 { // out of order
			i, j := rng.IntN(len(list)), rng.IntN(len(list))
			list[i], list[j] = list[j], list[i]
		}
		wasm := dataModule(slices.Clone(list))
		a, err := admit.Module(wasm, admit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		facts := a.Facts
		out := joinData(wasm, &facts)
		before, n := apply(t, wasm)
		after, m := apply(t, out)
		if !bytes.Equal(before, after) || m > n {
			t.Fatalf("%d segments became %d, and another memory", n, m)
		}
		if m < n {
			fewer++
		}
	}
	if fewer < 200 {
		t.Errorf("only %d of 500 modules got fewer segments", fewer)
	}
	facts := admit.Facts{DataSegments: 2, UsesSegments: true}
	wasm := dataModule([]segment{{0, []byte("a")}, {1, []byte("b")}})
	if out := joinData(wasm, &facts); !bytes.Equal(out, wasm) {
		t.Error("segments that code uses were joined")
	}
}

func TestVarint(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 8191, 8192, 1<<31 - 1, -1 << 31} {
		got, err := readVarint(bytes.NewReader(appendVarint(nil, v)))
		if err != nil || got != v {
			t.Errorf("%d became %d, %v", v, got, err)
		}
	}
}
