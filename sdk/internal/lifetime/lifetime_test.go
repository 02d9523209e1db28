package lifetime

import (
	"context"
	"errors"
	"testing"
	"time"
)

// query is an Owner, and its context.
type query struct {
	Lifetime
	deadline time.Time
	gaveUp   error
	asker    context.Context //nolint:containedctx // it stands for a query
	over     bool
}

func (q *query) Deadline() (time.Time, bool)     { return q.deadline, !q.deadline.IsZero() }
func (q *query) GaveUp() error                   { return q.gaveUp }
func (q *query) Follow() (context.Context, bool) { return q.asker, q.over }
func (q *query) Err() error                      { return q.Lifetime.Err(q) }
func (q *query) Done() <-chan struct{}           { return q.Lifetime.Done(q) }

var _ context.Context = (*query)(nil)

// One that is only looked at says whether the asker is there, and remembers that it has said so.
func TestLookedAt(t *testing.T) {
	q := &query{}
	if q.Err() != nil || q.Told() || q.Value("any") != nil {
		t.Error("it has ended before it began")
	}
	q.gaveUp = context.DeadlineExceeded
	if q.Told() {
		t.Error("nobody has asked")
	}
	if !errors.Is(q.Err(), context.DeadlineExceeded) || !q.Told() || q.Ended(q) {
		t.Error("the asker gave up, and it was not told")
	}
	q.End()
	if !errors.Is(q.Err(), context.Canceled) {
		t.Error("it has not ended")
	}
	select {
	case <-q.Done():
	default:
		t.Error("the channel of one that has ended is open")
	}
}

// A limit ends the context, by its channel and where it is only looked at, and does not count as the asker's end. It comes too late for
// a context that is in use.
func TestLimit(t *testing.T) {
	soon := time.Now().Add(10 * time.Millisecond)
	for name, q := range map[string]*query{"no deadline": {}, "later deadline": {deadline: soon.Add(time.Hour)}} {
		looked := &query{deadline: q.deadline}
		if !q.Limit(soon.Add(time.Hour)) || !q.Limit(soon) || !q.Limit(soon.Add(time.Minute)) || !looked.Limit(soon) {
			t.Errorf("%s: no limit", name)
		}
		if d, ok := q.Lifetime.Deadline(q); !ok || !d.Equal(soon) {
			t.Errorf("%s: deadline %v", name, d)
		}
		select {
		case <-q.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it has not ended", name)
		}
		time.Sleep(time.Until(soon)) // a timer may be a little early by another clock
		for _, x := range []*query{q, looked} {
			if err := x.Err(); !errors.Is(err, context.DeadlineExceeded) || x.Told() || x.Ended(x) {
				t.Errorf("%s: %v, told %v, ended %v", name, err, x.Told(), x.Ended(x))
			}
		}
		q.gaveUp = context.DeadlineExceeded
		if !q.Ended(q) {
			t.Errorf("%s: the asker gave up, too", name)
		}
		if q.Limit(soon.Add(time.Hour)) {
			t.Errorf("%s: a limit for a context in use", name)
		}
	}
	early := &query{deadline: soon.Add(-time.Hour)}
	if early.Limit(soon); !errors.Is(func() error { <-early.Done(); return early.Err() }(), context.DeadlineExceeded) {
		t.Error("the earlier deadline does not count")
	}
}

// One that is waited for ends with the asker, at its time, at once where all is over, and with the query.
func TestWaitedFor(t *testing.T) {
	asker, leave := context.WithCancel(context.Background())
	for name, x := range map[string]struct {
		q    *query
		end  func(q *query)
		want error
	}{
		"asker": {&query{asker: asker}, func(*query) { leave() }, context.Canceled},
		"time":  {&query{deadline: time.Now().Add(20 * time.Millisecond)}, func(*query) {}, context.DeadlineExceeded},
		"over":  {&query{over: true}, func(*query) {}, context.Canceled},
		"query": {&query{asker: context.Background()}, func(q *query) { q.End() }, context.Canceled},
	} {
		done := x.q.Done()
		child, cancel := context.WithCancel(x.q)
		x.end(x.q)
		for _, c := range []<-chan struct{}{done, child.Done()} {
			select {
			case <-c:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: it has not ended", name)
			}
		}
		if err := x.q.Err(); !errors.Is(err, x.want) || !x.q.Ended(x.q) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
		x.q.End() // once more is harmless
		cancel()
	}
}
