package kvs

// dueHeap orders resident entries by when something is to be done about them: a value expires, or a tombstone may go.
type dueHeap []*entry

func (h dueHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heap, h[j].heap = int32(i), int32(j)
}

func (h dueHeap) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if h[p].due <= h[i].due {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h dueHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].due < h[c].due {
			c++
		}
		if h[i].due <= h[c].due {
			return
		}
		h.swap(i, c)
		i = c
	}
}

// set gives e its time, 0 for none, and its place.
func (h *dueHeap) set(e *entry, due uint64) {
	if e.due == due {
		return
	}
	was := e.due
	e.due = due
	switch {
	case was == 0:
		e.heap = int32(len(*h))
		*h = append(*h, e)
		h.up(int(e.heap))
	case due == 0:
		i, last := int(e.heap), len(*h)-1
		if i != last {
			h.swap(i, last)
		}
		(*h)[last] = nil
		*h = (*h)[:last]
		if i != last {
			h.down(i)
			h.up(i)
		}
	default:
		h.down(int(e.heap))
		h.up(int(e.heap))
	}
}
