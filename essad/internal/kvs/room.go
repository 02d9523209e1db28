package kvs

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// A write under batched is acknowledged in memory, and on disk within 10 ms and one sync of the store. The lane sees to
// that as long as it gets its share of the processors and the store is quick. Where it is not so, the writers wait: while
// a write that was acknowledged has waited for the disk for longer than behindTime, no other one is acknowledged. So what
// a loss of power can take was acknowledged within that time, whatever the machine and the disk do.
const (
	behindTime  = 7 * time.Millisecond // leaves time for the sync within the 10 ms
	behindOps   = storage.MaxBatchOps / 2
	behindBytes = batchBytes
)

// behind reports whether changes that were acknowledged have waited for the disk too long, or are too many to be there
// soon, for another one to be acknowledged before them.
func (l *lane) behind() bool {
	// In the order in which a change moves on, so that none is missed between two of them. Nothing that was acknowledged is
	// older than the last one that is not 0.
	waited := l.since.Load()
	for _, later := range [...]*atomic.Int64{&l.taken, &l.oldest} {
		if t := later.Load(); t != 0 {
			waited = t
		}
	}
	return waited != 0 && l.now()-waited > int64(behindTime) || l.dirty.Load() > behindOps || l.role.pending.Load() > behindBytes
}

// soon tells whether a write has to be synced though nobody waits for it: under batched, where batches are not by themselves.
func (r *Role) soon(d annav1.Durability) bool {
	return d == annav1.Durability_BATCHED && r.durability == annav1.Durability_MEMORY
}

// room waits until the write buffer takes another change; batched, until the lane is not behind. Until then nothing was
// done about the request.
func (r *Role) room(ctx context.Context, c *cell, batched bool) error {
	for !r.roomNow(c, batched) {
		if err := r.closed.Load(); err != nil {
			return status.Safe(status.Errorf(err.Class, "%w", err))
		}
		// Changes of any shard fill the buffer and any batch makes room, so the end of one batch is not waited for.
		c.lane.poke(true)
		select {
		case <-time.After(roomDelay):
		case <-r.halt.Done():
			return status.Safe(status.Errorf(status.Unavailable, "kvs: the node is stopping"))
		case <-ctx.Done():
			return status.Safe(status.Errorf(status.Overloaded, "kvs: %d bytes of changes wait for the store, at most %d may", r.pending.Load(), r.opts.WriteBuffer))
		}
	}
	return nil
}

// roomNow reports whether room would not wait, nor refuse.
func (r *Role) roomNow(c *cell, batched bool) bool {
	return r.closed.Load() == nil && r.pending.Load() <= r.opts.WriteBuffer && (!batched || !c.lane.behind())
}

// flush waits until the store has all that was changed before.
func (r *Role) flush(ctx context.Context) error {
	if r.opts.Store == nil {
		return nil
	}
	type point struct {
		c   *cell
		seq uint64
	}
	var wait []point
	for _, c := range r.cells {
		c.mu.Lock()
		if c.core.applied < c.core.seq {
			wait = append(wait, point{c, c.core.seq})
		}
		c.mu.Unlock()
	}
	for _, p := range wait {
		p.c.lane.poke(true)
	}
	for _, p := range wait {
		if err := p.c.await(ctx, p.seq, false); err != nil {
			return fmt.Errorf("bring changes to the store: %w", err)
		}
	}
	return nil
}
