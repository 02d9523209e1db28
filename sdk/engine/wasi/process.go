package wasi

import "time"

func argsGet(s *State, mem []byte, a []uint64) (Errno, error) { return putStrings(mem, a, s.Args), nil }

func environGet(s *State, mem []byte, a []uint64) (Errno, error) {
	return putStrings(mem, a, s.Environ), nil
}

func argsSizesGet(s *State, mem []byte, a []uint64) (Errno, error) { return sizes(mem, a, s.Args), nil }

func environSizesGet(s *State, mem []byte, a []uint64) (Errno, error) {
	return sizes(mem, a, s.Environ), nil
}

func bytesOf(list []string) (n int) {
	for _, s := range list {
		n += len(s) + 1
	}
	return n
}

// sizes writes the number of strings and of their bytes, each with a NUL.
func sizes(mem []byte, a []uint64, list []string) Errno {
	count, ok1 := view(mem, a[0], 4)
	size, ok2 := view(mem, a[1], 4)
	if !ok1 || !ok2 {
		return Fault
	}
	put32(count, len(list))
	put32(size, bytesOf(list))
	return Success
}

// putStrings writes pointers to the strings, and the strings.
func putStrings(mem []byte, a []uint64, list []string) Errno {
	ptrs, ok1 := view(mem, a[0], uint64(4*len(list)))
	buf, ok2 := view(mem, a[1], uint64(bytesOf(list)))
	if !ok1 || !ok2 {
		return Fault
	}
	at := 0
	for i, s := range list {
		put32(ptrs[4*i:], int(uint32(a[1]))+at)
		at += copy(buf[at:], s)
		buf[at] = 0
		at++
	}
	return Success
}

// Clock ids. The two of CPU time tell the time since some moment, as CPU time is not counted.
const (
	clockRealtime = 0
	clockThread   = 3
)

func (s *State) now(clock uint64) int64 {
	if uint32(clock) == clockRealtime {
		return s.Env.Realtime()
	}
	return s.Env.Monotonic()
}

func clockResGet(_ *State, mem []byte, a []uint64) (Errno, error) {
	if uint32(a[0]) > clockThread {
		return Inval, nil
	}
	return write64(mem, a[1], 1), nil
}

func clockTimeGet(s *State, mem []byte, a []uint64) (Errno, error) {
	if uint32(a[0]) > clockThread {
		return Inval, nil
	}
	return write64(mem, a[2], s.now(a[0])), nil
}

// randomChunk is how much randomness is made between two looks at whether the invocation is to end.
const randomChunk = 64 << 10

func randomGet(s *State, mem []byte, a []uint64) (Errno, error) {
	b, ok := view(mem, a[0], a[1])
	if !ok {
		return Fault, nil
	}
	for len(b) > 0 {
		n := min(len(b), randomChunk)
		if err := s.Env.Random(b[:n]); err != nil {
			return IO, err
		}
		b = b[n:]
	}
	return Success, nil
}

func schedYield(s *State, _ []byte, _ []uint64) (Errno, error) { return Success, s.Env.Yield() }

func procExit(_ *State, _ []byte, a []uint64) error { return &Exit{Code: uint32(a[0])} }

// Limits and constants of poll_oneoff.
const (
	maxSubscriptions = 4096
	eventSize        = 32
	eventClock       = 0
	eventRead        = 1
	eventWrite       = 2
	clockAbstime     = 1
)

// layout is where a subscription has its fields; they all begin with u64 userdata and, at 8, the kind.
type layout struct{ size, clock, timeout, flags, fd int }

var (
	layoutPreview1 = layout{size: 48, clock: 16, timeout: 24, flags: 40, fd: 16}
	layoutUnstable = layout{size: 56, clock: 24, timeout: 32, flags: 48, fd: 16}
)

// event is one answer of poll_oneoff.
type event struct {
	userdata []byte
	errno    Errno
	kind     byte
}

// pollOneoff waits for clocks. Streams are always ready: reading them may block, which is sound for a guest of one thread.
func pollOneoff(old bool) body {
	l := layoutPreview1
	if old {
		l = layoutUnstable
	}
	return func(s *State, mem []byte, a []uint64) (Errno, error) {
		n := uint64(uint32(a[2]))
		if n == 0 || n > maxSubscriptions {
			return Inval, nil
		}
		in, ok1 := view(mem, a[0], n*uint64(l.size))
		out, ok2 := view(mem, a[1], n*eventSize)
		count, ok3 := view(mem, a[3], 4)
		if !ok1 || !ok2 || !ok3 {
			return Fault, nil
		}
		events, wait := s.poll(l, in, 0)
		if len(events) == 0 {
			if err := s.flush(); err != nil {
				return IO, err
			}
			if err := s.Env.Sleep(time.Duration(wait)); err != nil {
				return IO, err
			}
			events, _ = s.poll(l, in, wait)
		}
		// The answers may overlay the questions, so they are written when all are read.
		var b [eventSize * 8]byte
		buf := b[:0]
		for _, e := range events {
			buf = append(buf, e.userdata...)
			buf = append(buf, byte(e.errno), byte(e.errno>>8), e.kind)
			buf = append(buf, make([]byte, eventSize-11)...)
		}
		copy(out, buf)
		put32(count, len(events))
		return Success, nil
	}
}

// poll returns what has happened after waiting for slept nanoseconds, or, where nothing has, how long until it does.
func (s *State) poll(l layout, in []byte, slept int64) (events []event, wait int64) {
	wait = -1
	for ; len(in) > 0; in = in[l.size:] {
		e := event{userdata: in[:8], kind: in[8]}
		switch e.kind {
		case eventClock:
			clock := uint64(le32(in[l.clock:]))
			left := int64(min(le64(in[l.timeout:]), 1<<62))
			if clock > clockThread {
				e.errno = Inval
				break
			}
			if in[l.flags]&clockAbstime != 0 {
				left = max(left-s.now(clock), 0)
				if slept > 0 && left < int64(time.Millisecond) {
					left = 0 // timers are coarse; one more round would only spin
				}
			} else {
				left = max(left-slept, 0)
			}
			if left > 0 {
				if wait < 0 || left < wait {
					wait = left
				}
				continue
			}
		case eventRead, eventWrite:
			if !s.open(uint64(le32(in[l.fd:]))) {
				e.errno = BadF
			}
		default:
			e.errno = Inval
		}
		events = append(events, e)
	}
	return events, wait
}
