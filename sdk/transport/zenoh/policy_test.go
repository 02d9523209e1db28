package zenoh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// A query that a policy refuses is an error of its class at the asker, which may be behind a hub or at the hub itself.
func TestPolicy(t *testing.T) {
	secret := func(op transport.Op, key string) error {
		if strings.HasPrefix(key, "secret/") {
			return status.Errorf(status.Denied, "clients may not %v %q", op, key)
		}
		return nil
	}
	hub := open(t, zenoh.Config{
		Mode: zenoh.ModeRouter, Listen: listen("tcp/127.0.0.1:0"),
		Policy: Policy(func(from *zenoh.Transport) transport.Policy {
			if from.Relation == zenoh.RelationSouth {
				return secret
			}
			return nil
		}),
	})
	_, err := hub.Queryable("**", transport.QueryableOptions{Complete: true}, func(q transport.Query) {
		_ = q.Reply(q.KeyExpr(), nil, transport.ReplyOptions{})
	})
	if err != nil {
		t.Fatal(err)
	}
	client := open(t, zenoh.Config{Mode: zenoh.ModeClient, Connect: hub.s.Locators()})
	peer := open(t, zenoh.Config{Connect: hub.s.Locators()})
	for _, x := range []struct {
		name string
		s    *Session
		key  string
		want status.Class
	}{
		{"client", client, "open/x", status.OK},
		{"client", client, "secret/x", status.Denied},
		{"peer", peer, "secret/x", status.OK},
		{"hub", hub, "secret/x", status.OK},
	} {
		_, err := transport.Ask(context.Background(), x.s, transport.Selector{KeyExpr: x.key}, transport.GetOptions{})
		if status.Of(err) != x.want {
			t.Errorf("%s on %s: %v, want %v", x.name, x.key, err, x.want)
		}
		if err != nil && err.Error() != `clients may not query "secret/x"` {
			t.Errorf("the text is %q", err)
		}
	}
}

func TestClasses(t *testing.T) {
	for _, x := range []struct {
		err  error
		want status.Class
	}{
		{nil, status.OK},
		{zenoh.ErrKeyExpr, status.Invalid},
		{zenoh.ErrReplyKey, status.Invalid},
		{zenoh.ErrFinal, status.Invalid},
		{zenoh.ErrClosed, status.Cancelled},
		{zenoh.ErrGone, status.Cancelled},
		{zenoh.ErrDisconnected, status.Unavailable},
		{zenoh.ErrOverload, status.Overloaded},
		{zenoh.ErrTimeout, status.Deadline},
		{context.Canceled, status.Cancelled},
		{errors.New("something"), status.Unavailable},
	} {
		err := x.err
		if err != nil {
			err = fmt.Errorf("query: %w", err)
		}
		got := classify("query", "x", err)
		if status.Of(got) != x.want || x.err != nil && !errors.Is(got, x.err) {
			t.Errorf("%v becomes %v (%v), want %v", x.err, got, status.Of(got), x.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for name, x := range map[string]struct {
		c    zenoh.Config
		want status.Class
	}{
		"nobody there": {zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{"unixsock-stream//nonexistent/s"}}, status.Unavailable},
		"a mistake":    {zenoh.Config{Mode: zenoh.ModeClient}, status.Invalid},
	} {
		s, err := Open(ctx, x.c)
		if err == nil {
			_ = s.Close()
		}
		if status.Of(err) != x.want {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

func TestEncodingsThatAreTooLong(t *testing.T) {
	s := open(t, zenoh.Config{})
	ctx, long := context.Background(), "text/plain;"+strings.Repeat("x", 300)
	errs := map[string]error{
		"Put": s.Put(ctx, "x", nil, transport.PutOptions{Encoding: long}),
		"Get": s.Get(ctx, transport.Selector{KeyExpr: "x"}, transport.GetOptions{Encoding: long}, func(transport.Reply) {}),
	}
	for what, err := range errs {
		if status.Of(err) != status.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}
