package kvs

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// Stats counts what the node has done since its start, and what it holds.
func (r *Role) Stats(ctx context.Context) *annav1.StatsReply {
	out := &annav1.StatsReply{
		Node: r.opts.Node, MemoryBytes: r.memory.Load(), MemoryBound: r.opts.Memory, PendingBytes: r.pending.Load(),
		Scans: r.scans.Load(), Watches: uint64(max(0, r.watches.Load())), Refused: r.refused.Load(),
		Batches: r.batches.Load(), BatchOps: r.ops.Load(), Store: r.storeName(), Durability: r.opts.Durability,
		Shards: int32(len(r.cells)),
	}
	oldest := uint64(0)
	for _, c := range r.cells {
		c.mu.Lock()
		s := c.core
		n := s.counters
		out.ResidentKeys += int64(len(s.entries))
		out.CachedKeys += uint64(s.holders.count)
		for _, dirty := range append(s.inflight[:len(s.inflight):len(s.inflight)], s.dirty) {
			if len(dirty) > 0 && (oldest == 0 || dirty[0].rec.Version < oldest) && dirty[0].rec.Version > 0 {
				oldest = dirty[0].rec.Version
			}
		}
		c.mu.Unlock()
		out.Gets, out.Puts, out.Deletes = out.Gets+n.gets, out.Puts+n.puts, out.Deletes+n.deletes
		out.Misses += n.misses
		out.Expired, out.Evicted = out.Expired+n.expired, out.Evicted+n.evicted
	}
	out.Hits = out.Gets - min(out.Gets, out.Misses)
	if now := r.clock.Peek(); oldest != 0 && now > oldest {
		out.StoreLagNano = int64(now - oldest)
	}
	if err := r.closed.Load(); err != nil {
		out.WritesClosed = err.Text
	}
	out.Keys = out.ResidentKeys
	if r.opts.Store != nil {
		out.Keys, out.DiskBytes = -1, -1
		if st, err := r.opts.Store.Stats(ctx); err == nil {
			out.Keys, out.DiskBytes = st.Keys, st.DiskBytes
		}
	}
	return out
}

func (r *Role) serveStats(q transport.Query) {
	ctx, cancel := context.WithTimeout(q.Context(), 5*time.Second)
	defer cancel()
	r.reply(q, r.Stats(ctx))
}

func (r *Role) reply(q transport.Query, m proto.Message) bool {
	raw, err := proto.Marshal(m)
	if err != nil {
		r.refuse(q, status.Errorf(status.Internal, "kvs: encode a reply: %v", err))
		return false
	}
	if err := q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{}); err != nil {
		r.log.Debug("a reply was not sent", "error", err)
		return false
	}
	return true
}

// serveExport answers with pages of records as they are at one moment, and an empty page at the end.
func (r *Role) serveExport(q transport.Query) {
	var req annav1.ExportRequest
	if err := proto.Unmarshal(q.Payload(), &req); err != nil {
		r.refuse(q, status.Errorf(status.Invalid, "kvs: this is not a request for an export: %v", err))
		return
	}
	if err := r.export(q.Context(), req.Space, func(p *annav1.Page) error {
		if !r.reply(q, p) || q.Context().Err() != nil {
			return status.Errorf(status.Cancelled, "kvs: nobody takes the export any longer")
		}
		return nil
	}); err != nil {
		r.refuse(q, err)
	}
}

// spacesOf lists what an export of space holds. The store's own metadata belongs to the node.
func spacesOf(space annav1.Space) []annav1.Space {
	if space != annav1.Space_SPACE_NONE {
		return []annav1.Space{space}
	}
	return []annav1.Space{annav1.Space_USER, annav1.Space_DATA, annav1.Space_MODULE, annav1.Space_REGISTRY}
}

func (r *Role) export(ctx context.Context, space annav1.Space, h func(*annav1.Page) error) error {
	if space != annav1.Space_SPACE_NONE {
		if err := checkSpace(space); err != nil {
			return err
		}
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	page, size := &annav1.Page{}, 0
	var failed error
	add := func(p pair) bool {
		if p.rec.IsZero() {
			return true
		}
		rec := p.rec.Append(nil)
		page.Records = append(page.Records, &annav1.Record{Key: []byte(p.key), Record: rec})
		if size += len(p.key) + len(rec); size < scanBytes && len(page.Records) < maxOps {
			return ctx.Err() == nil
		}
		failed = h(page)
		page, size = &annav1.Page{}, 0
		return failed == nil && ctx.Err() == nil
	}
	err := r.frozen(ctx, spacesOf(space), add)
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case ctx.Err() != nil:
		return status.Errorf(status.Of(ctx.Err()), "kvs: the export was given up: %w", ctx.Err())
	}
	if len(page.Records) > 0 {
		if err := h(page); err != nil {
			return err
		}
	}
	return h(&annav1.Page{})
}

