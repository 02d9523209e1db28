package wasi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// What is said of the standard streams. A character device without the right to seek is a terminal to C libraries, which
// then write line by line, so that what was printed before a trap is not lost.
const (
	fileCharacter = 2
	rightRead     = 1 << 1
	rightWrite    = 1 << 6
	rightPoll     = 1 << 27
	flagAppend    = 1
)

func fdClose(s *State, _ []byte, a []uint64) (Errno, error) {
	if !s.open(a[0]) {
		return BadF, nil
	}
	fd := uint32(a[0])
	err := s.flushOne(int(fd))
	s.closed[fd] = true
	return Success, err
}

// fdRenumber would make one stream another. Replacing a stream by itself is all that is granted.
func fdRenumber(s *State, _ []byte, a []uint64) (Errno, error) {
	switch {
	case !s.open(a[0]) || !s.open(a[1]):
		return BadF, nil
	case uint32(a[0]) == uint32(a[1]):
		return Success, nil
	}
	return NotSup, nil
}

func fdstatGet(s *State, mem []byte, a []uint64) (Errno, error) {
	if !s.open(a[0]) {
		return BadF, nil
	}
	b, ok := view(mem, a[1], 24)
	if !ok {
		return Fault, nil
	}
	clear(b)
	b[0] = fileCharacter
	rights := int64(rightWrite | rightPoll)
	if uint32(a[0]) == 0 {
		rights = rightRead | rightPoll
	} else {
		b[2] = flagAppend
	}
	put64(b[8:], rights)
	return Success, nil
}

func fdstatSetFlags(s *State, _ []byte, a []uint64) (Errno, error) {
	switch {
	case !s.open(a[0]):
		return BadF, nil
	case uint32(a[1])&^flagAppend != 0:
		return NotSup, nil
	}
	return Success, nil
}

func filestatGet(old bool) body {
	size := uint64(64)
	if old {
		size = 56 // the number of links is a u32 there
	}
	return func(s *State, mem []byte, a []uint64) (Errno, error) {
		if !s.open(a[0]) {
			return BadF, nil
		}
		b, ok := view(mem, a[1], size)
		if !ok {
			return Fault, nil
		}
		clear(b)
		put64(b[8:], int64(uint32(a[0]))+1) // inode
		b[16] = fileCharacter
		if old {
			b[20] = 1
		} else {
			b[24] = 1
		}
		return Success, nil
	}
}

// maxVectors bounds one vectored read or write, as IOV_MAX does elsewhere.
const maxVectors = 1024

// vectors returns the i-th buffer of a list, checked.
func vectors(mem []byte, ptr, n uint64) ([]byte, Errno) {
	if uint32(n) > maxVectors {
		return nil, Inval
	}
	list, ok := view(mem, ptr, 8*uint64(uint32(n)))
	if !ok {
		return nil, Fault
	}
	for l := list; len(l) > 0; l = l[8:] {
		if _, ok := view(mem, uint64(le32(l)), uint64(le32(l[4:]))); !ok {
			return nil, Fault
		}
	}
	return list, Success
}

func buffer(mem, list []byte) []byte {
	b, _ := view(mem, uint64(le32(list)), uint64(le32(list[4:])))
	return b
}

func fdWrite(s *State, mem []byte, a []uint64) (Errno, error) {
	if !s.open(a[0]) || uint32(a[0]) == 0 {
		return BadF, nil
	}
	list, errno := vectors(mem, a[1], a[2])
	count, ok := view(mem, a[3], 4)
	if errno != Success || !ok {
		return max(errno, boolErrno(!ok)), nil
	}
	total := 0
	for l := list; len(l) > 0; l = l[8:] {
		b := buffer(mem, l)
		if total+len(b) > 1<<30 {
			break // a short write
		}
		if err := s.write(int(uint32(a[0])), b); err != nil {
			return IO, err
		}
		total += len(b)
	}
	put32(count, total)
	return Success, nil
}

func boolErrno(fault bool) Errno {
	if fault {
		return Fault
	}
	return Success
}

// write passes on the whole lines of what was written so far, and keeps the begun one.
func (s *State) write(fd int, p []byte) error {
	pending := &s.pending[fd]
	if len(*pending) > 0 {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		n = min(n, s.Line-len(*pending))
		*pending = append(*pending, p[:n]...)
		p = p[n:]
		if last := (*pending)[len(*pending)-1]; last != '\n' && len(*pending) < s.Line {
			return nil
		}
		if err := s.flushOne(fd); err != nil {
			return err
		}
	}
	for len(p) > 0 {
		n := s.whole(p)
		if n == 0 {
			*pending = append(*pending, p...)
			return nil
		}
		if err := s.Env.Output(fd, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// outputChunk is how much is passed on at a time.
const outputChunk = 64 << 10

// whole returns how much of p can be passed on as it is: whole lines, or a piece of a line that is too long.
func (s *State) whole(p []byte) int {
	chunk := p[:min(len(p), max(outputChunk, s.Line))]
	n := s.line(chunk)
	if n == 0 {
		if len(p) < s.Line {
			return 0
		}
		return s.Line
	}
	// All the lines of the chunk, up to one that is too long.
	for {
		next := s.line(chunk[n:])
		if next == 0 {
			return n
		}
		n += next
	}
}

// line returns the length of the line that p begins with, or 0 where it does not end within the limit.
func (s *State) line(p []byte) int { return bytes.IndexByte(p[:min(len(p), s.Line)], '\n') + 1 }

func (s *State) flushOne(fd int) error {
	p := s.pending[fd]
	if len(p) == 0 {
		return nil
	}
	s.pending[fd] = p[:0]
	return s.Env.Output(fd, p)
}

func (s *State) flush() error {
	if len(s.pending[1])+len(s.pending[2]) == 0 {
		return nil
	}
	return errors.Join(s.flushOne(1), s.flushOne(2))
}

// Flush passes on begun lines. The runtime calls it when the guest has ended.
func (s *State) Flush() error { return s.flush() }

func fdRead(s *State, mem []byte, a []uint64) (Errno, error) {
	if !s.open(a[0]) || uint32(a[0]) != 0 {
		return BadF, nil
	}
	list, errno := vectors(mem, a[1], a[2])
	count, ok := view(mem, a[3], 4)
	if errno != Success || !ok {
		return max(errno, boolErrno(!ok)), nil
	}
	var dst []byte // a read fills one buffer; fewer bytes than asked for are allowed
	for l := list; len(l) > 0 && len(dst) == 0; l = l[8:] {
		dst = buffer(mem, l)
	}
	n := 0
	if len(dst) > 0 {
		if err := s.flush(); err != nil { // a prompt is shown before the answer is read
			return IO, err
		}
		b, err := s.Env.Input(len(dst))
		if err != nil && !errors.Is(err, io.EOF) {
			return IO, err
		}
		n = copy(dst, b)
	}
	put32(count, n)
	return Success, nil
}
