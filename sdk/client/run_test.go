package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a run as a scheduler that is not real sees it.
type running struct {
	t    *testing.T
	s    transport.Session
	q    transport.Query
	meta *essav1.RunMeta
}

func (r *running) id() string { return hlc.ID(r.meta.Id).String() }

func (r *running) say(seq uint64, stream uint32, text string) {
	r.t.Helper()
	raw, _ := proto.Marshal(&essav1.RunOutput{Seq: seq, Stream: stream, Data: []byte(text), Executor: "e"})
	// The query is over before the last of the output is out.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.s.Put(ctx, "essa/run/"+r.id()+"/out", raw, transport.PutOptions{Congestion: transport.Block})
}

// read asks for input; what is empty is its end.
func (r *running) read(ctx context.Context, n int32) (string, error) {
	raw, _ := proto.Marshal(&essav1.RunInput{Max: n})
	s, err := transport.Ask(ctx, r.s, transport.Selector{KeyExpr: "essa/run/" + r.id() + "/in"}, transport.GetOptions{Payload: raw, Timeout: -1})
	return string(s.Payload), err
}

func (r *running) end(o *essav1.Outcome) {
	raw, _ := proto.Marshal(o)
	_ = r.q.Reply(r.q.KeyExpr(), nil, transport.ReplyOptions{Attachment: raw})
}

