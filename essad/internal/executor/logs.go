package executor

import (
	"sync"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
)

// logs keeps the newest output of each deployment in a ring bounded by bytes. There are at most maxRings rings, and
// together they hold at most maxLogs, or one ring if that is larger: beyond it the one that was quiet for longest goes.
type logs struct {
	ringBytes int64

	mu    sync.Mutex
	rings map[string]*ring
	bytes int64 // of all rings
}

const (
	maxRings = 1024
	maxLogs  = 64 << 20
	// maxTail bounds one answer, so that it fits into a message whatever was asked for.
	maxTail = 16 << 20
)

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

func cost(rec *essav1.LogRecord) int64 { return int64(len(rec.Line)) + recordOverhead }

func (l *logs) add(rec *essav1.LogRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rings[rec.Deployment]
	if r == nil {
		if len(l.rings) >= maxRings {
			l.dropQuietest(nil)
		}
		r = &ring{}
		l.rings[rec.Deployment] = r
	}
	r.records = append(r.records, rec)
	r.newest = rec.TimeUnixNano
	r.bytes += cost(rec)
	l.bytes += cost(rec)
	for r.bytes > l.ringBytes && len(r.records) > 1 {
		n := cost(r.records[0])
		r.bytes -= n
		l.bytes -= n
		r.records[0] = nil // the array lives on until it is full
		r.records = r.records[1:]
		r.lost++
	}
	for l.bytes > max(maxLogs, l.ringBytes) && len(l.rings) > 1 {
		l.dropQuietest(r)
	}
}

// dropQuietest drops the ring, other than except, that was not written to for longest.
func (l *logs) dropQuietest(except *ring) {
	var name string
	var quiet *ring
	for n, r := range l.rings {
		if r != except && (quiet == nil || r.newest < quiet.newest) {
			name, quiet = n, r
		}
	}
	if quiet != nil {
		l.bytes -= quiet.bytes
		delete(l.rings, name)
	}
}

// tail returns the newest records of a deployment, oldest first: as many as it takes for maxBytes of lines.
func (l *logs) tail(deployment string, maxBytes int64) *essav1.LogsReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rings[deployment]
	if r == nil {
		return &essav1.LogsReply{}
	}
	lines, all := int64(0), int64(0)
	from := len(r.records)
	for from > 0 && lines < maxBytes && all < maxTail {
		from--
		lines += int64(len(r.records[from].Line))
		all += cost(r.records[from])
	}
	return &essav1.LogsReply{Records: append([]*essav1.LogRecord(nil), r.records[from:]...), Lost: r.lost}
}
