package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// Access says as whom a KVS client asks.
type Access uint8

// The kinds of access. A node refuses what a kind may not do; what is Internal is open to members of the mesh only.
const (
	Public   Access = iota // UserSpace
	Internal               // every space
)

// Space is what keys are for; the same key in two spaces is two keys.
type Space = annav1.Space

// The spaces. Within each, scopes keep keys apart: in DataSpace a scope is a deployment or a run.
const (
	UserSpace     = annav1.Space_USER
	DataSpace     = annav1.Space_DATA
	ModuleSpace   = annav1.Space_MODULE
	RegistrySpace = annav1.Space_REGISTRY
	MetadataSpace = annav1.Space_METADATA
)

// Durability says when a write is acknowledged.
type Durability = annav1.Durability

// The durabilities. DefaultDurability is what the node is configured to do.
const (
	DefaultDurability = annav1.Durability_DEFAULT
	MemoryDurability  = annav1.Durability_MEMORY
	BatchedDurability = annav1.Durability_BATCHED
	SyncDurability    = annav1.Durability_SYNC
)

// MaxOps bounds the operations of one Do.
const MaxOps = 4096

// KVS is a client of the key-value store. It holds nothing but the Session, which stays the caller's.
type KVS struct {
	session  transport.Session
	names    topic.Names
	internal bool
	selector transport.Selector
	cache    string
	pipe     *pipe
}

// NewKVS makes a client of the key-value store over s.
func NewKVS(s transport.Session, a Access) (*KVS, error) {
	k := &KVS{session: s, names: topic.Default, pipe: &pipe{lanes: map[laneKey]*pipeLane{}}}
	switch a {
	case Public:
		k.selector.KeyExpr = k.names.ClientRequest()
	case Internal:
		k.internal = true
		k.selector.KeyExpr = k.names.AnyRequest()
	default:
		return nil, status.Errorf(status.Invalid, "client: %d is no kind of access to the key-value store", a)
	}
	return k, nil
}

// Value is a value as it is stored: the bincode of a lattice value and the version of its key.
type Value struct {
	Data    []byte
	Version uint64
	Lease   time.Duration // the owner tells this client's cache of changes for so long; 0: do not cache
}

// Op is one operation of Do. The zero Kind reads.
type Op struct {
	Kind  annav1.OpKind
	Key   []byte
	Value []byte        // PUT: bincode of a lattice value, or plain data with Stamp
	Stamp bool          // PUT: make Value a last-writer-wins value that is newer than what is there
	TTL   time.Duration // PUT: the key is absent afterwards; 0: never
	If    *uint64       // PUT, DELETE: only if this is the key's version; 0: only if it is absent
}

// The kinds of an Op.
const (
	OpGet    = annav1.OpKind_GET
	OpPut    = annav1.OpKind_PUT
	OpDelete = annav1.OpKind_DELETE
)

// Result is what became of one Op.
type Result struct {
	Value             // reads; Version of writes too
	Expires time.Time // reads; zero: never
	Err     error
}

// PutOptions are the optional parts of a write.
type PutOptions struct {
	TTL        time.Duration
	If         *uint64 // only if this is the key's version; 0: only if it is absent
	Durability Durability
}

// Is makes the If of PutOptions and Op.
func Is(version uint64) *uint64 { return &version }

// Do sends operations on keys of one scope in one request. They are done in order, each stands alone, and the error of one
// is in its Result; the error returned is that of the request.
func (k *KVS) Do(ctx context.Context, space Space, scope string, d Durability, ops []Op) ([]Result, error) {
	if len(ops) > MaxOps {
		return nil, status.Errorf(status.Invalid, "client: %d operations at once, at most %d are allowed", len(ops), MaxOps)
	}
	out := make([]Result, len(ops))
	if err := k.do(ctx, space, scope, d, false, ops, out); err != nil {
		return nil, err
	}
	return out, nil
}

// do sends operations, and writes what became of each into out.
func (k *KVS) do(ctx context.Context, space Space, scope string, d Durability, wait bool, ops []Op, out []Result) error {
	raw := appendRequest(make([]byte, 0, sizeRequest(scope, k.cache, ops)), space, scope, d, k.cache, wait, ops)
	answer, err := k.askRaw(ctx, raw)
	if err != nil {
		return err
	}
	if parseResults(answer, out) {
		return nil
	}
	rep, err := parseReply(answer)
	if err != nil {
		return err
	}
	if len(rep.Results) != len(ops) {
		return status.Errorf(status.Internal, "client: %d results for %d operations", len(rep.Results), len(ops))
	}
	for i, r := range rep.Results {
		out[i] = resultOf(r)
	}
	return nil
}

func resultOf(r *annav1.Result) Result {
	out := Result{Value: Value{Data: r.Value, Version: r.Version, Lease: time.Duration(r.LeaseNano)}}
	if r.Code != "" {
		out.Err = status.FromCode(r.Code, r.Text)
	}
	if r.ExpiresUnixNano != 0 {
		out.Expires = time.Unix(0, int64(r.ExpiresUnixNano))
	}
	return out
}

// one sends a single operation.
func (k *KVS) one(ctx context.Context, space Space, scope string, d Durability, wait bool, op Op) (Result, error) {
	ops, out := [1]Op{op}, [1]Result{}
	if err := k.do(ctx, space, scope, d, wait, ops[:], out[:]); err != nil {
		return Result{}, err
	}
	return out[0], out[0].Err
}

