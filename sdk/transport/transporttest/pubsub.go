package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

var block = transport.PutOptions{Congestion: transport.Block}

var pubsubTests = []test{
	{"EverythingArrives", testSampleArrives},
	{"OwnSubscription", testOwnSubscription},
	{"Wildcards", testSubscribeWildcards},
	{"OrderOfEachPublisher", testOrder},
	{"Sizes", testPutSizes},
	{"DropLosesAndCounts", testDrop},
	{"BlockWaits", testBlockWaits},
	{"BlockStallsNobodyElse", testBlockStallsNobodyElse},
	{"BlockEndsWithSubscription", testBlockEndsWithSubscription},
	{"CloseWaits", testSubscriptionCloseWaits},
	{"CloseFromWithin", testSubscriptionCloseFromWithin},
	{"Churn", testSubscriptionChurn},
}

func testSampleArrives(f *fabric) {
	a, b := f.session(), f.session()
	var got samples
	f.subscribe(b, "data/*", 0, got.take)
	f.settle(b, a)
	f.must(a.Put(f.ctx(), "data/x", []byte("payload"), transport.PutOptions{
		Encoding: "text/plain;x", Attachment: []byte("att"), Congestion: transport.Block,
	}))
	gone := []byte("gone")
	if f.h.PlainDeletes {
		gone = nil
	}
	f.must(a.Put(f.ctx(), "data/y", nil, transport.PutOptions{Kind: transport.Delete, Attachment: gone, Congestion: transport.Block}))
	f.must(a.Put(f.ctx(), "other", []byte("wrong"), block))
	f.must(a.Put(f.ctx(), "data/last", nil, block))
	f.eventually("three samples", func() bool { return got.len() == 3 })
	s := got.all()
	if x := s[0]; x.Key != "data/x" || x.Kind != transport.Put || string(x.Payload) != "payload" ||
		x.Encoding != "text/plain;x" || string(x.Attachment) != "att" {
		f.Errorf("the put arrived as %+v", x)
	}
	if x := s[1]; x.Key != "data/y" || x.Kind != transport.Delete || len(x.Payload) != 0 || !bytes.Equal(x.Attachment, gone) {
		f.Errorf("the delete arrived as %+v", x)
	}
}

func testOwnSubscription(f *fabric) {
	a := f.session()
	var got samples
	f.subscribe(a, "own", 0, got.take)
	f.must(a.Put(f.ctx(), "own", []byte("x"), block))
	f.eventually("the sample", func() bool { return got.len() == 1 })
}

func testSubscribeWildcards(f *fabric) {
	a, b := f.session(), f.session()
	exprs := []string{"s/a", "s/*", "s/**", "**", "s/$*b", "@v/**"}
	got := make([]samples, len(exprs))
	for i, expr := range exprs {
		f.subscribe(b, expr, 0, got[i].take)
	}
	f.settle(b, a)
	for _, key := range []string{"s/a", "s/ab", "s", "s/a/b", "@v/x", "end"} {
		f.must(a.Put(f.ctx(), key, nil, block))
	}
	for i, want := range [][]string{
		{"s/a"}, {"s/a", "s/ab"}, {"s/a", "s/ab", "s", "s/a/b"}, {"s/a", "s/ab", "s", "s/a/b", "end"}, {"s/ab"}, {"@v/x"},
	} {
		f.eventually("the samples of "+exprs[i], func() bool { return got[i].len() >= len(want) })
		var keys []string
		for _, s := range got[i].all() {
			keys = append(keys, s.Key)
		}
		if !slices.Equal(keys, want) {
			f.Errorf("%q got %q, want %q", exprs[i], keys, want)
		}
	}
}

func number(publisher, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(publisher)}, uint32(n))
}

func testOrder(f *fabric) {
	const publishers, count = 3, 1000
	b := f.session()
	var next [publishers]atomic.Uint32
	var total atomic.Int64
	f.subscribe(b, "seq/*", 16, func(s transport.Sample) {
		p := s.Payload[0]
		if n := binary.BigEndian.Uint32(s.Payload[1:]); n != next[p].Load() {
			f.Errorf("publisher %d: sample %d came when %d was next", p, n, next[p].Load())
		}
		next[p].Add(1)
		total.Add(1)
	})
	var all sync.WaitGroup
	for p := range publishers {
		a := f.session()
		f.settle(b, a)
		all.Add(1)
		go func() {
			defer all.Done()
			for n := range count {
				f.check(a.Put(f.ctx(), fmt.Sprintf("seq/%d", n%7), number(p, n), block))
			}
		}()
	}
	all.Wait()
	f.eventually("all samples", func() bool { return total.Load() == publishers*count })
}

