package transport

import "github.com/essa-project/essad/sdk/status"

// CheckReplyKey returns an Invalid error unless key may answer a query on asked.
func CheckReplyKey(asked, key string) error {
	if key == asked {
		return nil
	}
	if err := ValidKeyExpr(key); err != nil {
		return err
	}
	if !Intersects(key, asked) {
		return status.Errorf(status.Invalid, "reply with key %q to a query on %q: they do not intersect", key, asked)
	}
	return nil
}

// Op is one thing that a session does on a key expression.
type Op uint8

// The operations.
const (
	OpPut Op = iota
	OpSubscribe
	OpGet
	OpQueryable
	OpToken
	OpLiveliness // SubscribeLiveliness and GetLiveliness
)

// String returns what a refusal calls the operation.
func (op Op) String() string {
	switch op {
	case OpPut:
		return "put on"
	case OpSubscribe:
		return "subscribe to"
	case OpGet:
		return "query"
	case OpQueryable:
		return "answer queries on"
	case OpToken:
		return "declare a token on"
	case OpLiveliness:
		return "follow tokens on"
	}
	return "use"
}

// Policy says what a session that comes in over a link may do: nil, or a Denied error that says what is refused.
type Policy func(op Op, keyExpr string) error

// Undeclarer is implemented by the Closers of a Bus: Undeclare is Close as far as others see it, but leaves the handlers
// that run, and the contexts of their queries, alone. It is for those who pass another's declarations on: when that one's
// handlers have to end is not theirs to say.
type Undeclarer interface{ Undeclare() }

// DropCounter is implemented by sessions that can tell how many samples they have lost because a subscription's queue was
// full and the sample's congestion choice was Drop.
type DropCounter interface{ Dropped() uint64 }
