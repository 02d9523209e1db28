package interop

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"testing"
	"time"
)

// end is a session of either implementation. What it does must succeed, or the test fails.
type end interface {
	String() string
	subscribe(t *testing.T, key string) *entity
	publisher(t *testing.T, key string) publisher
	put(t *testing.T, key string, b body, o putOptions)
	remove(t *testing.T, key string, o putOptions)
	// number puts 0 to n-1 in decimal digits on key, which must all arrive.
	number(t *testing.T, key string, n int)
	// spread puts b on key/0 to key/(n-1), which must all arrive.
	spread(t *testing.T, key string, n int, b body)
	queryable(t *testing.T, key string, o queryableOptions) *entity
	get(t *testing.T, selector string, o getOptions) []item
	// querier returns a function that asks through a querier on key.
	querier(t *testing.T, key string) func(t *testing.T, parameters string) []item
	token(t *testing.T, key string) *entity
	liveliness(t *testing.T, key string, history bool) *entity
	alive(t *testing.T, key string) []string
	// many declares n entities of one kind ("subscriber", "queryable", "token") on key/0 to key/(n-1).
	many(t *testing.T, kind, key string, n int) *entity
}

// entity is something that was declared: a subscriber, a queryable, a token.
type entity struct {
	*inbox    // what it got
	undeclare func(t *testing.T)
	release   func(t *testing.T) // of a queryable that holds its queries
}

// publisher is a declared publisher.
type publisher interface {
	put(t *testing.T, b body)
	matching(t *testing.T) bool
	undeclare(t *testing.T)
}

// body is a generated payload: byte k is (seed + k) % 251.
type body struct{ size, seed int }

func (b body) bytes() []byte {
	seed := b.seed % len(period)
	return bytes.Repeat(period, b.size/len(period)+2)[seed : seed+b.size]
}

var period = func() []byte {
	p := make([]byte, 251)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}()

func (b body) check(t *testing.T, x item) {
	t.Helper()
	if p := b.bytes(); x.Size != len(p) || x.CRC != crc32.ChecksumIEEE(p) {
		t.Fatalf("payload of %d bytes with CRC %08x, want %d with %08x (%v)", x.Size, x.CRC, len(p), crc32.ChecksumIEEE(p), x)
	}
}

// describe fills in what an item says of a payload.
func (x *item) describe(p []byte) {
	x.Size, x.CRC = len(p), crc32.ChecksumIEEE(p)
	if len(p) <= 256 {
		x.Hex = hex.EncodeToString(p)
	}
}

// text is the payload, which is short.
func (x item) text() string {
	b, err := hex.DecodeString(x.Hex)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (x item) String() string {
	s := fmt.Sprintf("%s %s %d bytes %q", x.Kind, x.Key, x.Size, x.text())
	if x.Attachment != nil {
		s += " attachment " + *x.Attachment
	}
	return s + " " + x.Encoding
}

// putOptions are those of a put or a delete. Zero values mean that they are not set.
type putOptions struct {
	encoding   string
	attachment *string
	priority   int
	block      bool
	express    bool
	stamp      bool
}

// queryableOptions say how a queryable answers every query.
type queryableOptions struct {
	complete bool
	hold     bool // answer only when released
	replies  []replySpec
}

// replySpec is one reply.
type replySpec struct {
	key        string // "": the query's
	kind       string // "": put, or delete or err
	echo       bool   // the query's payload instead of body
	body       body
	encoding   string
	attachment *string
}

type getOptions struct {
	target        string // best_matching, all, all_complete
	consolidation string // auto, none, monotonic, latest
	timeout       time.Duration
	anyKey        bool
	payload       *body
	encoding      string
	attachment    *string
}

// reliably are the options of what must arrive.
var reliably = putOptions{block: true}

// unhex is the bytes that a string of hex stands for; nil for none.
func unhex(s *string) []byte {
	if s == nil {
		return nil
	}
	b, err := hex.DecodeString(*s)
	if err != nil {
		panic(err)
	}
	return append([]byte{}, b...)
}

func tohex(b []byte) *string {
	if b == nil {
		return nil
	}
	s := hex.EncodeToString(b)
	return &s
}

func ptr[T any](v T) *T { return &v }
