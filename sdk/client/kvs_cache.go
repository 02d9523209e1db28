package client

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/transport"
)

// CacheUpdate tells a cache of a change: a newer value, or that a key must be dropped.
type CacheUpdate struct {
	Space Space
	Scope string
	Key   []byte // nil with Drop: everything
	Value Value
	Drop  bool
}

// Cached returns a client whose reads register with the owners of their keys: for the Lease of a value, update is told of
// each change of its key. update is called with everything to be dropped where a change may have been missed and where a
// node is lost; it is never called concurrently. id is unique in the cluster: an executor's. Close ends it.
func (k *KVS) Cached(id string, update func([]CacheUpdate)) (*KVS, transport.Closer, error) {
	c := &cacheFeed{update: update, nodes: map[string]*feedState{}}
	sub, err := k.session.Subscribe(k.names.Caches(id), transport.SubscribeOptions{}, c.take)
	if err != nil {
		return nil, nil, err
	}
	alive, err := k.session.SubscribeLiveliness(k.names.Alive("kvs", "*"), false, func(s transport.Sample) {
		if s.Kind == transport.Delete {
			c.lost()
		}
	})
	if err != nil {
		_ = sub.Close()
		return nil, nil, err
	}
	out := *k
	out.cache = id
	return &out, closers{sub, alive}, nil
}

type closers []transport.Closer

func (cs closers) Close() error {
	var first error
	for _, c := range cs {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// cacheFeed puts updates in order and finds out where one is missing.
type cacheFeed struct {
	mu     sync.Mutex
	update func([]CacheUpdate)
	nodes  map[string]*feedState
}

// feedState is the last message that came from a node.
type feedState struct {
	boot string
	seq  uint64
}

func (c *cacheFeed) take(s transport.Sample) {
	var m annav1.CacheUpdate
	if proto.Unmarshal(s.Payload, &m) != nil {
		c.lost() // what it said is unknown
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.nodes[m.Node]
	if st == nil {
		// The first message of a node is its first unless earlier ones were missed.
		st = &feedState{boot: string(m.Boot)}
		c.nodes[m.Node] = st
	}
	gap := st.boot != string(m.Boot) || m.Seq != st.seq+1
	st.boot, st.seq = string(m.Boot), m.Seq
	if gap || m.DropAll {
		c.update([]CacheUpdate{{Drop: true}})
		if m.DropAll {
			return
		}
	}
	out := make([]CacheUpdate, len(m.Items))
	for i, it := range m.Items {
		out[i] = CacheUpdate{
			Space: it.Space, Scope: it.Scope, Key: it.Key, Drop: it.Drop,
			Value: Value{Data: it.Value, Version: it.Version, Lease: time.Duration(it.LeaseNano)},
		}
	}
	c.update(out)
}

// lost drops everything: which keys a node owned is not known here.
func (c *cacheFeed) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.nodes)
	c.update([]CacheUpdate{{Drop: true}})
}
