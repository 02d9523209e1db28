// Package transport is the message contract between essad's parts, in Zenoh's own terms, and its in-memory
// implementation.
//
// A Session publishes, subscribes, queries, answers queries and holds liveliness tokens on key expressions. The package
// transporttest pins what that means; every implementation passes it. Nothing in a role may assume that the other side
// is in the same process, or that it is not: payloads are immutable from the moment they are handed over, on both sides,
// and within one process they are delivered without a copy.
//
// It may import the standard library, sdk/status and its own internal packages; everybody may import it.
package transport

import (
	"context"
	"time"
)

// Session is one participant of the fabric. All methods may be called concurrently.
type Session interface {
	// ID identifies the session in the fabric: a hexadecimal Zenoh id, unique per session.
	ID() string

	// Put publishes payload on key. It returns when every matching subscriber's queue has taken the sample, or dropped
	// it as opts.Congestion says.
	Put(ctx context.Context, key string, payload []byte, opts PutOptions) error

	// Subscribe calls h for every sample whose key intersects keyExpr, one at a time, in the order each publisher sent
	// them. Closing the subscription waits for a running h, unless called from within it.
	Subscribe(keyExpr string, opts SubscribeOptions, h func(Sample)) (Closer, error)

	// Get sends a query to the queryables that match sel and calls h for each reply, never concurrently. It returns when
	// all of them are final. Without a matching queryable it returns nil at once, having called h never. When ctx ends or
	// opts.Timeout passes first it returns a Deadline or Cancelled error; h is not called after Get has returned.
	Get(ctx context.Context, sel Selector, opts GetOptions, h func(Reply)) error

	// Queryable answers queries that intersect keyExpr. h runs on a goroutine of its own for each query, and the query is
	// final for this queryable when h returns. Closing it ends the contexts of its queries and waits for every running h,
	// but for the one it is called from.
	Queryable(keyExpr string, opts QueryableOptions, h func(Query)) (Closer, error)

	// Token declares a liveliness token on key: it is alive until closed, or until this session is lost.
	Token(key string) (Closer, error)

	// SubscribeLiveliness calls h with a Put for each matching token that appears and a Delete for each that is lost.
	// With history the tokens alive now are delivered first.
	SubscribeLiveliness(keyExpr string, history bool, h func(Sample)) (Closer, error)

	// GetLiveliness calls h with the key of every matching token that is alive now.
	GetLiveliness(ctx context.Context, keyExpr string, h func(key string)) error

	// Close undeclares everything this session declared, ends its queries as Cancelled and waits for its handlers.
	Close() error
}

// Closer undeclares what a Session method declared. Closing twice is harmless.
type Closer interface{ Close() error }

// Kind tells whether a sample puts or deletes its key.
type Kind uint8

// The kinds of a sample.
const (
	Put Kind = iota
	Delete
)

// Congestion says what happens to a message that a full queue cannot take.
type Congestion uint8

// Congestion choices. Drop is Zenoh's default for data.
const (
	Drop  Congestion = iota // lose this message; the session counts it
	Block                   // wait for room, at most until ctx ends
)

// Sample is one published value, or one reply's.
type Sample struct {
	Key        string
	Kind       Kind
	Payload    []byte
	Encoding   string // a Zenoh encoding, "" for bytes
	Attachment []byte
}

// Selector is a key expression and the parameters after its "?", as "a=1;b=2".
type Selector struct {
	KeyExpr    string
	Parameters string
}

// Target says which of the matching queryables get a query.
type Target uint8

// The targets.
const (
	BestMatching Target = iota // one complete queryable if there is one, otherwise all
	All                        // every matching queryable
	AllComplete                // every matching queryable that is complete
)

// Consolidation says what happens to several replies with the same key.
type Consolidation uint8

// The consolidation modes. Monotonic and Latest differ from these only for replies with timestamps, which essad's never
// carry.
const (
	Latest Consolidation = iota // one reply per key, the last one, delivered when the query is final
	None                        // every reply at once
)

// PutOptions are the optional parts of a Put.
type PutOptions struct {
	Kind       Kind
	Encoding   string
	Attachment []byte
	Congestion Congestion
}

// SubscribeOptions are the optional parts of a Subscribe.
type SubscribeOptions struct {
	Queue int // samples waiting for h at most; 0 means 1024
}

// GetOptions are the optional parts of a Get.
type GetOptions struct {
	Payload       []byte
	Encoding      string
	Attachment    []byte
	Target        Target
	Consolidation Consolidation
	Timeout       time.Duration // 0 means ctx's deadline alone, or 10 s (Zenoh's default) where ctx has none; <0 means never
}

// QueryableOptions are the optional parts of a Queryable.
type QueryableOptions struct {
	Complete bool // answers for every key of its key expression
	// Inline promises that the handler heeds the query's context and so returns soon after it ends. An implementation may
	// then run it on the goroutine that delivers the query, which saves a switch between two parts of one process.
	Inline bool
	// Quick promises that the handler never waits: what it cannot answer at once it keeps (Later) and answers elsewhere. It
	// is only for queries that are Laters; an implementation whose queries are not takes no notice of it.
	Quick bool
}

// Reply is an answer to a Get: a Sample, or an error reply when Err is set.
type Reply struct {
	Sample Sample
	Err    *ReplyError
}

// ReplyError is the payload of an error reply.
type ReplyError struct {
	Payload  []byte
	Encoding string
}

// ReplyOptions are the optional parts of a reply.
type ReplyOptions struct {
	Encoding   string
	Attachment []byte
}

// Query is one query as a queryable sees it.
type Query interface {
	// Context ends when the asker is gone or no longer waits, and when the session closes.
	Context() context.Context
	KeyExpr() string
	Parameters() string
	Payload() []byte
	Encoding() string
	Attachment() []byte
	// Reply sends one reply. Its key must intersect the query's key expression, otherwise Reply is an Invalid error and
	// nothing is sent.
	Reply(key string, payload []byte, opts ReplyOptions) error
	// ReplyError sends an error reply.
	ReplyError(payload []byte, encoding string) error
}

// Later is the optional ability of a Query to be answered after its handler has returned. Its context still ends as that of
// any query.
type Later interface {
	Query
	// Keep makes the query outlive its handler: it is final when Drop is called, which has to be.
	Keep()
	// Drop makes a query that was kept final. Dropping twice is harmless.
	Drop()
}

// Batcher is the optional ability of a Session to have what is sent while f runs travel together, so that those who get
// it are woken once. f must not wait.
type Batcher interface{ Batch(f func()) }
