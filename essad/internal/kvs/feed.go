package kvs

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/transport"
)

// feeds tell executors' caches of changes.
type feeds struct {
	role *Role

	mu     sync.Mutex
	byID   map[string]*feed
	closed bool
	tasks  sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

// feed is what one cache is still to be told. Changes of a key are told as one, the last. A goroutine sends while there
// is something to send; what cannot be delivered is kept, and when too much is kept the cache is told to drop everything.
type feed struct {
	feeds *feeds
	id    string
	topic string

	mu      sync.Mutex
	pending map[string]event
	order   []string
	dropAll bool
	sending bool
	seq     uint64
	used    time.Time
}

const (
	maxFeeds     = 4096    // caches; reads of further ones are answered, but not to be cached
	feedPending  = 1 << 14 // keys one cache is still to be told of
	feedBatch    = 512     // keys in a message
	feedTimeout  = 2 * time.Second
	feedAttempts = 15 // then the cache is told to drop everything as soon as it listens again
	feedIdle     = 10 * time.Minute
)

func (f *feeds) init(r *Role) {
	f.role, f.byID = r, map[string]*feed{}
	f.ctx, f.cancel = context.WithCancel(context.Background())
}

// get returns the feed of a cache, nil where there are too many.
func (f *feeds) get(id string) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := f.byID[id]
	if fd == nil {
		if len(f.byID) >= maxFeeds {
			return nil
		}
		id = strings.Clone(id) // it may be a part of a request
		fd = &feed{feeds: f, id: id, topic: f.role.names.Caches(id), pending: map[string]event{}}
		f.byID[id] = fd
	}
	fd.used = time.Now()
	return fd
}

// idle forgets caches that have not read anything for long: their leases have ended.
func (f *feeds) idle(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, fd := range f.byID {
		if now.Sub(fd.used) > feedIdle+2*f.role.opts.CacheLease {
			delete(f.byID, id)
		}
	}
}

// close ends what is being sent.
func (f *feeds) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.tasks.Wait()
}

// start runs fd.send unless the role has stopped.
func (f *feeds) start(fd *feed) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.tasks.Go(fd.send)
	return true
}

// tell takes a change. Events of one key may come out of order; the newest stays.
func (fd *feed) tell(ev event) {
	fd.mu.Lock()
	if have, ok := fd.pending[ev.key]; !ok {
		fd.order = append(fd.order, ev.key)
		fd.pending[ev.key] = ev
	} else if ev.seq > have.seq {
		fd.pending[ev.key] = ev
	}
	if len(fd.order) > feedPending {
		fd.overflow()
	}
	start := !fd.sending
	fd.sending = true
	fd.mu.Unlock()
	if start && !fd.feeds.start(fd) {
		fd.mu.Lock()
		fd.sending = false
		fd.mu.Unlock()
	}
}

func (fd *feed) overflow() {
	fd.dropAll, fd.order = true, nil
	clear(fd.pending)
}

func (fd *feed) send() {
	for failed := 0; ; {
		m := fd.message()
		if m == nil {
			return
		}
		if fd.deliver(m) == nil {
			failed = 0
			continue
		}
		// Whether the message arrived is unknown, so the next one says to drop everything.
		failed++
		stop := failed >= feedAttempts || fd.feeds.ctx.Err() != nil
		fd.mu.Lock()
		fd.overflow()
		if stop {
			fd.sending = false // the next change starts it again
		}
		fd.mu.Unlock()
		if stop {
			return
		}
	}
}

func (fd *feed) deliver(m *annav1.CacheUpdate) error {
	raw, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(fd.feeds.ctx, feedTimeout)
	defer cancel()
	return fd.feeds.role.opts.Session.Put(ctx, fd.topic, raw, transport.PutOptions{Congestion: transport.Block})
}

// message takes the next message, nil where there is none.
func (fd *feed) message() *annav1.CacheUpdate {
	now := fd.feeds.role.clock.Peek()
	fd.mu.Lock()
	defer fd.mu.Unlock()
	if len(fd.order) == 0 && !fd.dropAll {
		fd.sending = false
		return nil
	}
	fd.seq++
	m := &annav1.CacheUpdate{Node: fd.feeds.role.opts.Node, Boot: fd.feeds.role.boot, Seq: fd.seq, DropAll: fd.dropAll}
	fd.dropAll = false
	n := min(len(fd.order), feedBatch)
	for _, key := range fd.order[:n] {
		ev := fd.pending[key]
		delete(fd.pending, key)
		space, scope, name, ok := splitKey(key)
		if !ok {
			continue
		}
		it := &annav1.CacheItem{Space: space, Scope: scope, Key: []byte(name), Version: ev.rec.Version}
		if v := ev.rec.Value; len(v) == 0 || len(v) > maxPush || ev.until <= now {
			it.Drop = true
		} else {
			it.Value, it.LeaseNano = v, ev.until-now
		}
		m.Items = append(m.Items, it)
	}
	fd.order = append(fd.order[:0], fd.order[n:]...)
	return m
}