func testPutSizes(f *fabric) {
	a, b := f.session(), f.session()
	got := make(chan []byte, 1)
	f.subscribe(b, "size", 0, func(s transport.Sample) { got <- s.Payload })
	f.settle(b, a)
	for _, n := range f.sizes() {
		p := pattern(n)
		f.must(a.Put(f.ctx(), "size", p, block))
		select {
		case x := <-got:
			if !bytes.Equal(x, p) {
				f.Errorf("%d bytes arrived as %d, or changed", n, len(x))
			}
		case <-time.After(patience):
			f.Fatalf("%d bytes did not arrive", n)
		}
	}
}

// A full queue loses samples sent with Drop, at once and in no other way than by leaving gaps; the sessions count them.
func testDrop(f *fabric) {
	a, b := f.session(), f.session()
	const count = 10000
	padding := pattern(1 << 10) // so that the queues of operating systems do not hide what is lost
	release, open := f.gate()
	var got []int
	var mu sync.Mutex
	f.subscribe(b, "drop", 8, func(s transport.Sample) {
		<-release
		mu.Lock()
		got = append(got, int(binary.BigEndian.Uint32(s.Payload[1:5])))
		mu.Unlock()
	})
	f.settle(b, a)
	begin := time.Now()
	for n := range count {
		f.must(a.Put(f.ctx(), "drop", append(number(0, n), padding...), transport.PutOptions{}))
	}
	if d := time.Since(begin); d > patience {
		f.Errorf("putting with Drop took %v", d)
	}
	open()
	seen := func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	last := count
	f.eventually("a sample after the lost ones", func() bool {
		f.must(a.Put(f.ctx(), "drop", number(0, last), block))
		last++
		s := seen()
		return len(s) > 0 && s[len(s)-1] >= count
	})
	f.eventually("the last sample", func() bool { s := seen(); return s[len(s)-1] == last-1 })
	s := seen()
	if !slices.IsSorted(s) || slices.Compare(s, slices.Compact(slices.Clone(s))) != 0 {
		f.Error("samples came out of order or twice")
	}
	if len(s) >= last {
		f.Errorf("nothing was lost of %d samples by a queue of 8", last)
	}
	ca, okA := a.(transport.DropCounter)
	cb, okB := b.(transport.DropCounter)
	if !okA || !okB {
		f.Error("the sessions do not count what they lose")
	} else if n := int(ca.Dropped() + cb.Dropped() + f.dropped()); n != last-len(s) {
		f.Errorf("the sessions count %d lost samples, want %d", n, last-len(s))
	}
}

// dropped is what was lost between the sessions.
func (f *fabric) dropped() uint64 {
	if f.h.Dropped == nil {
		return 0
	}
	return f.h.Dropped()
}

func testBlockWaits(f *fabric) {
	a, b := f.session(), f.session()
	release, open := f.gate()
	var got samples
	f.subscribe(b, "block", 4, func(s transport.Sample) {
		<-release
		got.take(s)
	})
	f.settle(b, a)
	var sent []string
	payload := pattern(64 << 10) // fills what lies between soon
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(f.ctx(), 200*time.Millisecond)
		err := a.Put(ctx, "block", append(number(0, n), payload...), block)
		cancel()
		if err != nil {
			f.wantClass(err, status.Deadline)
			break
		}
		sent = append(sent, string(number(0, n)))
		if n > 20000 {
			f.Fatal("putting with Block never waits")
		}
	}
	open()
	f.eventually("everything that was taken", func() bool { return got.len() >= len(sent) })
	for i, want := range sent {
		if x := got.all()[i]; string(x.Payload[:5]) != want {
			f.Fatalf("sample %d is not the one sent", i)
		}
	}
}