// frozen calls h with every record of spaces as it is at one moment.
func (r *Role) frozen(ctx context.Context, spaces []annav1.Space, h func(pair) bool) error {
	if r.opts.Store == nil {
		return r.frozenInMemory(spaces, h)
	}
	snap, err := r.opts.Store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("kvs: snapshot: %w", err)
	}
	defer r.opts.Store.Release(context.WithoutCancel(ctx), snap) //nolint:errcheck // the store forgets it with the connection
	goOn := true
	for _, space := range spaces {
		if !goOn {
			return nil
		}
		err := r.each(ctx, string([]byte{byte(space)}), "", snap, func(p pair) bool {
			goOn = h(p)
			return goOn
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// frozenInMemory takes all records while no shard changes. Values are not copied.
func (r *Role) frozenInMemory(spaces []annav1.Space, h func(pair) bool) error {
	var all []pair
	for _, c := range r.cells {
		c.mu.Lock()
	}
	for _, space := range spaces {
		for _, c := range r.cells {
			start := string([]byte{byte(space)})
			c.core.order.from(start, func(key string) bool {
				if key[0] != byte(space) {
					return false
				}
				all = append(all, pair{key, c.core.entries[key].rec})
				return true
			})
		}
	}
	for _, c := range r.cells {
		c.mu.Unlock()
	}
	for _, p := range all {
		if !h(p) {
			return nil
		}
	}
	return nil
}

// serveImport merges a page of records and answers when they are as durable as can be.
func (r *Role) serveImport(q transport.Query) {
	var page annav1.Page
	if err := proto.Unmarshal(q.Payload(), &page); err != nil {
		r.refuse(q, status.Errorf(status.Invalid, "kvs: this is not a page of records: %v", err))
		return
	}
	if err := r.importPage(q.Context(), &page); err != nil {
		r.refuse(q, err)
		return
	}
	r.reply(q, &annav1.ImportReply{Records: uint64(len(page.Records))})
}

func (r *Role) importPage(ctx context.Context, page *annav1.Page) error {
	recs, err := r.checkImport(page)
	if err != nil {
		return err
	}
	keys := make([][]byte, len(recs))
	for i, in := range page.Records {
		keys[i] = in.Key
	}
	if r.loader != nil {
		defer r.warm(ctx, keys)()
	}
	var changes []written
	for i, key := range keys {
		if err := r.admitWrite(ctx, key, &annav1.Op{Kind: annav1.OpKind_PUT, Value: recs[i].Value}, annav1.Durability_SYNC); err != nil {
			return err
		}
		now := r.clock.Now()
		var seq uint64
		var opErr error
		c, err := r.with(ctx, key, func(s *shard) (miss bool) {
			seq, miss, opErr = s.merge(key, recs[i], now)
			return miss
		})
		if err != nil {
			return err
		}
		if opErr != nil {
			return opErr
		}
		if r.opts.Store != nil && seq > 0 {
			changes = append(changes, written{cell: c, seq: seq})
		}
	}
	for _, w := range changes {
		if err := w.cell.await(ctx, w.seq, true); err != nil {
			return err
		}
	}
	return nil
}

// checkImport reads all records of a page before the first is merged.
func (r *Role) checkImport(page *annav1.Page) ([]lattice.Record, error) {
	if len(page.Records) > maxOps {
		return nil, status.Errorf(status.Invalid, "kvs: %d records in a page, at most %d are allowed", len(page.Records), maxOps)
	}
	out := make([]lattice.Record, len(page.Records))
	for i, in := range page.Records {
		space, _, name, ok := splitKey(string(in.Key))
		if !ok || space == annav1.Space_METADATA || len(name) > r.opts.MaxKey {
			return nil, status.Errorf(status.Invalid, "kvs: record %d has a key that cannot be imported", i)
		}
		rec, err := storedRecord(string(in.Key), in.Record)
		if err != nil {
			return nil, status.Errorf(status.Invalid, "record %d: %v", i, err)
		}
		if len(rec.Value) > r.opts.MaxValue {
			return nil, status.Errorf(status.Invalid, "record %d: the value has %d bytes, at most %d are allowed", i, len(rec.Value), r.opts.MaxValue)
		}
		// A version from the future would make the key's clock run ahead for good.
		if r.clock.Check(rec.Version) != nil || r.clock.Check(rec.Generation) != nil {
			return nil, status.Errorf(status.Invalid, "record %d was written more than %s ahead of this node's clock", i, r.opts.MaxClockSkew)
		}
		out[i] = rec
	}
	return out, nil
}
