package plugin

import (
	"time"

	"github.com/essa-project/essad/sdk/storage"
)

func appendStoreInfo(b []byte, i storage.Info) []byte {
	b = putString(putString(b, 1, i.Name), 2, i.Version)
	return putBool(putBool(b, 3, i.Persistent), 4, i.Shared)
}

func parseStoreInfo(b []byte) (i storage.Info, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			i.Name = f.text()
		case 2:
			i.Version = f.text()
		case 3:
			i.Persistent = f.bool()
		case 4:
			i.Shared = f.bool()
		}
	}
	return i, damaged("store information", f.err)
}

func appendBatch(b []byte, batch storage.Batch, timeout time.Time) []byte {
	b = putTime(putBool(putUint(b, 1, uint64(batch.Shard)), 2, batch.Sync), 3, timeout)
	for i := range batch.Ops {
		op := &batch.Ops[i]
		var start int
		b, start = openMessage(b, 4)
		b = putBool(putBytes(putBytes(b, 1, op.Key), 2, op.Value), 3, op.Delete)
		b = closeMessage(b, start, 0)
	}
	return b
}

func parseBatch(b []byte) (batch storage.Batch, timeout time.Time, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			batch.Shard = uint32(f.n)
		case 2:
			batch.Sync = f.bool()
		case 3:
			timeout = f.time()
		case 4:
			var op storage.Op
			op, f.err = parseOp(f.p)
			if len(batch.Ops) > storage.MaxBatchOps {
				continue // one too many is enough for the store to refuse the batch
			}
			batch.Ops = append(batch.Ops, op)
		}
	}
	return batch, timeout, damaged("batch", f.err)
}

// batchShard reads the shard alone, which is written first.
func batchShard(b []byte) uint32 {
	f := fields{b: b}
	for f.next() && f.field <= 3 {
		if f.field == 1 {
			return uint32(f.n)
		}
	}
	return 0
}

func parseOp(b []byte) (op storage.Op, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			op.Key = f.p
		case 2:
			op.Value = f.p
		case 3:
			op.Delete = f.bool()
		}
	}
	return op, f.err
}

func appendGet(b []byte, keys [][]byte, timeout time.Time) []byte {
	b = putTime(b, 2, timeout)
	for _, k := range keys {
		b = putEachBytes(b, 1, k)
	}
	return b
}

func parseGet(b []byte) (keys [][]byte, timeout time.Time, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			if len(keys) <= storage.MaxBatchOps { // one too many is enough for the store to refuse
				keys = append(keys, f.p)
			}
		case 2:
			timeout = f.time()
		}
	}
	return keys, timeout, damaged("get", f.err)
}

func appendItem(b []byte, it *storage.Item, withKey bool) []byte {
	b, start := openMessage(b, 1)
	if withKey {
		b = putBytes(b, 1, it.Key)
	}
	return closeMessage(putBool(putBytes(b, 2, it.Value), 3, it.Found), start, 0)
}

// parsePage reads a message Page or Items.
func parsePage(b []byte) (p storage.Page, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			var it storage.Item
			it, f.err = parseItem(f.p)
			p.Items = append(p.Items, it)
		case 2:
			p.More = f.bool()
		}
	}
	return p, damaged("page", f.err)
}

func parseItem(b []byte) (it storage.Item, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			it.Key = f.p
		case 2:
			it.Value = f.p
		case 3:
			it.Found = f.bool()
		}
	}
	return it, f.err
}

func appendRange(b []byte, r storage.Range, timeout time.Time) []byte {
	b = putBytes(putBytes(b, 1, r.Prefix), 2, r.After)
	b = putInt(putInt(b, 3, int64(r.Limit)), 4, int64(r.Bytes))
	return putTime(putUint(putBool(b, 5, r.KeysOnly), 6, r.Snapshot), 7, timeout)
}

func parseRange(b []byte) (r storage.Range, timeout time.Time, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			r.Prefix = f.p
		case 2:
			r.After = f.p
		case 3:
			r.Limit = int(f.int())
		case 4:
			r.Bytes = int(f.int())
		case 5:
			r.KeysOnly = f.bool()
		case 6:
			r.Snapshot = f.n
		case 7:
			timeout = f.time()
		}
	}
	return r, timeout, damaged("range", f.err)
}

// parseNumber reads field 1 of a message such as Version or Snapshot.
func parseNumber(b []byte) (n uint64, err error) {
	f := fields{b: b}
	for f.next() {
		if f.field == 1 {
			n = f.n
		}
	}
	return n, damaged("number", f.err)
}

func appendStoreStats(b []byte, s storage.Stats) []byte {
	return putInt(putInt(putInt(b, 1, s.Keys), 2, s.DiskBytes), 3, s.CacheBytes)
}

func parseStoreStats(b []byte) (s storage.Stats, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			s.Keys = f.int()
		case 2:
			s.DiskBytes = f.int()
		case 3:
			s.CacheBytes = f.int()
		}
	}
	return s, damaged("statistics", f.err)
}
