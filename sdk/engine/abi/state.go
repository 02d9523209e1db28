package abi

import "bytes"

// Host is what the imports ask of the runtime. Errors that are an *End end the invocation; every other error the guest
// learns as a code.
type Host interface {
	// Callee tells whether the module's export name can be called: OK, NoSuchFunction or InvalidFunctionSignature.
	Callee(name []byte) Code
	// Start queues a call of the module's export name; it keeps args.
	Start(name string, args []byte) (Future, error)
	// Load reads what is stored under key, and with wait blocks until there is something. It does not keep key.
	Load(key []byte, wait bool) (Value, error)
	// Merge merges a bincode lattice value into key. It keeps neither.
	Merge(key, value []byte) error
	// CheckResult tells whether a result of n bytes may be set.
	CheckResult(n int) error
}

// Future is a call under way.
type Future interface {
	// Wait blocks until the call has ended, and tells its result again each time it is asked. ok is false where the call
	// ended well and set no result.
	Wait() (value []byte, ok bool, err error)
	// Forget drops what Wait tells; the call itself goes on.
	Forget()
}

// Value is a stored value. All of it is immutable.
type Value struct {
	Key  string
	Data []byte
}

// State is what the imports remember of one invocation. It belongs to the goroutine that runs the guest.
type State struct {
	Host Host
	Args []byte

	result    []byte
	hasResult bool

	handles map[uint32]Future
	settled map[uint32]settled // handles of calls that failed or had no result, and whose guest knows
	last    uint32

	snaps *[maxSnaps]Value // made when first needed
	next  int
}

// settled is how a call ended that left nothing to fetch.
type settled struct {
	code Code
	err  error
}

// maxSnaps is how many values the guest asked the length of are kept for it. Beyond it the oldest is read again.
const maxSnaps = 16

// Result returns what the guest set last.
func (s *State) Result() (value []byte, ok bool) { return s.result, s.hasResult }

// Open returns the number of handles whose calls' ends the guest has not learnt.
func (s *State) Open() int { return len(s.handles) }

// keep remembers v for the read of its data that follows.
func (s *State) keep(v Value) {
	if s.snaps == nil {
		s.snaps = new([maxSnaps]Value)
	}
	for i := range s.snaps {
		if s.snaps[i].Data != nil && s.snaps[i].Key == v.Key {
			s.snaps[i] = v
			return
		}
	}
	s.snaps[s.next] = v
	s.next = (s.next + 1) % maxSnaps
}

// kept returns what is remembered of key.
func (s *State) kept(key []byte) *Value {
	if s.snaps == nil {
		return nil
	}
	for i := range s.snaps {
		if s.snaps[i].Data != nil && bytes.Equal([]byte(s.snaps[i].Key), key) {
			return &s.snaps[i]
		}
	}
	return nil
}