func testBlockStallsNobodyElse(f *fabric) {
	a, slow, fast := f.session(), f.session(), f.session()
	release, open := f.gate()
	f.subscribe(slow, "stall", 2, func(transport.Sample) { <-release })
	defer open()
	var got samples
	f.subscribe(fast, "stall", 0, got.take)
	f.settle(slow, a)
	f.settle(fast, a)
	payload := pattern(64 << 10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var sent atomic.Int64
	blocked := make(chan error, 1)
	go func() {
		for {
			if err := a.Put(ctx, "stall", payload, block); err != nil {
				blocked <- err
				return
			}
			sent.Add(1)
		}
	}()
	var n int64
	f.eventually("the publisher waits", func() bool {
		n = sent.Load()
		time.Sleep(100 * time.Millisecond)
		return n > 0 && n == sent.Load()
	})
	f.eventually("the fast subscriber has everything", func() bool { return int64(got.len()) >= n })
	// Other keys are not concerned.
	var other samples
	f.subscribe(fast, "free", 0, other.take)
	f.settle(fast, a)
	// One may get lost where both share a link that is full, but not all.
	f.eventually("a sample on another key", func() bool {
		f.must(a.Put(f.ctx(), "free", nil, transport.PutOptions{}))
		return other.len() > 0
	})
	cancel()
	f.wantClass(<-blocked, status.Cancelled)
}

func testBlockEndsWithSubscription(f *fabric) {
	a, b := f.session(), f.session()
	release, open := f.gate()
	started := make(chan struct{}, 1)
	c := f.subscribe(b, "until", 1, func(transport.Sample) {
		select {
		case started <- struct{}{}:
		default:
		}
		<-release
	})
	f.settle(b, a)
	done := make(chan error, 1)
	payload := pattern(64 << 10)
	var sent atomic.Int64
	go func() {
		for range 500 {
			if err := a.Put(f.ctx(), "until", payload, block); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- nil
	}()
	f.await("the start of the handler", started)
	f.eventually("the publisher waits", func() bool {
		n := sent.Load()
		time.Sleep(50 * time.Millisecond)
		return n == sent.Load()
	})
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.check(c.Close())
	}()
	select {
	case err := <-done:
		f.must(err)
	case <-time.After(patience):
		f.Fatal("the publisher still waits for a subscription that is closed")
	}
	open()
	f.await("the end of Close", closed)
}

func testSubscriptionCloseWaits(f *fabric) {
	a, b := f.session(), f.session()
	started := make(chan struct{}, 100)
	var running, closed atomic.Bool
	c := f.subscribe(b, "wait", 0, func(transport.Sample) {
		if closed.Load() {
			f.Error("the handler was called after Close")
		}
		running.Store(true)
		started <- struct{}{}
		time.Sleep(20 * time.Millisecond)
		running.Store(false)
	})
	f.settle(b, a)
	for range 20 {
		f.must(a.Put(f.ctx(), "wait", nil, block))
	}
	f.await("the first sample", started)
	f.must(c.Close())
	if running.Load() {
		f.Error("Close returned while the handler ran")
	}
	closed.Store(true)
	f.must(a.Put(f.ctx(), "wait", nil, block))
	f.must(c.Close())
	time.Sleep(20 * time.Millisecond)
}

func testSubscriptionCloseFromWithin(f *fabric) {
	a, b := f.session(), f.session()
	var c transport.Closer
	ready, done := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	c = f.subscribe(b, "self", 0, func(transport.Sample) {
		<-ready
		if calls.Add(1) > 1 {
			f.Error("the handler was called after it had closed its subscription")
			return
		}
		f.check(c.Close())
		close(done)
	})
	close(ready)
	f.settle(b, a)
	for range 10 {
		f.must(a.Put(f.ctx(), "self", nil, block))
	}
	f.await("the end of Close", done)
	time.Sleep(20 * time.Millisecond)
}

func testSubscriptionChurn(f *fabric) {
	a, b := f.session(), f.session()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if i%16 == 0 {
					time.Sleep(20 * time.Microsecond) // else the network poller starves on few processors
				}
				if err := a.Put(f.ctx(), "churn/x", []byte("x"), block); err != nil {
					f.Error(err)
					return
				}
			}
		}()
	}
	for i := range 100 {
		var closed atomic.Bool
		got := make(chan struct{}, 1)
		c := f.subscribe(b, "churn/**", 1+i%3, func(transport.Sample) {
			if closed.Load() {
				f.Error("the handler was called after Close")
			}
			select {
			case got <- struct{}{}:
			default:
			}
		})
		if i%10 == 0 {
			f.await("a sample", got)
		}
		f.must(c.Close())
		closed.Store(true)
	}
	close(stop)
	all.Wait()
}
