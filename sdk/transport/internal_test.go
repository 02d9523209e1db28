package transport

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// What a handler derives from its query's context hangs on it directly and sees none of the asker's values.
func TestQueryContext(t *testing.T) {
	bus := NewBus()
	s := bus.Open()
	defer s.Close()
	type key struct{}
	seen := make(chan error, 1)
	if _, err := s.Queryable("x", QueryableOptions{Inline: true, Complete: true}, func(q Query) {
		ctx := q.Context()
		if ctx.Err() != nil || ctx.Value(key{}) != nil {
			t.Errorf("err %v, value %v", ctx.Err(), ctx.Value(key{}))
		}
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > time.Minute {
			t.Errorf("deadline %v, %v", d, ok)
		}
		child, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		<-child.Done()
		seen <- context.Cause(child)
		if ctx.Value(key{}) != nil {
			t.Error("the asker's value is seen")
		}
	}); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(context.Background(), key{}, "secret")
	err := s.Get(ctx, Selector{KeyExpr: "x"}, GetOptions{Timeout: 30 * time.Millisecond}, func(Reply) {})
	if status.Of(err) != status.Deadline {
		t.Errorf("get: %v", err)
	}
	if cause := <-seen; cause != context.DeadlineExceeded {
		t.Errorf("cause: %v", cause)
	}
}

// Undeclare hides a queryable and leaves its handlers alone.
func TestUndeclare(t *testing.T) {
	bus := NewBus()
	s := bus.Open()
	defer s.Close()
	started, release := make(chan struct{}), make(chan struct{})
	c, err := s.Queryable("x", QueryableOptions{}, func(q Query) {
		close(started)
		<-release
		if q.Context().Err() != nil {
			t.Error("the query's context has ended")
		}
		_ = q.Reply("x", []byte("done"), ReplyOptions{})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := Ask(context.Background(), s, Selector{KeyExpr: "x"}, GetOptions{})
		got <- err
	}()
	<-started
	c.(Undeclarer).Undeclare()
	if _, err := Ask(context.Background(), s, Selector{KeyExpr: "x"}, GetOptions{}); status.Of(err) != status.Unavailable {
		t.Errorf("it still answers: %v", err)
	}
	close(release)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestHeldRepliesAreBounded(t *testing.T) {
	s := NewBus().Open()
	defer s.Close()
	var refused error
	if _, err := s.Queryable("k/**", QueryableOptions{Inline: true, Complete: true}, func(q Query) {
		for i := 0; refused == nil; i++ {
			refused = q.Reply(fmt.Sprintf("k/%d", i), nil, ReplyOptions{})
		}
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := s.Get(context.Background(), Selector{KeyExpr: "k/*"}, GetOptions{}, func(Reply) { n++ })
	if status.Of(err) != status.Overloaded || status.Of(refused) != status.Overloaded || n != 0 {
		t.Errorf("get: %v, reply: %v, %d delivered", err, refused, n)
	}
}

func TestSessionsLeaveNothingBehind(t *testing.T) {
	bus := NewBus()
	for range 100 {
		s := bus.Open()
		for i := range 10 {
			expr := []string{"a/b", "a/**", "*/x"}[i%3]
			if _, err := s.Subscribe(expr, SubscribeOptions{}, func(Sample) {}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Queryable(expr, QueryableOptions{}, func(Query) {}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Token("t/x"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.SubscribeLiveliness(expr, true, func(Sample) {}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := bus.queryables.tree.Len(), bus.subscriptions.tree.Len(); n != 0 || m != 0 {
		t.Errorf("%d queryables and %d subscriptions are left", n, m)
	}
	if len(bus.liveliness.tokens) != 0 || len(bus.liveliness.subs) != 0 {
		t.Errorf("%d tokens and %d followers are left", len(bus.liveliness.tokens), len(bus.liveliness.subs))
	}
}
