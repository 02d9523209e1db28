package kvs

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// asked is a query without a fabric.
type asked struct {
	ctx     context.Context
	payload []byte
	replies [][]byte
	errors  []string
	refuse  error
}

func (q *asked) Context() context.Context { return q.ctx }
func (q *asked) KeyExpr() string          { return "anna/key_request" }
func (q *asked) Parameters() string       { return "" }
func (q *asked) Payload() []byte          { return q.payload }
func (q *asked) Encoding() string         { return "" }
func (q *asked) Attachment() []byte       { return nil }
func (q *asked) Reply(_ string, p []byte, _ transport.ReplyOptions) error {
	q.replies = append(q.replies, p)
	return q.refuse
}

func (q *asked) ReplyError(p []byte, _ string) error {
	q.errors = append(q.errors, string(p))
	return nil
}

// idle makes a role that answers without running.
func idle(t testing.TB) *Role {
	s := transport.NewBus().Open()
	t.Cleanup(func() { _ = s.Close() })
	r, err := New(Options{Node: "n", Session: s, Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	r.work, r.halt = context.Background(), context.Background()
	return r
}

// FuzzRequest answers anything with replies that can be read or one error, and keeps its books right.
func FuzzRequest(f *testing.F) {
	add := func(req *annav1.Request) {
		raw, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint8(0))
		f.Add(raw, uint8(1))
	}
	v := lattice.Encode(lattice.NewSet([]byte("x")))
	add(&annav1.Request{Space: 1, Ops: []*annav1.Op{{Kind: 1, Key: []byte("k"), Value: v}, {Key: []byte("k")}, {Kind: 2, Key: []byte("k"), IfVersion: proto.Uint64(3)}}})
	add(&annav1.Request{Space: 2, Scope: "s", Cache: "e", Wait: true, Ops: []*annav1.Op{{Kind: 1, Key: []byte("k"), Value: []byte("d"), Stamp: true, TtlNano: 5}, {Key: []byte("k")}}})
	add(&annav1.Request{Space: 1, Scan: &annav1.Scan{Prefix: []byte("k"), Limit: 3}})
	add(&annav1.Request{Space: 1, Watch: &annav1.Watch{Key: []byte("k"), Prefix: true, Initial: true}})
	add(&annav1.Request{Space: 2, Scope: "s", DropScope: true})
	page, err := proto.Marshal(&annav1.Page{Records: []*annav1.Record{{Key: []byte("\x01\x00k"), Record: lattice.Record{Version: 1, Value: v}.Append(nil)}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page, uint8(2))
	f.Add([]byte{8, 1}, uint8(3))
	f.Fuzz(func(t *testing.T, payload []byte, how uint8) {
		r := idle(t)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
		defer cancel()
		q := &asked{ctx: ctx, payload: payload}
		switch how % 4 {
		case 0:
			func(q transport.Query) { r.serve(q, false) }(q)
		case 1:
			func(q transport.Query) { r.serve(q, true) }(q)
		case 2:
			r.serveImport(q)
		case 3:
			r.serveExport(q)
		}
		if len(q.errors) > 1 {
			t.Fatalf("errors %q", q.errors)
		}
		for _, raw := range q.replies {
			if how%4 < 2 && proto.Unmarshal(raw, &annav1.Reply{}) != nil {
				t.Fatalf("a reply that cannot be read: %x", raw)
			}
		}
		if n := r.watches.Load(); n != 0 {
			t.Fatalf("%d watches are left", n)
		}
		for _, c := range r.cells {
			checkShard(t, c.core)
			if len(c.core.watches.keys)+len(c.core.watches.prefixes) != 0 {
				t.Fatal("a watch is left")
			}
		}
	})
}

// A watcher that is too slow is told so, and costs a bounded amount of memory.
func TestSlowWatcher(t *testing.T) {
	w := newWatch()
	for i := range watchPending + 1 {
		w.tell(event{key: fmt.Sprint(i), seq: 1})
		w.tell(event{key: "0", seq: uint64(i)})
	}
	if _, behind := w.take(1); !behind || len(w.pending) != 0 {
		t.Errorf("behind %v, %d pending", behind, len(w.pending))
	}
	w = newWatch()
	w.tell(event{key: "k", seq: 5, rec: lattice.Record{Version: 5}})
	w.tell(event{key: "k", seq: 4, rec: lattice.Record{Version: 4}}) // came late
	if evs, behind := w.take(10); behind || len(evs) != 1 || evs[0].rec.Version != 5 {
		t.Errorf("%v %v", evs, behind)
	}
}

// A watch whose replies are not taken ends.
func TestWatcherGone(t *testing.T) {
	r := idle(t)
	r.do(context.Background(), &annav1.Request{Space: 1, Ops: []*annav1.Op{{Kind: 1, Key: []byte("k"), Stamp: true}}})
	gone := errors.New("gone")
	err := r.serveWatch(&asked{ctx: context.Background(), refuse: gone}, &annav1.Request{Space: 1, Watch: &annav1.Watch{Key: []byte("k"), Initial: true}})
	if err != gone {
		t.Error(err)
	}
}

// deaf is a session whose puts fail at first.
type deaf struct {
	transport.Session
	fail int
	got  chan *annav1.CacheUpdate
}

func (d *deaf) Put(_ context.Context, _ string, payload []byte, _ transport.PutOptions) error {
	if d.fail > 0 {
		d.fail--
		return status.Errorf(status.Deadline, "nobody listens")
	}
	m := &annav1.CacheUpdate{}
	err := proto.Unmarshal(payload, m)
	d.got <- m
	return err
}

// A cache that may have missed something is told to drop everything.
func TestDeafCache(t *testing.T) {
	r := idle(t)
	d := &deaf{Session: r.opts.Session, fail: 3, got: make(chan *annav1.CacheUpdate, 10)}
	r.opts.Session = d
	fd := r.feeds.get("e")
	until := r.clock.Now() + uint64(time.Minute)
	ev := func(seq uint64) event {
		return event{key: "\x01\x00k", seq: seq, until: until, rec: lattice.Record{Version: seq, Value: lattice.Encode(lattice.NewSet())}}
	}
	fd.tell(ev(1))
	if m := <-d.got; !m.DropAll || m.Seq != 4 {
		t.Errorf("%v", m)
	}
	fd.tell(ev(2))
	if m := <-d.got; m.DropAll || m.Seq != 5 || len(m.Items) != 1 || m.Items[0].Version != 2 || m.Items[0].Drop {
		t.Errorf("%v", m)
	}
	for held := false; !held; time.Sleep(time.Millisecond) {
		fd.mu.Lock()
		if held = !fd.sending; held {
			fd.sending = true // hold the sender off
		}
		fd.mu.Unlock()
	}
	for i := range feedPending + 1 {
		e := ev(3)
		e.key += fmt.Sprint(i)
		fd.tell(e)
	}
	if m := fd.message(); !m.DropAll || len(m.Items) != 0 {
		t.Errorf("%d items, drop all %v", len(m.Items), m.DropAll)
	}
	r.feeds.close()
	if r.feeds.start(fd) {
		t.Error("a feed starts after the end")
	}
}
