//go:build zenohc

package zenohc

import (
	"sync/atomic"
	"time"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/internal/mailbox"
)

// queue is a subscriber's mailbox. Samples are put by threads of the library.
type queue struct {
	mailbox.Mailbox[native.Sample]
	patience time.Duration
	dropped  *atomic.Uint64
}

func (q *queue) init(limit int, patience time.Duration, dropped *atomic.Uint64, h func(native.Sample)) {
	q.patience, q.dropped = patience, dropped
	q.Init(mailbox.Options[native.Sample]{Limit: limit, Call: h})
}

// put takes the sample. Where there is no room it is lost, or waits for some time if it may.
func (q *queue) put(s native.Sample, wait bool) {
	if q.Offer(&s) || wait && q.Wait(&s, nil, nil, q.patience) {
		return
	}
	q.dropped.Add(1)
}
