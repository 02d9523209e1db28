package plugin

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

// Engine is an engine on the other side of the border. It is an engine.Engine.
type Engine struct {
	Process

	log    hclog.Logger
	border engine.Border
	grace  time.Duration
	late   func(LateCall)

	mu      sync.Mutex
	nextSrc uint64
	sources map[uint64]*source // what is being prepared
	given   map[uint64]Given   // up: calls of which some are still owed, by their requests
}

// Given names a call that was given up. It has none of its arguments, which may be large.
type Given struct {
	Call                    hlc.ID
	Scope, Module, Function string
}

// maxGiven bounds the calls that can be named. Beyond it those that are not owed any more are forgotten, and where all are,
// no further one is named.
const maxGiven = 128

// giveUp remembers what a request was that may still be answered.
func (e *Engine) giveUp(id uint64, c *engine.Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.given) >= maxGiven {
		maps.DeleteFunc(e.given, func(id uint64, _ Given) bool { return !e.peer.conn.Owes(id) })
	}
	if len(e.given) < maxGiven {
		e.given[id] = Given{Call: c.ID, Scope: c.Scope, Module: c.Module, Function: c.Function}
	}
}

// Cancelled tells which call a request was, of which Overdue says that it goes on.
func (e *Engine) Cancelled(id uint64) (g Given, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g, known = e.given[id]
	return g, known
}

var _ engine.Engine = (*Engine)(nil)

// engineAsks are the requests an engine may make.
var engineAsks = []uint8{typeLoad, typeMerge, typeCall, typeOutput, typeInput, typeModuleRead, typeDrain}

// Info implements engine.Engine.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	f, err := e.peer.call(ctx, 0, typeInfo, nil, nil)
	if err != nil {
		return engine.Info{}, err
	}
	defer f.Release()
	return parseEngineInfo(f.Body)
}

// Prepare implements engine.Engine. The module's bytes travel only where the engine asks for them.
func (e *Engine) Prepare(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	src := &source{open: open}
	e.mu.Lock()
	e.nextSrc++
	id := e.nextSrc
	e.sources[id] = src
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.sources, id)
		e.mu.Unlock()
		src.close()
	}()

	s := getScratch()
	defer s.put()
	s.b = putInt(putString(s.b, 1, m.SHA256), 2, m.Size)
	s.b = putString(putTimeout(putUint(s.b, 3, id), 4, ctx), 5, m.WarmUp)
	f, err := e.peer.call(ctx, 0, typePrepare, s.b, nil)
	if err != nil {
		return engine.ModuleInfo{}, err
	}
	defer f.Release()
	return parseModuleInfo(f.Body)
}

// Invoke implements engine.Engine. When ctx's deadline passes the engine has a moment to end the call itself and to say how it ended;
// where it does not use it, it is reported as late.
func (e *Engine) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	s := getScratch()
	s.b = appendInvoke(s.b, c, deadlineOf(ctx))
	before := e.Progress()
	f, err := e.peer.call(ctx, e.grace, typeInvoke, s.b, c.Args)
	s.put()
	if err != nil {
		if a := (*frame.AbandonedError)(nil); errors.As(err, &a) {
			e.giveUp(a.ID, c)
		}
		if id, late := e.isLate(c, err); late {
			e.late(LateCall{Call: c, Silent: e.Progress() == before, id: id, process: &e.Process})
		}
		return nil, err
	}
	return keepResult(&f)
}

// atDeadline is how long before its deadline a call may be cancelled and still be looked at when that has passed. Who waits
// for it gives up by a clock of its own, and the fabric looks at that only now and then.
const atDeadline = 250 * time.Millisecond

// isLate reports whether a call that failed with err has gone on past its deadline and past the grace, and as which request.
func (e *Engine) isLate(c *engine.Call, err error) (id uint64, late bool) {
	a := (*frame.AbandonedError)(nil)
	if e.late == nil || e.grace <= 0 || !errors.As(err, &a) {
		return 0, false
	}
	if errors.Is(err, frame.ErrLate) {
		return a.ID, true
	}
	if c.Deadline.IsZero() || time.Until(c.Deadline) > atDeadline {
		return 0, false
	}
	// It was cancelled, because whoever asked for it has given up. Nobody waits here any more, so there is time to look.
	end := time.Now()
	if c.Deadline.After(end) {
		end = c.Deadline
	}
	for end = end.Add(e.grace); e.peer.conn.Owes(a.ID); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return a.ID, true
		}
	}
	return 0, false
}