// cluster answers runs with h.
func cluster(t *testing.T, h func(*running)) *client.Client {
	t.Helper()
	bus := transport.NewBus()
	s := open(t, bus)
	_, err := s.Queryable("essa/run-module", transport.QueryableOptions{Complete: true}, func(q transport.Query) {
		r := &running{t: t, s: s, q: q, meta: &essav1.RunMeta{}}
		if err := proto.Unmarshal(q.Attachment(), r.meta); err != nil {
			t.Error(err)
		}
		h(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	return client.New(open(t, bus))
}

// buffer is where output goes; gate, if not nil, holds up each write.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	gate chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	if b.gate != nil {
		<-b.gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// The end overtakes the output: all of it is waited for, and in its order.
func TestRunEndOvertakesOutput(t *testing.T) {
	const n = 300 // more than the subscription holds
	c := cluster(t, func(r *running) {
		go func() {
			for i := range uint64(n) {
				r.say(i, 1+uint32(i%2), fmt.Sprint(i, "\n"))
			}
		}()
		r.end(&essav1.Outcome{ExitCode: 3, OutputChunks: n, Executor: "e"})
	})
	var out, errs buffer
	res, err := c.Run(t.Context(), client.RunOptions{Module: "m", Stdout: &out, Stderr: &errs})
	if err != nil || res.ExitCode != 3 || res.Lost != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	var want, wantErrs strings.Builder
	for i := range n {
		w := &want
		if i%2 == 1 {
			w = &wantErrs
		}
		fmt.Fprint(w, i, "\n")
	}
	if out.String() != want.String() || errs.String() != wantErrs.String() {
		t.Errorf("output has %d and %d bytes, want %d and %d", len(out.String()), len(errs.String()), want.Len(), wantErrs.Len())
	}
}

func TestRunCountsLostOutput(t *testing.T) {
	c := cluster(t, func(r *running) {
		r.say(0, 1, "a")
		r.say(3, 1, "b")
		r.end(&essav1.Outcome{OutputChunks: 4, Executor: "e"})
	})
	var out buffer
	res, err := c.Run(t.Context(), client.RunOptions{Stdout: &out})
	if err != nil || res.Lost != 2 || out.String() != "ab" {
		t.Errorf("%+v, %v, output %q", res, err, out.String())
	}
}

// What a module wrote before it failed comes before its error.
func TestRunFails(t *testing.T) {
	c := cluster(t, func(r *running) {
		go r.say(0, 2, "panic: why\n")
		_ = transport.ReplyStatus(r.q, status.Errorf(status.GuestFault, "trap"))
	})
	var errs buffer
	_, err := c.Run(t.Context(), client.RunOptions{Stderr: &errs})
	if status.Of(err) != status.GuestFault || errs.String() != "panic: why\n" {
		t.Errorf("%v, output %q", err, errs.String())
	}
}

// A reader that has stalled does not hold up whoever gives up.
func TestRunCancelledWhileAWriteBlocks(t *testing.T) {
	c := cluster(t, func(r *running) {
		for i := range uint64(3) {
			r.say(i, 1, "x")
		}
		<-r.q.Context().Done()
	})
	out := &buffer{gate: make(chan struct{})}
	defer close(out.gate)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, client.RunOptions{Stdout: out})
		done <- err
	}()
	select {
	case err := <-done:
		if c := status.Of(err); c != status.Deadline && c != status.Cancelled {
			t.Error(err)
		}
	case <-time.After(8 * time.Second):
		t.Fatal("the run does not end")
	}
}

// Input comes in the order in which it is read, in pieces no larger than asked for, and its end stays its end.
func TestRunInput(t *testing.T) {
	c := cluster(t, func(r *running) {
		got := ""
		for {
			s, err := r.read(r.q.Context(), 3)
			if err != nil || len(s) > 3 {
				t.Errorf("read %q, %v", s, err)
				return
			}
			if s == "" {
				break
			}
			got += s
		}
		if s, err := r.read(r.q.Context(), 3); s != "" || err != nil || got != "hello, world" {
			t.Errorf("input %q, then %q, %v", got, s, err)
		}
		if _, err := r.read(r.q.Context(), 0); status.Of(err) != status.Invalid {
			t.Errorf("a request for nothing: %v", err)
		}
		r.end(&essav1.Outcome{})
	})
	if _, err := c.Run(t.Context(), client.RunOptions{Stdin: strings.NewReader("hello, world")}); err != nil {
		t.Error(err)
	}
}

// A read that fails is not the end of the input.
func TestRunInputFails(t *testing.T) {
	c := cluster(t, func(r *running) {
		if s, err := r.read(r.q.Context(), 100); s != "half" || err != nil {
			t.Errorf("read %q, %v", s, err)
		}
		if s, err := r.read(r.q.Context(), 100); err == nil || !strings.Contains(err.Error(), "disk on fire") {
			t.Errorf("read %q, %v", s, err)
		}
		r.end(&essav1.Outcome{})
	})
	in := io.MultiReader(strings.NewReader("half"), failing{})
	if _, err := c.Run(t.Context(), client.RunOptions{Stdin: in}); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// Nobody presses a key: the run ends all the same, and what a request that was given up would have got is not lost.
func TestRunEndsWhileAReadBlocks(t *testing.T) {
	in, keys := io.Pipe()
	t.Cleanup(func() { _ = keys.Close() })
	c := cluster(t, func(r *running) {
		ctx, cancel := context.WithTimeout(r.q.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := r.read(ctx, 10); status.Of(err) != status.Deadline && status.Of(err) != status.Cancelled {
			t.Errorf("a read without input: %v", err)
		}
		go func() { _, _ = keys.Write([]byte("late")) }()
		if s, err := r.read(r.q.Context(), 10); s != "late" || err != nil {
			t.Errorf("read %q, %v", s, err)
		}
		go func() { _, _ = r.read(r.q.Context(), 10) }()
		time.Sleep(10 * time.Millisecond)
		r.end(&essav1.Outcome{})
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), client.RunOptions{Stdin: in})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(8 * time.Second):
		t.Fatal("the run does not end")
	}
}

// Only where nobody answers is it said that nobody may be there.
func TestNobodyAnswers(t *testing.T) {
	_, err := client.New(open(t, transport.NewBus())).Run(t.Context(), client.RunOptions{})
	if status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "is a daemon with a scheduler running") {
		t.Error(err)
	}
	c := cluster(t, func(r *running) {
		_ = transport.ReplyStatus(r.q, status.Safe(status.Errorf(status.Unavailable, "the engine died")))
	})
	if _, err = c.Run(t.Context(), client.RunOptions{}); status.Of(err) != status.Unavailable || err.Error() != "the engine died" {
		t.Error(err)
	}
}

// admin answers administrative requests with h.
func admin(t *testing.T, h func(verb string, payload []byte) (proto.Message, error)) (*client.Client, transport.Session) {
	t.Helper()
	bus := transport.NewBus()
	s := open(t, bus)
	_, err := s.Queryable("essa/admin/scheduler/*", transport.QueryableOptions{Complete: true}, func(q transport.Query) {
		out, err := h(strings.TrimPrefix(q.KeyExpr(), "essa/admin/scheduler/"), q.Payload())
		if err != nil {
			_ = transport.ReplyStatus(q, err)
			return
		}
		raw, _ := proto.Marshal(out)
		_ = q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
	})
	if err != nil {
		t.Fatal(err)
	}
	return client.New(open(t, bus)), s
}

func TestUpload(t *testing.T) {
	var stored bytes.Buffer
	committed, puts := false, 0
	has := false
	c, _ := admin(t, func(verb string, payload []byte) (proto.Message, error) {
		if verb == "module-has" {
			return &essav1.ModuleHasReply{Found: has}, nil
		}
		m := &essav1.ModulePutRequest{}
		if err := proto.Unmarshal(payload, m); err != nil {
			return nil, err
		}
		if m.Commit {
			committed = m.Size == int64(stored.Len())
			return &essav1.ModuleHasReply{Found: true}, nil
		}
		if int(m.Index) != puts || len(m.Data) > client.ChunkBytes {
			t.Errorf("chunk %d of %d bytes as number %d", m.Index, len(m.Data), puts)
		}
		puts++
		stored.Write(m.Data)
		return &essav1.ModuleHasReply{}, nil
	})
	wasm := bytes.Repeat([]byte{1, 2, 3, 4, 5}, client.ChunkBytes/2) // two chunks and a half
	var told []int64
	sha, err := c.Upload(t.Context(), bytes.NewReader(wasm), func(sent, size int64) { told = append(told, sent, size) })
	want, size, _ := client.ModuleDigest(bytes.NewReader(wasm))
	if err != nil || sha != want || !committed || !bytes.Equal(stored.Bytes(), wasm) {
		t.Errorf("%s, %v: %d bytes stored, committed %v", sha, err, stored.Len(), committed)
	}
	if fmt.Sprint(told) != fmt.Sprint([]int64{1 << 20, size, 2 << 20, size, size, size}) {
		t.Errorf("progress %v", told)
	}
	puts, has = 0, true
	if _, err := c.Upload(t.Context(), bytes.NewReader(wasm), func(int64, int64) { t.Error("progress of nothing") }); err != nil || puts != 0 {
		t.Errorf("what is there is sent again: %d chunks, %v", puts, err)
	}
	if _, err := c.Upload(t.Context(), &broken{}, nil); status.Of(err) != status.Invalid {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

type broken struct{ failing }

func (broken) Seek(int64, int) (int64, error) { return 0, nil }

// Following shows the past and the present once each, and ends with the session.
func TestFollowLogs(t *testing.T) {
	bus := transport.NewBus()
	s := open(t, bus)
	rec := func(line string, at int64) *essav1.LogRecord {
		return &essav1.LogRecord{Line: []byte(line), TimeUnixNano: at, Executor: "e"}
	}
	put := func(r *essav1.LogRecord) {
		raw, _ := proto.Marshal(r)
		if err := s.Put(t.Context(), "essa/admin/log/shop", raw, transport.PutOptions{Congestion: transport.Block}); err != nil {
			t.Error(err)
		}
	}
	_, err := s.Queryable("essa/admin/executor/e/logs", transport.QueryableOptions{Complete: true}, func(q transport.Query) {
		put(rec("two", 2)) // written while the past is read: it is in both
		put(rec("three", 3))
		raw, _ := proto.Marshal(&essav1.LogsReply{Records: []*essav1.LogRecord{rec("one", 1), rec("two", 2)}})
		_ = q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
	})
	if err != nil {
		t.Fatal(err)
	}
	mine := open(t, bus)
	got, ended := make(chan string, 10), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		ended <- client.New(mine).FollowLogs(ctx, "shop", 1000, func(r *essav1.LogRecord) { got <- string(r.Line) })
	}()
	for _, want := range []string{"one", "two", "three"} {
		if l := <-got; l != want {
			t.Errorf("line %q, want %q", l, want)
		}
	}
	_ = mine.Close()
	select {
	case err := <-ended:
		if status.Of(err) != status.Unavailable {
			t.Error(err)
		}
	case <-time.After(8 * time.Second):
		t.Fatal("following does not end with its session")
	}
}
