package runtime

import (
	"encoding/binary"
	"fmt"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// Sections of a module, and instructions, that takeData knows.
const (
	sectionData      = 11
	sectionDataCount = 12
	headerBytes      = 8
	opI32Const       = 0x41
	opEnd            = 0x0b

	dataActive      = 0 // at a constant, or not, of the first memory
	dataPassive     = 1
	dataActiveIndex = 2 // with the memory's index
)

// spread bounds what a memory's data may take when they are laid out: this, and so many times their bytes.
const (
	spreadBytes  = 1 << 20
	spreadFactor = 8
)

// takeData takes the active data segments out of an admitted module. The runtime lays them out once and fills the memory of
// every instance with them; an engine would evaluate them for each, and Go's linker leaves a small program more than
// 20,000. The engine could not make a memory of a snapshot either, were it to overwrite that with data afterwards.
//
// Where code uses segments by number they keep their numbers: an active one is dropped once it has been applied, and one
// of no bytes is like it. why says why a module keeps its data.
func takeData(wasm []byte, f *admit.Facts) (out []byte, layout *snapshot.Source, why string) {
	switch {
	case f.DataSegments == 0:
		return wasm, nil, ""
	case !f.MemoryExported || f.Memory.Imported:
		return wasm, nil, "its memory, which has data, is not exported"
	}
	out = append(make([]byte, 0, len(wasm)), wasm[:headerBytes]...)
	var parts []snapshot.Part
	for rest := wasm[headerBytes:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return wasm, nil, "its sections cannot be told apart"
		}
		content := rest[1+n:][:size]
		rest = rest[1+n+int(size):]
		switch {
		case id == sectionDataCount && !f.UsesSegments:
			continue
		case id == sectionData:
			var err error
			if content, parts, err = takeSegments(content, int(f.Memory.Min)*pageSize); err != nil {
				return wasm, nil, err.Error()
			}
			if !f.UsesSegments {
				continue
			}
		}
		out = append(out, id)
		out = binary.AppendUvarint(out, uint64(len(content)))
		out = append(out, content...)
	}
	most := min(int64(f.Memory.Min)*pageSize, spreadBytes+spreadFactor*f.DataBytes)
	layout, err := snapshot.Parts(int(f.Memory.Min)*pageSize, parts, int(most))
	if err != nil {
		return wasm, nil, err.Error()
	}
	return out, layout, ""
}

// takeSegments splits a data section into what the memory begins with and the section that is left.
func takeSegments(section []byte, memory int) (left []byte, parts []snapshot.Part, err error) {
	r := segmentReader{b: section}
	count := r.unsigned()
	left = binary.AppendUvarint(nil, count)
	for i := range count {
		flags := r.unsigned()
		if flags == dataPassive {
			data := r.bytes()
			left = append(left, dataPassive)
			left = append(binary.AppendUvarint(left, uint64(len(data))), data...)
			continue
		}
		if flags == dataActiveIndex {
			r.unsigned()
		}
		if r.byte() != opI32Const {
			return nil, nil, fmt.Errorf("the place of its data segment %d is not a constant", i)
		}
		at := int(uint32(r.signed()))
		if r.byte() != opEnd {
			return nil, nil, fmt.Errorf("the place of its data segment %d is not a constant", i)
		}
		data := r.bytes()
		if at+len(data) > memory {
			return nil, nil, fmt.Errorf("its data segment %d is beyond the memory's end", i)
		}
		parts = append(parts, snapshot.Part{At: at, Data: data})
		left = append(left, dataPassive, 0)
	}
	if r.bad || len(r.b) > 0 {
		return nil, nil, fmt.Errorf("its data section cannot be read")
	}
	return left, parts, nil
}

// segmentReader reads a data section. It was checked by admission; a mistake of ours sets bad, and nothing is read then.
type segmentReader struct {
	b   []byte
	bad bool
}

func (r *segmentReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *segmentReader) unsigned() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// signed reads a signed LEB128 number. encoding/binary's signed numbers are others.
func (r *segmentReader) signed() (v int64) {
	for shift := uint(0); shift < 64; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			if shift < 57 && c&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *segmentReader) bytes() []byte {
	n := r.unsigned()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}
