package zenoh

import (
	"context"
	"errors"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// classes are the classes of sdk/zenoh's errors.
var classes = []struct {
	err   error
	class status.Class
}{
	{zenoh.ErrKeyExpr, status.Invalid},
	{zenoh.ErrReplyKey, status.Invalid},
	{zenoh.ErrFinal, status.Invalid},
	{zenoh.ErrConfig, status.Invalid},
	{zenoh.ErrClosed, status.Cancelled},
	{zenoh.ErrGone, status.Cancelled},
	{zenoh.ErrDisconnected, status.Unavailable},
	{zenoh.ErrInUse, status.Conflict},
	{zenoh.ErrOverload, status.Overloaded},
	{context.Canceled, status.Cancelled},
	{context.DeadlineExceeded, status.Deadline},
}

// classify gives an error of sdk/zenoh its class.
func classify(what, key string, err error) error {
	if err == nil {
		return nil
	}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return status.Errorf(c.class, "%s %q: %w", what, key, err)
		}
	}
	return status.Errorf(status.Unavailable, "%s %q: %w", what, key, err)
}

// OpenError gives an error of zenoh.Open or zenoh.OpenNode its class: an endpoint that somebody else listens on is a Conflict, a
// gateway that cannot be reached Unavailable.
func OpenError(err error) error {
	if err == nil {
		return nil
	}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return status.Errorf(c.class, "open a session: %w", err)
		}
	}
	return status.Safe(status.Errorf(status.Unavailable, "open a session: %w", err))
}

// errorEncoding is the encoding of an essad error reply; the class code follows it.
const errorEncoding = "text/plain;essa-error="

var ops = map[zenoh.Op]transport.Op{
	zenoh.OpPut: transport.OpPut, zenoh.OpQuery: transport.OpGet, zenoh.OpSubscriber: transport.OpSubscribe,
	zenoh.OpQueryable: transport.OpQueryable, zenoh.OpToken: transport.OpToken, zenoh.OpInterest: transport.OpLiveliness,
}

// Policy makes a zenoh.Policy of one for each session: choose says which for whom, nil for all that is allowed. A query that
// is refused is answered with an error that Ask turns back into one of the same class.
func Policy(choose func(from *zenoh.Transport) transport.Policy) zenoh.Policy {
	return func(from *zenoh.Transport, op zenoh.Op, key string) error {
		allow := choose(from)
		if allow == nil {
			return nil
		}
		if err := allow(ops[op], key); err != nil {
			return refusal{err}
		}
		return nil
	}
}

// refusal is an error with the encoding of an essad error reply.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Encoding implements zenoh.EncodedError.
func (r refusal) Encoding() zenoh.Encoding {
	e, err := zenoh.ParseEncoding(errorEncoding + status.Code(r.error))
	if err != nil { // a code is short
		return zenoh.Encoding{}
	}
	return e
}