// keepResult reads the result in f, which is the result's then.
func keepResult(f *frame.Frame) (*engine.Result, error) {
	r, err := parseResult(f.Body)
	if err != nil {
		return nil, err
	}
	r.Value = keep(f, r.Value)
	return r, nil
}

// maxUpdateBytes is about how much of an update one frame carries.
const maxUpdateBytes = 4 << 20

// Update implements engine.Engine.
func (e *Engine) Update(ctx context.Context, updates []engine.CacheUpdate) error {
	s := getScratch()
	defer s.put()
	for len(updates) > 0 {
		s.b = s.b[:0]
		for len(updates) > 0 && len(s.b) < maxUpdateBytes {
			s.b = appendUpdate(s.b, &updates[0])
			updates = updates[1:]
		}
		if err := e.peer.do(ctx, typeUpdate, nil, s.b); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connection, which ends the plugin.
func (e *Engine) Close() error {
	e.Disconnect()
	return nil
}

// handle answers what the engine asks.
func (e *Engine) handle(r *frame.Request) {
	if r.Type == typeModuleRead {
		handle(e.log, r, e.moduleRead)
		return
	}
	handle(e.log, r, e.ask)
}

func (e *Engine) ask(r *frame.Request) error {
	a, err := parseAsk(r.Type, r.Body)
	if err != nil {
		return err
	}
	ctx := within(r, a.timeout)
	s := getScratch()
	defer s.put()
	switch r.Type {
	case typeLoad:
		v, err := e.border.Load(ctx, &a.origin, a.key, a.n != 0)
		s.b = appendValue(s.b, v)
		return settle(r, s.b, v.Data, err)
	case typeMerge:
		version, err := e.border.Merge(ctx, &a.origin, a.key, a.data)
		s.b = putUint(s.b, 1, version)
		return settle(r, s.b, nil, err)
	case typeCall:
		c, _, err := parseInvoke(a.data, nil)
		if err != nil {
			return err
		}
		res, err := e.border.Call(ctx, &a.origin, c)
		if err != nil {
			return err
		}
		s.b = appendResult(s.b, res)
		return settle(r, s.b, res.Value, nil)
	case typeOutput:
		err := e.border.Output(ctx, &a.origin, engine.Stream(a.n), a.data)
		return settle(r, nil, nil, err)
	}
	data, err := e.border.Input(ctx, &a.origin, int(int64(a.n)))
	end := errors.Is(err, io.EOF)
	if end {
		err = nil
	}
	s.b = putTail(putBool(s.b, 2, end), 1, len(data))
	return settle(r, s.b, data, err)
}

// settle replies where there is no error; an error is left to the caller.
func settle(r *frame.Request, head, tail []byte, err error) error {
	if err == nil {
		reply(r, head, tail, nil)
	}
	return err
}

// source is a module that is being prepared.
type source struct {
	open func() (io.ReadCloser, error)

	mu     sync.Mutex
	rc     io.ReadCloser
	offset int64
	closed bool
}

// maxModuleRead bounds one piece of a module.
const maxModuleRead = 1 << 20

func (e *Engine) moduleRead(r *frame.Request) error {
	q, err := parseModuleRead(r.Body)
	r.Release()
	if err != nil {
		return err
	}
	e.mu.Lock()
	src := e.sources[q.source]
	e.mu.Unlock()
	if src == nil {
		return status.Errorf(status.NotFound, "module source %d: its prepare is over", q.source)
	}
	s := getScratch()
	defer s.put()
	n := min(max(q.max, 1), maxModuleRead)
	if cap(s.b) < n {
		s.b = make([]byte, 0, n)
	}
	n, end, err := src.read(s.b[:n], q.offset)
	if err != nil {
		return err
	}
	head := putTail(putBool(nil, 2, end), 1, n)
	return settle(r, head, s.b[:n], nil)
}

func (s *source) read(p []byte, offset int64) (n int, end bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, false, status.Errorf(status.Cancelled, "its prepare is over")
	case offset == 0:
		if s.rc != nil {
			s.rc.Close()
		}
		s.offset = 0
		if s.rc, err = s.open(); err != nil {
			s.rc = nil
			return 0, false, err
		}
	case s.rc == nil || offset != s.offset:
		return 0, false, status.Errorf(status.Invalid, "module is read at %d, not at %d where it was left", offset, s.offset)
	}
	n, err = io.ReadFull(s.rc, p)
	s.offset += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.rc != nil {
		s.rc.Close()
		s.rc = nil
	}
}
