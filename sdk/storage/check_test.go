package storage

import (
	"bytes"
	"testing"

	"github.com/essa-project/essad/sdk/status"
)

func TestBatchCheck(t *testing.T) {
	key := func(n int) []byte { return bytes.Repeat([]byte{'k'}, n) }
	many := make([]Op, MaxBatchOps+1)
	for i := range many {
		many[i] = Op{Key: key(1)}
	}
	half := make([]byte, MaxBatchBytes/2)
	for _, c := range []struct {
		name string
		ops  []Op
		ok   bool
	}{
		{"empty", nil, true},
		{"one", []Op{{Key: key(1)}}, true},
		{"longest key", []Op{{Key: key(MaxKeyBytes)}}, true},
		{"key too long", []Op{{Key: key(MaxKeyBytes + 1)}}, false},
		{"empty key", []Op{{Value: key(1)}}, false},
		{"most ops", many[1:], true},
		{"too many ops", many, false},
		{"large op alone", []Op{{Key: key(1), Value: make([]byte, MaxBatchBytes+1)}}, true},
		{"largest op alone", []Op{{Key: key(1), Value: make([]byte, MaxValueBytes)}}, true},
		{"value too large", []Op{{Key: key(1), Value: make([]byte, MaxValueBytes+1)}}, false},
		{"batch too large", []Op{{Key: key(1), Value: half}, {Key: key(1), Value: half}}, false},
		{"batch just fits", []Op{{Key: key(1), Value: half[1:]}, {Key: key(1), Value: half[1:]}}, true},
	} {
		if err := (Batch{Ops: c.ops}).Check(); (err == nil) != c.ok || (err != nil && status.Of(err) != status.Invalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRangeBounds(t *testing.T) {
	for _, c := range []struct{ prefix, after, start, end string }{
		{"", "", "", ""},
		{"a", "", "a", "b"},
		{"a", "a5", "a5\x00", "b"},
		{"b", "a", "b", "c"},
		{"a\xff", "", "a\xff", "b"},
		{"\xff\xff", "", "\xff\xff", ""},
		{"", "k", "k\x00", ""},
		{"a", "a", "a\x00", "b"},
	} {
		r := Range{Prefix: []byte(c.prefix), After: []byte(c.after)}
		if string(r.Start()) != c.start || string(r.End()) != c.end {
			t.Errorf("%q after %q: %q to %q, want %q to %q", c.prefix, c.after, r.Start(), r.End(), c.start, c.end)
		}
		if string(r.Prefix) != c.prefix || string(r.After) != c.after {
			t.Errorf("%q after %q: the range itself was changed", c.prefix, c.after)
		}
	}
}

func TestRangeNormal(t *testing.T) {
	r, err := Range{}.Normal()
	if err != nil || r.Limit != MaxPageItems || r.Bytes != DefaultPageBytes {
		t.Errorf("zero range: %+v, %v", r, err)
	}
	r, err = Range{Limit: 1 << 30, Bytes: 1 << 40}.Normal()
	if err != nil || r.Limit != MaxPageItems || r.Bytes != MaxBatchBytes {
		t.Errorf("large range: %+v, %v", r, err)
	}
	for _, bad := range []Range{{Limit: -1}, {Bytes: -1}, {Prefix: make([]byte, MaxKeyBytes+1)}, {After: make([]byte, MaxKeyBytes+1)}} {
		if _, err := bad.Normal(); status.Of(err) != status.Invalid {
			t.Errorf("bad range: %v", err)
		}
	}
}
