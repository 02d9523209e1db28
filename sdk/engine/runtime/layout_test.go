package runtime

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// dataSegment is a segment as it is written: at -1 it is passive.
type dataSegment struct {
	at    int
	data  []byte
	index bool // with the memory's index
}

func leb(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		if v >>= 7; v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// dataModule is a module with an exported memory of so many pages and data segments.
func dataModule(pages byte, segments []dataSegment, exported bool) []byte {
	content := binary.AppendUvarint(nil, uint64(len(segments)))
	for _, s := range segments {
		switch {
		case s.at < 0:
			content = append(content, dataPassive)
		case s.index:
			content = append(content, dataActiveIndex, 0, opI32Const)
		default:
			content = append(content, dataActive, opI32Const)
		}
		if s.at >= 0 {
			content = append(leb(content, int64(int32(uint32(s.at)))), opEnd)
		}
		content = append(binary.AppendUvarint(content, uint64(len(s.data))), s.data...)
	}
	m := append([]byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00"), pages)
	if exported {
		m = append(m, "\x07\x0a\x01\x06memory\x02\x00"...)
	}
	m = append(append(m, sectionDataCount), binary.AppendUvarint(nil, uint64(len(binary.AppendUvarint(nil, uint64(len(segments))))))...)
	m = binary.AppendUvarint(m, uint64(len(segments)))
	m = append(m, sectionData)
	return append(binary.AppendUvarint(m, uint64(len(content))), content...)
}

// TestTakeData: what is taken out is what an engine would have put into the memory, in order, one over the other.
func TestTakeData(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		want := make([]byte, 2<<16)
		var list []dataSegment
		for range rng.IntN(40) {
			s := dataSegment{at: rng.IntN(len(want)), index: rng.IntN(4) == 0}
			s.data = make([]byte, rng.IntN(min(300, len(want)-s.at)+1))
			for i := range s.data {
				s.data[i] = byte(rng.Uint32())
			}
			if rng.IntN(8) == 0 {
				s.at = -1
			} else {
				copy(want[s.at:], s.data)
			}
			list = append(list, s)
		}
		a, err := admit.Module(dataModule(2, list, true), admit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, uses := range []bool{false, true} {
			facts := a.Facts
			facts.UsesSegments = uses
			out, layout, why := takeData(a.Wasm, &facts)
			if why != "" {
				t.Fatal(why)
			}
			left, err := admit.Module(dropPrefix(out), admit.Options{})
			if err != nil {
				t.Fatalf("what is left is no module: %v", err)
			}
			if n := left.DataSegments; !uses && n != 0 || uses && n != len(list) {
				t.Fatalf("%d of %d segments are left, where code uses them: %v", n, len(list), uses)
			}
			if layout == nil {
				if len(list) > 0 {
					t.Fatal("there is no layout")
				}
				continue
			}
			im, err := snapshot.New(layout)
			if err != nil {
				t.Fatal(err)
			}
			if !im.Equal(want) {
				t.Fatal("the memory differs")
			}
			_ = im.Close()
		}
	}
}

// dropPrefix renames the exports of the admission pass, so that its own output can be admitted again.
func dropPrefix(wasm []byte) []byte {
	return bytes.ReplaceAll(wasm, []byte(admit.Prefix), []byte("xxxx$"))
}

// TestDataStays: where the host cannot lay out the memory the module keeps its data, and the reason is told.
func TestDataStays(t *testing.T) {
	one := []dataSegment{{at: 100, data: []byte("data")}}
	far := []dataSegment{}
	for i := range 40 {
		far = append(far, dataSegment{at: i * 100 << 10, data: []byte("x")})
	}
	for name, wasm := range map[string][]byte{
		"beyond the end": dataModule(1, []dataSegment{{at: 1<<16 - 2, data: []byte("data")}}, true),
		"not exported":   dataModule(1, one, false),
		"far apart":      dataModule(64, far, true),
	} {
		a, err := admit.Module(wasm, admit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, layout, why := takeData(a.Wasm, &a.Facts)
		if why == "" || layout != nil || !bytes.Equal(out, a.Wasm) {
			t.Errorf("%s: taken out, reason %q", name, why)
		}
		if reason := coldReason(&a.Facts, why); reason != why {
			t.Errorf("%s: the module is said to be %q", name, reason)
		}
	}
}

func FuzzTakeSegments(f *testing.F) {
	f.Add([]byte{1, 0, opI32Const, 5, opEnd, 2, 'a', 'b'})
	f.Add([]byte{2, 1, 1, 'x', 2, 0, opI32Const, 0, opEnd, 0})
	f.Fuzz(func(t *testing.T, section []byte) {
		left, parts, err := takeSegments(section, 1<<16)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p.At < 0 || p.At+len(p.Data) > 1<<16 {
				t.Errorf("a part from %d to %d", p.At, p.At+len(p.Data))
			}
		}
		if len(left) > len(section)+10 {
			t.Errorf("%d bytes became %d", len(section), len(left))
		}
	})
}
