package frame

import (
	"errors"
	"io"
)

// reader is a buffered reader that reads the rest of a long body where it belongs instead of through its buffer.
type reader struct {
	conn io.Reader
	buf  []byte
	r, w int
}

func newReader(c io.Reader) *reader { return &reader{conn: c, buf: make([]byte, readBuffer)} }

// header returns the next header, or io.EOF at a clean end.
func (r *reader) header() (Header, error) {
	for r.w-r.r < HeaderSize {
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return Header{}, err
		}
	}
	h := ParseHeader(r.buf[r.r:])
	r.r += HeaderSize
	return h, nil
}

// fill reads once, after making room.
func (r *reader) fill() error {
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	n, err := r.conn.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// full fills p.
func (r *reader) full(p []byte) error {
	for {
		n := copy(p, r.buf[r.r:r.w])
		r.r += n
		p = p[n:]
		if len(p) == 0 {
			return nil
		}
		if len(p) >= len(r.buf) {
			_, err := io.ReadFull(r.conn, p)
			return err
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// Read makes the reader an io.Reader for the hello.
func (r *reader) Read(p []byte) (int, error) {
	if r.r == r.w {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}
