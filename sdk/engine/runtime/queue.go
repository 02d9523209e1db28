package runtime

// nestedCalls are the nested calls of all guests that nobody has begun, newest first: first the guest that made one last, and
// of each guest its newest. So whatever many calls a guest has made, they go in one step where it is ended, and nobody else
// waits for that. The lock of slots guards it.
type nestedCalls struct {
	newest *Guest // of those with calls in their queues
	queued int    // all calls together
}

// callQueue are one guest's.
type callQueue struct {
	calls        []*future // newest last; some are claimed already, the last is not
	stale        int       // of those
	claimed      int       // how many it had made that somebody has begun, ever
	newer, older *Guest    // the guests beside it in nestedCalls
	listed       bool
}

// push queues a call.
func (n *nestedCalls) push(f *future) {
	q := &f.parent.queue
	q.calls = append(q.calls, f)
	n.queued++
	if n.newest != f.parent {
		n.unlist(f.parent)
		n.list(f.parent)
	}
}

// pop claims the newest call.
func (n *nestedCalls) pop() *future {
	if n.newest == nil {
		return nil
	}
	q := &n.newest.queue
	f := q.calls[len(q.calls)-1]
	n.claim(f)
	return f
}

// claim takes a call out of the queue, for somebody to run. It returns false where it has begun.
func (n *nestedCalls) claim(f *future) bool {
	if f.state != queued {
		return false
	}
	f.state = claimed
	n.queued--
	q := &f.parent.queue
	q.claimed++
	q.stale++
	if q.stale > 64 && q.stale > len(q.calls)/2 {
		q.compact()
	}
	for len(q.calls) > 0 && q.calls[len(q.calls)-1].state == claimed {
		q.calls[len(q.calls)-1] = nil
		q.calls = q.calls[:len(q.calls)-1]
		q.stale--
	}
	if len(q.calls) == 0 {
		n.unlist(f.parent)
	}
	return true
}

// compact forgets the claimed ones.
func (q *callQueue) compact() {
	kept := q.calls[:0]
	for _, f := range q.calls {
		if f.state == queued {
			kept = append(kept, f)
		}
	}
	clear(q.calls[len(kept):])
	q.calls, q.stale = kept, 0
}

// drop forgets all calls of a guest that has ended, and returns how many others it has made.
func (n *nestedCalls) drop(g *Guest) (begun int) {
	n.unlist(g)
	n.queued -= len(g.queue.calls) - g.queue.stale
	g.queue.calls, g.queue.stale = nil, 0
	return g.queue.claimed
}

// list puts a guest before all others.
func (n *nestedCalls) list(g *Guest) {
	g.queue.older, g.queue.listed = n.newest, true
	if n.newest != nil {
		n.newest.queue.newer = g
	}
	n.newest = g
}

func (n *nestedCalls) unlist(g *Guest) {
	q := &g.queue
	if !q.listed {
		return
	}
	if q.newer != nil {
		q.newer.queue.older = q.older
	} else {
		n.newest = q.older
	}
	if q.older != nil {
		q.older.queue.newer = q.newer
	}
	q.newer, q.older, q.listed = nil, nil, false
}
