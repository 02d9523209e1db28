package runtime

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// Sections of a module, and instructions, that joinData knows.
const (
	sectionData      = 11
	sectionDataCount = 12
	headerBytes      = 8
	opI32Const       = 0x41
	opEnd            = 0x0b
)

// maxGap is how many zero bytes between two data segments are written to make one of them.
const maxGap = 256

// joinData makes few data segments of many. Go's linker leaves a small program more than 20,000, and an engine takes longer
// to evaluate their offsets, for each instance, than for all else: 4 of 5 ms.
//
// It returns the module as it is where that could be told from outside: segments that overlap, that code uses by number, or whose place is not a constant. The module was admitted, so it is well formed.
func joinData(wasm []byte, f *admit.Facts) []byte {
	if f.UsesSegments || f.PassiveData || f.Memory.Imported || f.DataSegments < 2 {
		return wasm
	}
	out := append(make([]byte, 0, len(wasm)), wasm[:headerBytes]...)
	var joined int
	for rest := wasm[headerBytes:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return wasm
		}
		content := rest[1+n:][:size]
		rest = rest[1+n+int(size):]
		switch id {
		case sectionDataCount: // nothing counts on it: no code uses segments
			continue
		case sectionData:
			var ok bool
			if content, joined, ok = joinSegments(content); !ok {
				return wasm
			}
		}
		out = append(out, id)
		out = binary.AppendUvarint(out, uint64(len(content)))
		out = append(out, content...)
	}
	if joined >= f.DataSegments {
		return wasm
	}
	return out
}

// segment is the contents of a part of memory.
type segment struct {
	at   uint64
	data []byte
}

// joinSegments joins the segments of a data section.
func joinSegments(section []byte) (out []byte, n int, ok bool) {
	r := bytes.NewReader(section)
	count, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, 0, false
	}
	all := make([]segment, 0, min(count, uint64(len(section))))
	for range count {
		s, ok := readSegment(r, section)
		if !ok {
			return nil, 0, false
		}
		all = append(all, s)
	}
	// Where no two overlap their order says nothing.
	slices.SortStableFunc(all, func(a, b segment) int { return cmp.Compare(a.at, b.at) })
	var list []segment
	for _, s := range all {
		if len(list) == 0 {
			list = append(list, s)
			continue
		}
		last := &list[len(list)-1]
		end := last.at + uint64(len(last.data))
		switch {
		case s.at < end:
			return nil, 0, false
		case s.at-end > maxGap:
			list = append(list, s)
		default:
			last.data = append(slices.Grow(last.data, int(s.at-end)+len(s.data)), make([]byte, s.at-end)...)
			last.data = append(last.data, s.data...)
		}
	}
	out = binary.AppendUvarint(nil, uint64(len(list)))
	for _, s := range list {
		out = append(out, 0, opI32Const)
		out = appendVarint(out, int64(int32(uint32(s.at))))
		out = append(out, opEnd)
		out = binary.AppendUvarint(out, uint64(len(s.data)))
		out = append(out, s.data...)
	}
	return out, len(list), r.Len() == 0
}

// readSegment reads an active segment of the first memory whose place is a constant.
func readSegment(r *bytes.Reader, section []byte) (s segment, ok bool) {
	flags, err := binary.ReadUvarint(r)
	if err != nil || flags != 0 {
		return s, false
	}
	if op, err := r.ReadByte(); err != nil || op != opI32Const {
		return s, false
	}
	at, err := readVarint(r)
	if err != nil {
		return s, false
	}
	s.at = uint64(uint32(at))
	if op, err := r.ReadByte(); err != nil || op != opEnd {
		return s, false
	}
	size, err := binary.ReadUvarint(r)
	if err != nil || size > uint64(r.Len()) {
		return s, false
	}
	begin := len(section) - r.Len()
	s.data = slices.Clip(section[begin : begin+int(size)])
	_, err = r.Seek(int64(size), 1)
	return s, err == nil
}

// readVarint reads a signed LEB128 number. encoding/binary's signed numbers are others.
func readVarint(r *bytes.Reader) (v int64, err error) {
	for shift := uint(0); shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if shift < 57 && b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v, nil
		}
	}
	return v, nil
}

func appendVarint(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
