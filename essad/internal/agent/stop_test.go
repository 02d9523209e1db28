package agent

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/client"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// A daemon that is told to stop answers the calls in flight by the socket they came by, and takes no new ones.
func TestStopAnswersCallsInFlight(t *testing.T) {
	cfg := load(t, shortDir(t), withoutPlugins)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := New(cfg, hclog.NewNullLogger())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func() { close(ready) }) }()
	<-ready
	s := dial(t, cfg)
	defer s.Close()
	c := &cluster{t: t, session: s, client: client.New(s), open: func() transport.Session {
		s, err := a.open()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}}
	running, release := make(chan struct{}, 8), make(chan struct{})
	stop := c.executor("x", 4, func(q transport.Query, _ *essav1.Invocation) {
		running <- struct{}{}
		select {
		case <-release:
			done(q, "answered")
		case <-q.Context().Done():
		}
	})
	defer stop()
	c.eventually("the executor is known", func() bool { return len(a.scheduler.Status().Executors) == 1 })
	c.deploy("shop", "module")
	type end struct {
		value string
		err   error
	}
	got := make(chan end, 1)
	go func() {
		v, err := c.call("shop", client.CallOptions{})
		got <- end{v, err}
	}()
	<-running
	cancel()
	c.eventually("new calls are refused", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, err := c.client.Call(ctx, "shop", "f", nil, client.CallOptions{})
		return status.Of(err) == status.Unavailable
	})
	close(release)
	if e := <-got; e.value != "answered" || e.err != nil {
		t.Errorf("a call in flight ends with %q, %v", e.value, e.err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