func (k *KVS) ask(ctx context.Context, req *annav1.Request) (*annav1.Reply, error) {
	raw, err := proto.Marshal(req)
	if err != nil {
		return nil, status.Errorf(status.Internal, "client: encode a request: %v", err)
	}
	answer, err := k.askRaw(ctx, raw)
	if err != nil {
		return nil, err
	}
	return parseReply(answer)
}

func (k *KVS) askRaw(ctx context.Context, raw []byte) ([]byte, error) {
	// Without a deadline a read may wait for ever, and a write as long as the node needs.
	s, err := transport.Ask(ctx, k.session, k.selector, transport.GetOptions{Payload: raw, Timeout: -1})
	if err != nil {
		return nil, noNode(err)
	}
	return s.Payload, nil
}

func parseReply(answer []byte) (*annav1.Reply, error) {
	rep := &annav1.Reply{}
	if err := proto.Unmarshal(answer, rep); err != nil {
		return nil, status.Errorf(status.Internal, "client: the reply of the key-value store cannot be read: %v", err)
	}
	return rep, nil
}

// noNode says what it means that nobody answers.
func noNode(err error) error {
	if errors.Is(err, transport.ErrNobody) {
		return status.Errorf(status.Unavailable,
			"%w (is a daemon with the kvs role running, and has it finished starting?)", err)
	}
	return err
}

// Load returns the value of a key as it is stored. A key that is absent is a NotFound error, or with wait it is waited for
// until ctx ends.
func (k *KVS) Load(ctx context.Context, space Space, scope string, key []byte, wait bool) (Value, error) {
	r, err := k.one(ctx, space, scope, DefaultDurability, wait, Op{Key: key})
	return r.Value, err
}

// Merge merges value, the bincode of a lattice value, into a key and returns the version that holds it.
func (k *KVS) Merge(ctx context.Context, space Space, scope string, key, value []byte) (uint64, error) {
	r, err := k.write(ctx, space, scope, DefaultDurability, Op{Kind: OpPut, Key: key, Value: value})
	return r.Version, err
}

// Get returns the value of a key and its version; a key that is absent is a NotFound error.
func (k *KVS) Get(ctx context.Context, space Space, scope string, key []byte) (lattice.Value, uint64, error) {
	r, err := k.one(ctx, space, scope, DefaultDurability, false, Op{Key: key})
	if err != nil {
		return nil, 0, err
	}
	v, err := lattice.Decode(r.Data)
	if err != nil {
		return nil, 0, status.Errorf(status.Corrupt, "client: the value of %q cannot be read: %w", key, err)
	}
	return v, r.Version, nil
}

// Put merges v into a key and returns the version that holds it.
func (k *KVS) Put(ctx context.Context, space Space, scope string, key []byte, v lattice.Value, o PutOptions) (uint64, error) {
	op := Op{Kind: OpPut, Key: key, Value: lattice.Encode(v), TTL: o.TTL, If: o.If}
	r, err := k.write(ctx, space, scope, o.Durability, op)
	return r.Version, err
}

// Set makes data the value of a key: a last-writer-wins value that the owner stamps newer than what is there.
func (k *KVS) Set(ctx context.Context, space Space, scope string, key, data []byte, o PutOptions) (uint64, error) {
	op := Op{Kind: OpPut, Key: key, Value: data, Stamp: true, TTL: o.TTL, If: o.If}
	r, err := k.write(ctx, space, scope, o.Durability, op)
	return r.Version, err
}

// Data returns the data of a last-writer-wins value, such as Set puts, and its version. A value of another type is a
// Conflict error.
func (k *KVS) Data(ctx context.Context, space Space, scope string, key []byte) ([]byte, uint64, error) {
	v, version, err := k.Get(ctx, space, scope, key)
	if err != nil {
		return nil, 0, err
	}
	l, ok := v.(lattice.LWW)
	if !ok {
		return nil, 0, status.Errorf(status.Conflict, "key %q holds a value of type %s, not %s", key, v.Tag(), lattice.TagLWW)
	}
	return l.Data, version, nil
}

// Delete deletes a key. found tells whether there was anything.
func (k *KVS) Delete(ctx context.Context, space Space, scope string, key []byte, o PutOptions) (found bool, err error) {
	r, err := k.write(ctx, space, scope, o.Durability, Op{Kind: OpDelete, Key: key, If: o.If})
	return r.Version != 0, err
}

// MultiGet reads several keys; a key that is absent has a NotFound error in its Result.
func (k *KVS) MultiGet(ctx context.Context, space Space, scope string, keys [][]byte) ([]Result, error) {
	ops := make([]Op, len(keys))
	for i := range keys {
		ops[i].Key = keys[i]
	}
	return k.Do(ctx, space, scope, DefaultDurability, ops)
}

// DeleteScope deletes every key of a scope, for good: it returns when all are gone. What is put into the scope meanwhile
// stays.
func (k *KVS) DeleteScope(ctx context.Context, space Space, scope string) error {
	_, err := k.ask(ctx, &annav1.Request{Space: space, Scope: scope, DropScope: true})
	return err
}
