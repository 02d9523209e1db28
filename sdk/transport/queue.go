package transport

import (
	"context"

	"github.com/essa-project/essad/sdk/internal/mailbox"
)

// defaultQueue is how many samples wait for a subscriber's handler unless it asks for another number.
const defaultQueue = 1024

// subscription is what a session subscribes to, and what waits for its handler.
type subscription struct {
	mailbox.Mailbox[Sample]
	session *session
	expr    string
}

func newSubscription(s *session, expr string, limit int, h func(Sample)) *subscription {
	if limit <= 0 {
		limit = defaultQueue
	}
	q := &subscription{session: s, expr: expr}
	q.Init(mailbox.Options[Sample]{Limit: limit, Call: h})
	return q
}

// newFollower is newSubscription for liveliness: nothing is lost, but what later changes undo is left out. Membership must come
// out right in the end.
func newFollower(s *session, expr string, h func(Sample)) *subscription {
	q := &subscription{session: s, expr: expr}
	q.Init(mailbox.Options[Sample]{Limit: livelinessQueue, Call: h, Reduce: latestOfEach})
	return q
}

// latestOfEach leaves out changes of tokens that later ones undo.
func latestOfEach(changes []Sample) []Sample {
	return mailbox.Latest(changes,
		func(s *Sample) (key string, gone bool) { return s.Key, s.Kind == Delete },
		func(key string) Sample { return Sample{Key: key, Kind: Delete} })
}

// wait blocks until there is room for the sample, or ctx or the publisher's session ends.
func (q *subscription) wait(ctx context.Context, publisher *session, s *Sample) error {
	switch {
	case q.Wait(s, ctx.Done(), publisher.done, 0):
		return nil
	case ctx.Err() != nil:
		return contextError(ctx, "put on", s.Key)
	}
	return publisher.endError()
}

func (q *subscription) join() { q.Join() }
