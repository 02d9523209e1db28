// Package storage is the contract of a storage backend: an ordered map of byte keys with atomic, ordered, durable
// batches.
//
// A store knows nothing of lattices: the KVS merges and hands it results. It must never answer with bytes that fail
// their check; it returns a Corrupt error instead. The package storagetest is the contract in executable form; every
// backend passes it, directly and through the plugin border.
//
// It may import the standard library and sdk/status.
package storage

import "context"

// Limits every caller keeps, so that a backend can bound its buffers.
const (
	MaxBatchOps   = 4096
	MaxBatchBytes = 16 << 20 // keys and values together; one larger op may travel alone, up to MaxValueBytes
	MaxKeyBytes   = 64 << 10 // and at least one
	MaxValueBytes = 64 << 20
	MaxPageItems  = 4096
)

// DetailFinal is the detail of the Unavailable error of a store that takes no write until it is opened again: after a failed
// fsync nobody knows what is on the disk. An Unavailable error without it is of a store that may be back in a moment, such as
// a plugin that is being restarted.
const DetailFinal = "final"

// Op puts Value under Key, or deletes Key; deleting an absent key is no error. A batch applies its ops in order.
type Op struct {
	Key    []byte
	Value  []byte
	Delete bool
}

// Batch is the unit of Apply. The batches of one shard are applied in the order Apply was called for them; those of
// different shards in any order. Applying the same batch twice leaves the same state, so a caller sends again what was not
// acknowledged. A batch without ops and with Sync makes durable what was applied before it.
type Batch struct {
	Shard uint32
	Ops   []Op
	Sync  bool // return only when the batch would survive power loss
}

// Item is one key with its value. Found tells an absent key from an empty value.
type Item struct {
	Key   []byte
	Value []byte
	Found bool
}

// Range selects the keys of a scan, in ascending byte order.
type Range struct {
	Prefix   []byte
	After    []byte // resume: only keys greater than this
	Limit    int    // items at most; 0 or more than MaxPageItems means MaxPageItems
	Bytes    int    // keys and values together, roughly; at least one item is returned; 0 means 4 MiB
	KeysOnly bool
	Snapshot uint64 // a view from Snapshot; 0 means the present
}

// Page is one answer of a scan. More means that asking again with After = the last key gives further items.
type Page struct {
	Items []Item
	More  bool
}

// Stats is what a store knows of itself. A negative number means that it does not know.
type Stats struct {
	Keys       int64 // an estimate is allowed
	DiskBytes  int64
	CacheBytes int64
}

// Info says who a store is and what it can do.
type Info struct {
	Name       string
	Version    string
	Persistent bool // keeps what was applied with Sync through power loss
	Shared     bool // several daemons may open it at once
}

// Store is an open storage backend. All methods may be called concurrently. What breaks a limit is Invalid and changes
// nothing; Batch.Check, CheckKeys and Range.Normal are these limits. Arguments belong to the caller again when a method
// has returned; what it returned must not be modified. A closed store answers Unavailable.
type Store interface {
	Info() Info
	// Apply makes all ops of b visible at once. After an error the caller cannot know whether b was applied. A failed
	// fsync is final: the store answers every later call with an Unavailable error that has the detail DetailFinal. After
	// another failed write it may still answer reads.
	Apply(ctx context.Context, b Batch) error
	// Get returns one Item per key, in the order of keys. Each is read by itself: only scans see one state.
	Get(ctx context.Context, keys [][]byte) ([]Item, error)
	// Scan returns a page of one state: the present one, or a snapshot's.
	Scan(ctx context.Context, r Range) (Page, error)
	// Snapshot pins the present state for scans until Release; its number is never 0. A store may refuse more than a few
	// at once (Overloaded). Scanning or releasing a snapshot that is not there is NotFound.
	Snapshot(ctx context.Context) (uint64, error)
	Release(ctx context.Context, snapshot uint64) error
	Stats(ctx context.Context) (Stats, error)
	// Close flushes and closes. What was applied without Sync is durable afterwards. Closing twice is harmless.
	Close() error
}

// Starter is the optional ability of a Store to be given the next batch of a shard before it has answered the last one, so
// that neither waits for the way to the other.
type Starter interface {
	Store
	// Start is the first part of Apply. It returns when b has its place in the order of its shard, and wait, which is called
	// once, is the other part. b belongs to the caller again when Start has returned. After an error nothing is known of this
	// batch, and a batch that was started after it may have been applied all the same: who wants them in order sends them
	// again from the first that failed.
	Start(ctx context.Context, b Batch) (wait func() error)
}
