package executor

import (
	"sync"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
)

// logs keeps the newest output of each deployment in a ring bounded by bytes, and at most maxRings rings.
type logs struct {
	ringBytes int64

	mu    sync.Mutex
	rings map[string]*ring
}

// maxRings bounds how many deployments' output is kept; beyond it the one that was quiet for longest goes.
const maxRings = 1024

type ring struct {
	records []*essav1.LogRecord
	bytes   int64
	lost    uint64
	newest  int64
}

func newLogs(ringBytes int64) *logs {
	return &logs{ringBytes: ringBytes, rings: map[string]*ring{}}
}

// recordOverhead is what a record costs besides its line, roughly.
const recordOverhead = 96

func (l *logs) add(rec *essav1.LogRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rings[rec.Deployment]
	if r == nil {
		if len(l.rings) >= maxRings {
			l.dropQuietest()
		}
		r = &ring{}
		l.rings[rec.Deployment] = r
	}
	r.records = append(r.records, rec)
	r.bytes += int64(len(rec.Line)) + recordOverhead
	r.newest = rec.TimeUnixNano
	for r.bytes > l.ringBytes && len(r.records) > 1 {
		r.bytes -= int64(len(r.records[0].Line)) + recordOverhead
		r.records = r.records[1:]
		r.lost++
	}
}

func (l *logs) dropQuietest() {
	var name string
	var at int64
	for n, r := range l.rings {
		if name == "" || r.newest < at {
			name, at = n, r.newest
		}
	}
	delete(l.rings, name)
}

// tail returns the newest records of a deployment whose lines fit into maxBytes, oldest first.
func (l *logs) tail(deployment string, maxBytes int64) *essav1.LogsReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rings[deployment]
	if r == nil {
		return &essav1.LogsReply{}
	}
	from, n := len(r.records), int64(0)
	for from > 0 && n < maxBytes {
		from--
		n += int64(len(r.records[from].Line))
	}
	return &essav1.LogsReply{Records: append([]*essav1.LogRecord(nil), r.records[from:]...), Lost: r.lost}
}
