// Package transporttest pins what a transport.Session means: it is the suite that every implementation of the fabric
// passes, in one process, over a socket or over a network.
//
// What it pins is Zenoh's: where queries go and how their replies are consolidated, that no queryable means no reply at
// once, what ends a query early, what a full queue does, when liveliness tokens appear and vanish, and that nothing runs
// after it was closed.
//
// It may import the standard library, sdk/transport and sdk/status; only tests import it.
package transporttest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// Harness is an implementation as the suite sees it. The suite asks for a fresh one for each test.
type Harness struct {
	// NewSession opens another session of the same fabric, at another node where the implementation has nodes. The suite
	// closes it.
	NewSession func(t testing.TB) transport.Session
	// Sever ends a session as a crash of its process or a cut of its link would: without a word from it. It is nil where
	// that cannot be.
	Sever func(s transport.Session)
	// SeverLatency is how long the others may take to notice; 0 means that of a broken connection.
	SeverLatency time.Duration
	// Dropped is how many samples were lost between the sessions, where something there counts them that is no session's. It may be nil.
	Dropped func() uint64
	// LargePayload is the size of the largest payload to try; 0 means 64 MiB. It is left out where testing.Short() is on, and
	// with the race detector, which looks at every byte on its way.
	LargePayload int
	// PlainDeletes says that a delete cannot carry an attachment.
	PlainDeletes bool
	// Lacks are tests that cannot pass, as "Group/Name", and why: they are skipped.
	Lacks map[string]string
}

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// Run runs the suite. open makes an empty fabric for one test.
func Run(t *testing.T, open func(t testing.TB) Harness) {
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, x := range group.tests {
				t.Run(x.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
					defer cancel()
					f := &fabric{T: t, h: open(t), whole: ctx}
					f.skip(group.name + "/" + x.name)
					x.run(f)
				})
			}
		})
	}
}

var groups = []struct {
	name  string
	tests []test
}{
	{"Query", queryTests},
	{"Ending", endingTests},
	{"PubSub", pubsubTests},
	{"Liveliness", livelinessTests},
	{"Session", sessionTests},
}

// skip leaves out what the harness says cannot pass.
func (f *fabric) skip(name string) {
	for lack := range f.h.Lacks {
		if !known(lack) {
			f.Errorf("Lacks names %q, which is no test", lack)
		}
	}
	if why, ok := f.h.Lacks[name]; ok {
		f.Skip(why)
	}
}

func known(name string) bool {
	for _, group := range groups {
		for _, x := range group.tests {
			if group.name+"/"+x.name == name {
				return true
			}
		}
	}
	return false
}

type test struct {
	name string
	run  func(f *fabric)
}

// fabric is one test's fabric, with the steps that tests share.
type fabric struct {
	*testing.T
	h     Harness
	whole context.Context

	barriers atomic.Int64
}

func (f *fabric) session() transport.Session {
	f.Helper()
	s := f.h.NewSession(f.T)
	f.Cleanup(func() { _ = s.Close() })
	return s
}

func (f *fabric) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// check is must for handlers, which run on goroutines that may not end the test.
func (f *fabric) check(err error) {
	f.Helper()
	if err != nil {
		f.Error(err)
	}
}

func (f *fabric) wantClass(err error, c status.Class) {
	f.Helper()
	if status.Of(err) != c {
		f.Errorf("error is %v (%v), want class %v", err, status.Of(err), c)
	}
}

// ctx returns the context of the test, which ends when something in it has been waited for in vain.
func (f *fabric) ctx() context.Context { return f.whole }

// settle waits until everything that from has declared or undeclared so far is known to the others: declarations arrive in
// order, so a token declared last arrives last.
func (f *fabric) settle(from transport.Session, to ...transport.Session) {
	f.Helper()
	key := fmt.Sprintf("barrier/%s/%d", from.ID(), f.barriers.Add(1))
	tok, err := from.Token(key)
	f.must(err)
	defer tok.Close()
	for _, s := range to {
		f.eventually("the barrier of "+from.ID(), func() bool { return len(f.alive(s, key)) == 1 })
	}
}

func (f *fabric) alive(s transport.Session, expr string) []string {
	f.Helper()
	var keys []string
	f.must(s.GetLiveliness(f.ctx(), expr, func(k string) { keys = append(keys, k) }))
	return keys
}

