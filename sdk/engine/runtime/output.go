package runtime

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/status"
)

// What a guest writes leaves the engine behind its back: while one piece is on its way, what comes after it gathers to the
// next. A guest that waited for each of its lines could write a few thousand of them a second. It does wait where too much is
// on its way, and before it does anything that others can see, or sees anything of them: a put, a nested call, its own end. So
// nobody can tell the difference.

// outputWindow bounds what a guest has written and nobody has taken, but for the piece that goes beyond it.
const outputWindow = 64 << 10

// output is what an invocation has written and nobody has taken yet.
type output struct {
	border engine.Border
	origin *engine.Origin
	bug    func(where string, p any) error
	less   chan struct{} // told after each piece, and at the sender's end; the invocation's goroutine may wait for it

	mu      sync.Mutex
	pieces  []outputPiece // to be sent, in order
	bytes   int           // of them, and of the one on its way
	sending bool          // a goroutine sends, until there is nothing left or the first error
	err     error         // why a piece was not taken
}

type outputPiece struct {
	stream engine.Stream
	data   []byte
}

// write has p sent. It waits where there is too much to be sent.
func (g *Guest) write(stream int, p []byte) error {
	g.heard(engine.Stream(stream), p)
	if g.out == nil {
		g.out = &output{border: g.rt.border, origin: g.origin(), bug: g.rt.bug, less: make(chan struct{}, 1)}
	}
	full, err := g.out.add(g.context(), engine.Stream(stream), p)
	if err == nil && full {
		err = g.rest(func(ctx context.Context) { _ = g.out.wait(ctx, outputWindow/2) })
	}
	return err
}

// add has p sent, and reports whether there is too much to be sent now. ctx is the sender's.
func (o *output) add(ctx context.Context, s engine.Stream, p []byte) (full bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false, o.failed()
	}
	if last := o.last(); last != nil && last.stream == s {
		last.data = append(last.data, p...)
	} else {
		o.pieces = append(o.pieces, outputPiece{s, bytes.Clone(p)})
	}
	o.bytes += len(p)
	if !o.sending {
		o.sending = true
		go o.send(ctx)
	}
	return o.bytes > outputWindow, nil
}

// last returns the piece that more can be put to, if there is one: not where it ends in the middle of a line, which was too long.
func (o *output) last() *outputPiece {
	if len(o.pieces) == 0 {
		return nil
	}
	p := &o.pieces[len(o.pieces)-1]
	if len(p.data) >= outputWindow || !bytes.HasSuffix(p.data, []byte("\n")) {
		return nil
	}
	return p
}

// failed is the end of the invocation because of err. The lock is held.
func (o *output) failed() error { return &abi.End{Err: status.Wrap(status.Unavailable, o.err)} }

// send sends piece by piece. It knows nothing of the invocation, which may have ended when it returns.
func (o *output) send(ctx context.Context) {
	for {
		o.mu.Lock()
		if len(o.pieces) == 0 || o.err != nil || ctx.Err() != nil {
			o.sending = false
			o.tell()
			o.mu.Unlock()
			return
		}
		p := o.pieces[0]
		o.pieces = o.pieces[1:]
		o.mu.Unlock()
		err := o.pass(ctx, p)
		o.mu.Lock()
		o.bytes -= len(p.data)
		if ctx.Err() == nil { // otherwise the invocation has been ended, for a reason of its own
			o.err = err
		}
		o.tell()
		o.mu.Unlock()
	}
}

func (o *output) pass(ctx context.Context, p outputPiece) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = o.bug("Border.Output", x)
		}
	}()
	return o.border.Output(ctx, o.origin, p.stream, p.data)
}

func (o *output) tell() {
	select {
	case o.less <- struct{}{}:
	default:
	}
}

// wait returns when no more than so many bytes are to be taken, with the reason where that will never be, or when ctx ends.
func (o *output) wait(ctx context.Context, most int) error {
	for o != nil {
		o.mu.Lock()
		left, err := o.bytes, o.err
		if err != nil {
			err = o.failed()
		}
		o.mu.Unlock()
		if err != nil || left <= most {
			return err
		}
		select {
		case <-o.less:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// settle waits until all that the guest has written was taken. The error ends the guest.
func (g *Guest) settle() error {
	if g.out == nil || g.out.idle() {
		return nil
	}
	return g.pause(func(context.Context) {})
}

// idle reports whether all was taken.
func (o *output) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes == 0 && o.err == nil
}

// flushTime is how long the last words of a guest that was ended may take.
const flushTime = 50 * time.Millisecond

// flush passes on what is left of the output, lines that were only begun included.
func (g *Guest) flush() error {
	var err error
	if !g.ended.Load() {
		if err = g.wasi.Flush(); err == nil {
			err = g.settle()
		}
	}
	if g.ended.Load() { // maybe only now
		err = g.flushEnded()
	}
	if err == nil { // asking what kind it is takes an allocation
		return nil
	}
	if end := (*abi.End)(nil); errors.As(err, &end) {
		return end.Err
	}
	return err
}

// flushEnded passes on the last words of a guest that was ended.
func (g *Guest) flushEnded() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.base), flushTime)
	defer cancel()
	g.wasi.Env = lastWords{(*env)(g), ctx}
	for _, p := range g.out.rest(ctx) {
		if err := g.out.pass(ctx, p); err != nil {
			return err
		}
	}
	return g.wasi.Flush()
}

// rest returns what an ended sender has left, or nothing where it has not ended in time.
func (o *output) rest(ctx context.Context) []outputPiece {
	for o != nil {
		o.mu.Lock()
		sending, pieces, err := o.sending, o.pieces, o.err
		o.mu.Unlock()
		if err != nil {
			return nil
		}
		if !sending {
			return pieces
		}
		select {
		case <-o.less:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// lastWords passes on output of a guest that was ended.
type lastWords struct {
	*env
	ctx context.Context
}

func (l lastWords) Output(stream int, p []byte) error {
	if room := l.lim.Log - l.logged; l.lim.Log > 0 {
		p = p[:min(int64(len(p)), max(room, 0))]
	}
	(*Guest)(l.env).heard(engine.Stream(stream), p)
	return l.rt.border.Output(l.ctx, (*Guest)(l.env).origin(), engine.Stream(stream), bytes.Clone(p))
}
