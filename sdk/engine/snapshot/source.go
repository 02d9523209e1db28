package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"unsafe"
)

// Source is what an image is made of.
type Source struct {
	size int
	runs []run
	read func(at int, buf []byte) []byte // len(buf) bytes of the memory, which may be put into buf
}

// Part is a range of bytes of a memory.
type Part struct {
	At   int
	Data []byte
}

// Memory makes a source of a memory of whole pages.
func Memory(mem []byte) (*Source, error) {
	if err := fits(mem, len(mem)); err != nil {
		return nil, err
	}
	s := &Source{size: len(mem), read: func(at int, buf []byte) []byte { return mem[at:][:len(buf)] }}
	for at := 0; at < len(mem); at += pageSize {
		if !allZero(mem[at : at+pageSize]) {
			s.add(at)
		}
	}
	s.join()
	return s, nil
}

// Parts makes a source of a memory that holds nothing but the parts; later ones lie over earlier ones. It fails where the
// image would take more than most bytes.
func Parts(size int, parts []Part, most int) (*Source, error) {
	pages := map[int][]byte{}
	for _, p := range parts {
		if p.At < 0 || p.At > size || len(p.Data) > size-p.At {
			return nil, fmt.Errorf("bytes %#x to %#x are beyond the memory's end", p.At, p.At+len(p.Data))
		}
		for done := 0; done < len(p.Data); {
			at := p.At + done
			n := min(pageSize-at%pageSize, len(p.Data)-done)
			page := pages[at/pageSize]
			if page == nil {
				if (len(pages)+1)*pageSize > most {
					return nil, fmt.Errorf("its data are spread over more than %d bytes", most)
				}
				page = make([]byte, pageSize)
				pages[at/pageSize] = page
			}
			copy(page[at%pageSize:], p.Data[done:done+n])
			done += n
		}
	}
	s := &Source{size: size, read: func(at int, buf []byte) []byte {
		for i := 0; i < len(buf); i += pageSize {
			if page := pages[(at+i)/pageSize]; page != nil {
				copy(buf[i:], page)
			} else {
				clear(buf[i : i+pageSize])
			}
		}
		return buf
	}}
	for _, n := range slices.Sorted(maps.Keys(pages)) {
		s.add(n * pageSize)
	}
	if s.join(); s.Stored() > most {
		return nil, fmt.Errorf("its data are spread over more than %d bytes", most)
	}
	return s, nil
}

// add puts a page behind those there are.
func (s *Source) add(at int) {
	if n := len(s.runs); n > 0 && at-end(s.runs[n-1]) <= joinGap {
		s.runs[n-1].n = at + pageSize - s.runs[n-1].at
		return
	}
	s.runs = append(s.runs, run{at: at, n: pageSize})
}

// join closes the widest gaps last, until there are few enough.
func (s *Source) join() {
	if len(s.runs) <= maxRuns {
		return
	}
	gaps := make([]int, 0, len(s.runs)-1)
	for i := 1; i < len(s.runs); i++ {
		gaps = append(gaps, s.runs[i].at-end(s.runs[i-1]))
	}
	slices.Sort(gaps)
	closed := gaps[len(gaps)-maxRuns] // so that at most maxRuns-1 stay open
	kept := s.runs[:1]
	for _, r := range s.runs[1:] {
		if last := &kept[len(kept)-1]; r.at-end(*last) <= closed {
			last.n = end(r) - last.at
			continue
		}
		kept = append(kept, r)
	}
	s.runs = kept
}

// Stored returns the bytes that an image of it takes.
func (s *Source) Stored() (n int) {
	for _, r := range s.runs {
		n += r.n
	}
	return n
}

// chunk is how much is read and written at a time.
const chunk = 256 << 10

// each calls f with the contents of the runs, a chunk at a time, and where in the memory it is from.
func (s *Source) each(f func(at int, b []byte) error) error {
	buf := make([]byte, min(chunk, s.Stored()))
	for _, r := range s.runs {
		for at := r.at; at < end(r); at += chunk {
			if err := f(at, s.read(at, buf[:min(chunk, end(r)-at)])); err != nil {
				return err
			}
		}
	}
	return nil
}

func allZero(page []byte) bool {
	for _, w := range unsafe.Slice((*uint64)(unsafe.Pointer(&page[0])), len(page)/8) {
		if w != 0 {
			return false
		}
	}
	return true
}