// gate is what handlers wait at. It is opened at the latest when the test ends, before the sessions are closed, which wait for
// their handlers: it has to be made after them.
func (f *fabric) gate() (gate <-chan struct{}, open func()) {
	c := make(chan struct{})
	open = sync.OnceFunc(func() { close(c) })
	f.Cleanup(open)
	return c, open
}

func (f *fabric) eventually(what string, cond func() bool) {
	f.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("did not happen: %s", what)
		}
	}
}

func (f *fabric) queryable(s transport.Session, expr string, o transport.QueryableOptions, h func(transport.Query)) transport.Closer {
	f.Helper()
	c, err := s.Queryable(expr, o, h)
	f.must(err)
	return c
}

func (f *fabric) subscribe(s transport.Session, expr string, queue int, h func(transport.Sample)) transport.Closer {
	f.Helper()
	c, err := s.Subscribe(expr, transport.SubscribeOptions{Queue: queue}, h)
	f.must(err)
	return c
}

// reply answers with text on the query's own key.
func reply(q transport.Query, text string) error {
	return q.Reply(q.KeyExpr(), []byte(text), transport.ReplyOptions{})
}

// replies collects what a Get gives and fails if h is called concurrently or too late.
type replies struct {
	t      testing.TB
	mu     sync.Mutex
	list   []transport.Reply
	inside atomic.Bool
	over   atomic.Bool
	more   chan struct{} // one message for each reply, as far as they fit
}

func newReplies(t testing.TB) *replies { return &replies{t: t, more: make(chan struct{}, 1024)} }

func (r *replies) take(x transport.Reply) {
	if r.over.Load() {
		r.t.Error("a reply came after Get had returned")
	}
	if !r.inside.CompareAndSwap(false, true) {
		r.t.Error("the reply handler was called concurrently")
	}
	defer r.inside.Store(false)
	r.mu.Lock()
	r.list = append(r.list, x)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *replies) all() []transport.Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]transport.Reply(nil), r.list...)
}

// texts returns the payloads, error replies as "!text".
func (r *replies) texts() []string {
	var out []string
	for _, x := range r.all() {
		if x.Err != nil {
			out = append(out, "!"+string(x.Err.Payload))
		} else {
			out = append(out, string(x.Sample.Payload))
		}
	}
	return out
}

// get runs a query to its end and returns what it gave.
func (f *fabric) get(ctx context.Context, s transport.Session, expr string, o transport.GetOptions) (*replies, error) {
	r := newReplies(f.T)
	err := s.Get(ctx, transport.Selector{KeyExpr: expr}, o, r.take)
	r.over.Store(true)
	return r, err
}

// async is a query that runs beside the test.
type async struct {
	*replies
	err  error
	done chan struct{}
}

func (f *fabric) start(ctx context.Context, s transport.Session, expr string, o transport.GetOptions) *async {
	a := &async{replies: newReplies(f.T), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.err = s.Get(ctx, transport.Selector{KeyExpr: expr}, o, a.take)
		a.over.Store(true)
	}()
	return a
}

// wait returns the error of the query.
func (f *fabric) wait(a *async) error {
	f.Helper()
	f.await("the end of the query", a.done)
	return a.err
}

func (f *fabric) await(what string, c <-chan struct{}) {
	f.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		f.Fatalf("did not happen: %s", what)
	}
}

// samples collects what a subscription gives.
type samples struct {
	mu   sync.Mutex
	list []transport.Sample
}

func (s *samples) take(x transport.Sample) {
	s.mu.Lock()
	s.list = append(s.list, x)
	s.mu.Unlock()
}

func (s *samples) all() []transport.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]transport.Sample(nil), s.list...)
}

func (s *samples) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// events returns the samples of a liveliness subscription as "+key" and "-key".
func (s *samples) events() []string {
	var out []string
	for _, x := range s.all() {
		sign := "+"
		if x.Kind == transport.Delete {
			sign = "-"
		}
		out = append(out, sign+x.Key)
	}
	return out
}

// pattern is a payload whose bytes depend on where they are.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func (f *fabric) sizes() []int {
	sizes := []int{0, 1, 63, 64, 1 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 8 << 20}
	if !testing.Short() && !raced {
		large := f.h.LargePayload
		if large == 0 {
			large = 64 << 20
		}
		sizes = append(sizes, large)
	}
	return sizes
}
