package executor

import (
	"fmt"
	"testing"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
)

func record(deployment string, at int64, size int) *essav1.LogRecord {
	return &essav1.LogRecord{Deployment: deployment, TimeUnixNano: at, Line: make([]byte, size)}
}

func TestLogRing(t *testing.T) {
	l := newLogs(1000)
	for i := range int64(100) {
		l.add(record("a", i, 4))
	}
	got := l.tail("a", 1<<40)
	if len(got.Records) != 10 || got.Lost != 90 || got.Records[0].TimeUnixNano != 90 || got.Records[9].TimeUnixNano != 99 {
		t.Errorf("%d records, %d lost", len(got.Records), got.Lost)
	}
	for most, want := range map[int64]int{-1: 0, 0: 0, 1: 1, 4: 1, 5: 2, 12: 3} {
		if n := len(l.tail("a", most).Records); n != want {
			t.Errorf("%d bytes of tail are %d records, want %d", most, n, want)
		}
	}
	l.add(record("a", 100, 5000)) // larger than the ring: it is kept alone
	if got := l.tail("a", 1<<40); len(got.Records) != 1 || got.Lost != 100 {
		t.Errorf("%d records, %d lost", len(got.Records), got.Lost)
	}
	if got := l.tail("nosuch", 100); len(got.Records) != 0 {
		t.Error("records of nobody")
	}
}

// All rings together are bounded, in number and in bytes; the quietest goes first.
func TestLogsAreBounded(t *testing.T) {
	l := newLogs(1 << 20)
	for i := range 200 {
		l.add(record(fmt.Sprint("d", i), int64(i), 1<<20-recordOverhead))
	}
	if l.bytes > maxLogs || len(l.rings) != maxLogs>>20 {
		t.Errorf("%d bytes in %d rings", l.bytes, len(l.rings))
	}
	if len(l.tail("d199", 1).Records) != 1 || len(l.tail("d0", 1).Records) != 0 {
		t.Error("the wrong ones are kept")
	}
	for i := range maxRings + 50 {
		l.add(record(fmt.Sprint("small", i), int64(1000+i), 1))
	}
	sum := int64(0)
	for _, r := range l.rings {
		sum += r.bytes
	}
	if len(l.rings) > maxRings || sum != l.bytes {
		t.Errorf("%d rings of %d bytes, counted %d", len(l.rings), sum, l.bytes)
	}
	big := newLogs(1 << 30)
	for i := range int64(40) {
		big.add(record("a", i, 1<<20))
	}
	if got := big.tail("a", 1<<40); len(got.Records) > maxTail>>20+1 {
		t.Errorf("an answer of %d MiB", len(got.Records))
	}
}
