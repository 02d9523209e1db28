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
	if !errors.Is(q.Err(), context.DeadlineExceeded) || !q.Told() || q.Ended() {
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
		if err := x.q.Err(); !errors.Is(err, x.want) || !x.q.Ended() {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
		x.q.End() // once more is harmless
		cancel()
	}
}
