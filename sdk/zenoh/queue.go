package zenoh

import (
	"time"

	"github.com/essa-project/essad/sdk/internal/mailbox"
)

// queue is a subscriber's mailbox. What hands out its samples is one of the node's runners, and is woken with everybody else at
// the end of a batch.
type queue struct {
	mailbox.Mailbox[Sample]
	node *Node
}

// rings are those of all subscribers.
var rings mailbox.Rings[Sample]

// init makes a queue for limit samples. With keepLast it grows beyond that instead of losing any, having first left out what later
// ones undo: liveliness is delivered so, since who is alive must come out right in the end.
func (q *queue) init(n *Node, limit int, keepLast bool, call func(Sample), drop func()) {
	q.node = n
	o := mailbox.Options[Sample]{Limit: limit, Call: call, Drop: drop, Starter: q, Rings: &rings}
	if keepLast {
		o.Reduce = latestOfEach
	}
	q.Init(o)
}

// latestOfEach leaves out changes of tokens that later ones undo.
func latestOfEach(changes []Sample) []Sample {
	return mailbox.Latest(changes,
		func(s *Sample) (key string, gone bool) { return s.KeyExpr.s, s.Kind == SampleKindDelete },
		func(key string) Sample { return Sample{KeyExpr: KeyExpr{key}, Kind: SampleKindDelete} })
}

// wait blocks until there is room for the sample, done is closed or bound (0: never) has passed, and reports whether it is settled.
func (q *queue) wait(s *Sample, done <-chan struct{}, bound time.Duration) bool {
	if x := q.node.tasks.mine(); x != nil {
		x.wake() // it may be this very queue that sleeps
	}
	return q.Wait(s, done, nil, bound)
}

// Start implements mailbox.Starter.
func (q *queue) Start() { q.node.runners.run(q) }

// StartSoon implements mailbox.Starter.
func (q *queue) StartSoon() { q.node.tasks.rouse(q) }

// wakeUp implements waker.
func (q *queue) wakeUp() { q.Start() }

// run implements runnable.
func (q *queue) run() { q.Run() }
