package zenoh

import (
	"context"
	"errors"
	"fmt"

	"github.com/essa-project/essad/sdk/zenoh/internal/link"
)

// The errors that callers tell apart with errors.Is.
var (
	// ErrClosed is the error of everything on a session or node that was closed.
	ErrClosed = errors.New("zenoh: closed")
	// ErrDisconnected is the error of everything on a session whose node ended otherwise: a client that lost its gateway
	// and is not to dial again, or a node that was aborted.
	ErrDisconnected = errors.New("zenoh: disconnected")
	// ErrTimeout is in the error of a query that was not final in time. It wraps context.DeadlineExceeded.
	ErrTimeout = fmt.Errorf("zenoh: no final answer in time: %w", context.DeadlineExceeded)
	// ErrKeyExpr is in the error of a key expression that is not valid.
	ErrKeyExpr = errors.New("zenoh: invalid key expression")
	// ErrReplyKey is in the error of a reply whose key does not intersect the query's key expression.
	ErrReplyKey = errors.New("zenoh: the reply's key does not match the query")
	// ErrGone is the error of a reply to a query that nobody waits for any more.
	ErrGone = errors.New("zenoh: nobody waits for the reply")
	// ErrFinal is the error of a reply to a query that is final already.
	ErrFinal = errors.New("zenoh: the query is final")
	// ErrOverload is in the error of what would exceed a bound of Config.
	ErrOverload = errors.New("zenoh: bound exceeded")
	// ErrInUse is in the error of an endpoint that somebody else listens on.
	ErrInUse = link.ErrInUse
	// ErrConfig is in the error of a Config that makes no sense.
	ErrConfig = errors.New("zenoh: configuration")
)
