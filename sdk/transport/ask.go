package transport

import (
	"context"
	"errors"
	"strings"

	"github.com/essa-project/essad/sdk/status"
)

// errorEncoding is the encoding of an essad error reply; the class code follows it.
const errorEncoding = "text/plain;essa-error="

// ReplyStatus answers q with err as an error reply that Ask turns back into an error of the same class.
func ReplyStatus(q Query, err error) error {
	return q.ReplyError([]byte(err.Error()), ErrorEncoding(err))
}

// ErrorEncoding is the encoding of an error reply that stands for err.
func ErrorEncoding(err error) string { return errorEncoding + status.Code(err) }

// AsError turns an error reply back into an error: one with its class if essad wrote it, an Unavailable one otherwise.
func (e *ReplyError) AsError() error {
	if code, ok := strings.CutPrefix(e.Encoding, errorEncoding); ok {
		return status.FromCode(code, string(e.Payload))
	}
	return status.Errorf(status.Unavailable, "error reply: %s", e.Payload)
}

// ErrNobody is in the error of an Ask that no queryable matched, as opposed to one whose answer was an error.
var ErrNobody = errors.New("nobody answers")

// Ask sends a query that one queryable is to answer with one reply, and returns that reply. Nobody answering is an
// Unavailable error, and an error reply is returned as the error it stands for.
//
// That nobody answers does not tell that nobody was asked: a query whose answering side is lost ends in the same way. So the
// error is not marked as safe.
func Ask(ctx context.Context, s Session, sel Selector, opts GetOptions) (Sample, error) {
	opts.Consolidation = None
	var answer struct { // one allocation
		got   bool
		first Reply
	}
	err := s.Get(ctx, sel, opts, func(r Reply) {
		if !answer.got {
			answer.got, answer.first = true, r
		}
	})
	switch {
	case answer.got && answer.first.Err != nil:
		return Sample{}, answer.first.Err.AsError()
	case answer.got:
		return answer.first.Sample, nil
	case err != nil:
		return Sample{}, err
	}
	return Sample{}, status.Errorf(status.Unavailable, "%w on %q", ErrNobody, sel.KeyExpr)
}
