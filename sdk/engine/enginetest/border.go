package enginetest

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
)

// Border is an engine.Border over maps in memory, with the semantics of a store of one node. Its fields are set before
// it is used.
type Border struct {
	// Lease is how long values may be cached; 0 means not at all.
	Lease time.Duration
	// Before, where set, is called before an operation ("load", "merge", "output", "input", "call") and may fail or delay
	// it; ctx is the operation's.
	Before func(ctx context.Context, op string, o *engine.Origin, key []byte) error
	// Stdin is what a run reads.
	Stdin io.Reader
	// OnCall runs calls that leave the engine. Without it they are Overloaded.
	OnCall func(ctx context.Context, o *engine.Origin, c *engine.Call) (*engine.Result, error)
	// Engine, where set, is told of every change, as the executor would.
	Engine engine.Engine

	mu      sync.Mutex
	version uint64
	values  map[string]engine.Value // by scope, NUL, key
	changed chan struct{}
	output  map[engine.Stream]*bytes.Buffer
	pieces  []string
	loads   int
}

var _ engine.Border = (*Border)(nil)

func place(scope string, key []byte) string { return scope + "\x00" + string(key) }

func (b *Border) before(ctx context.Context, op string, o *engine.Origin, key []byte) error {
	if b.Before != nil {
		return b.Before(ctx, op, o, key)
	}
	return ctx.Err()
}

// Load implements engine.Border.
func (b *Border) Load(ctx context.Context, o *engine.Origin, key []byte, wait bool) (engine.Value, error) {
	if err := b.before(ctx, "load", o, key); err != nil {
		return engine.Value{}, err
	}
	for {
		b.mu.Lock()
		b.loads++
		v, ok := b.values[place(o.Scope, key)]
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		switch {
		case ok:
			v.Lease = b.Lease
			return v, nil
		case !wait:
			return engine.Value{}, status.Errorf(status.NotFound, "there is no key %q", key)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return engine.Value{}, ctx.Err()
		}
	}
}

// Merge implements engine.Border.
func (b *Border) Merge(ctx context.Context, o *engine.Origin, key, value []byte) (uint64, error) {
	if err := b.before(ctx, "merge", o, key); err != nil {
		return 0, err
	}
	return b.Put(o.Scope, string(key), value)
}

// Put merges a value as somebody else than a guest would. Only Engine learns of it.
func (b *Border) Put(scope, key string, value []byte) (uint64, error) {
	merged, _, _, err := lattice.Normalize(value)
	if err != nil {
		return 0, status.Wrap(status.Invalid, err)
	}
	b.mu.Lock()
	at := place(scope, []byte(key))
	if old, ok := b.values[at]; ok {
		if merged, err = lattice.MergeEncoded(old.Data, merged); err != nil {
			b.mu.Unlock()
			return 0, status.Wrap(status.Invalid, err)
		}
	}
	b.version = max(b.version+1, uint64(time.Now().UnixNano()))
	v := engine.Value{Data: append([]byte(nil), merged...), Version: b.version}
	if b.values == nil {
		b.values = map[string]engine.Value{}
	}
	b.values[at] = v
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	b.mu.Unlock()
	if b.Engine != nil {
		v.Lease = b.Lease
		err = b.Engine.Update(context.Background(), []engine.CacheUpdate{{Scope: scope, Key: []byte(key), Value: v}})
	}
	return v.Version, err
}

// Value returns what is stored.
func (b *Border) Value(scope, key string) (engine.Value, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.values[place(scope, []byte(key))]
	return v, ok
}

// Delete removes a key, without telling anybody.
func (b *Border) Delete(scope, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.values, place(scope, []byte(key)))
}

// Call implements engine.Border.
func (b *Border) Call(ctx context.Context, o *engine.Origin, c *engine.Call) (*engine.Result, error) {
	if err := b.before(ctx, "call", o, nil); err != nil {
		return nil, err
	}
	if b.OnCall == nil {
		return nil, status.Errorf(status.Overloaded, "nobody has room for the call")
	}
	return b.OnCall(ctx, o, c)
}

// keptOutput is how much of a stream is kept. To hold all of a flood would make its engine wait for a buffer of hundreds of
// megabytes to grow, when it has a guest to end.
const keptOutput = 4 << 20

// Output implements engine.Border.
func (b *Border) Output(ctx context.Context, o *engine.Origin, s engine.Stream, p []byte) error {
	if err := b.before(ctx, "output", o, nil); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.output == nil {
		b.output = map[engine.Stream]*bytes.Buffer{}
	}
	if b.output[s] == nil {
		b.output[s] = &bytes.Buffer{}
	}
	b.output[s].Write(p[:min(len(p), max(0, keptOutput-b.output[s].Len()))])
	if len(b.pieces) < 10_000 {
		b.pieces = append(b.pieces, string(p))
	}
	return nil
}

// Written returns what was written to a stream, up to keptOutput; Pieces the first pieces it came in, of all streams.
func (b *Border) Written(s engine.Stream) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.output[s] == nil {
		return ""
	}
	return b.output[s].String()
}

// Pieces returns what Output was given, in order.
func (b *Border) Pieces() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.pieces...)
}

// Loads returns how often the store was read.
func (b *Border) Loads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loads
}

// Input implements engine.Border.
func (b *Border) Input(ctx context.Context, o *engine.Origin, most int) ([]byte, error) {
	if err := b.before(ctx, "input", o, nil); err != nil {
		return nil, err
	}
	if b.Stdin == nil {
		return nil, io.EOF
	}
	p := make([]byte, most)
	n, err := b.Stdin.Read(p)
	if n > 0 {
		err = nil
	}
	return p[:n], err
}
