package zenoh

// Handler takes what a subscriber, a queryable or a listener gets: a Closure, a FifoChannel or a RingChannel.
type Handler[T any] interface {
	// bind returns what to call for each item, what to call once after the last, and the channel that Handler returns.
	// Closing stop makes a call that waits for room return.
	bind(stop <-chan struct{}) (call func(T), drop func(), ch <-chan T)
}

// discard ends what somebody would have had to end.
func discard(x any) {
	if q, ok := x.(*Query); ok {
		q.Drop()
	}
}

// Closure is a Handler that calls a function.
type Closure[T any] struct {
	Call func(T)
	Drop func() // called once, after the last Call has ended; may be nil
}

func (c Closure[T]) bind(<-chan struct{}) (func(T), func(), <-chan T) { return c.Call, c.Drop, nil }

// FifoChannel is a Handler that puts everything into a channel, in order. What feeds it waits while the channel is full, so
// that it is the subscriber's queue that overflows. The channel is closed when what it belongs to is undeclared.
type FifoChannel[T any] struct{ capacity int }

// NewFifoChannel makes a FifoChannel for capacity items.
func NewFifoChannel[T any](capacity int) FifoChannel[T] { return FifoChannel[T]{max(capacity, 0)} }

func (f FifoChannel[T]) bind(stop <-chan struct{}) (func(T), func(), <-chan T) {
	ch := make(chan T, f.capacity)
	call := func(x T) {
		select {
		case ch <- x:
			return
		default:
		}
		select {
		case ch <- x:
		case <-stop:
			discard(x)
		}
	}
	return call, func() { close(ch) }, ch
}

// RingChannel is a Handler that puts everything into a channel, in order; when it is full the oldest item makes room.
type RingChannel[T any] struct{ capacity int }

// NewRingChannel makes a RingChannel for capacity items.
func NewRingChannel[T any](capacity int) RingChannel[T] { return RingChannel[T]{max(capacity, 1)} }

func (r RingChannel[T]) bind(<-chan struct{}) (func(T), func(), <-chan T) {
	ch := make(chan T, r.capacity)
	call := func(x T) {
		for {
			select {
			case ch <- x:
				return
			default:
			}
			select {
			case oldest := <-ch:
				discard(oldest)
			default:
			}
		}
	}
	return call, func() { close(ch) }, ch
}
