package link

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// sink notes what a receiver hands out.
type sink struct {
	*receiver
	got []string
}

func newSink(a agreed, limit int) *sink {
	s := &sink{}
	s.receiver = newReceiver(&a, limit, func(m *wire.Message) {
		s.got = append(s.got, fmt.Sprintf("%s:%d", m.Key.Suffix, len(m.Body.Payload)))
	})
	return s
}

func (s *sink) take() string {
	got := strings.Join(s.got, " ")
	s.got = nil
	return got
}

func named(name string, size int, q wire.QoS) *wire.Message {
	return &wire.Message{
		Kind: wire.Push, QoS: q, Reliable: true, Key: wire.WireExpr{Suffix: name},
		Body: wire.Body{Kind: wire.Put, Payload: pattern(size)},
	}
}

func frame(sn uint32, messages ...*wire.Message) []byte {
	h := wire.FrameHeader{Reliable: true, SN: sn, Priority: wire.PriorityData}
	if len(messages) > 0 {
		h.Priority = messages[0].QoS.Priority()
	}
	b := wire.AppendFrameHeader(nil, h)
	for _, m := range messages {
		b = wire.AppendMessage(b, m)
	}
	return b
}

func fragment(h wire.FragmentHeader, part []byte) []byte {
	h.Reliable, h.Priority = true, wire.PriorityData
	return append(wire.AppendFragmentHeader(nil, h), part...)
}

func (s *sink) mustTake(t *testing.T, want string, batches ...[]byte) {
	t.Helper()
	for _, b := range batches {
		if c, err := s.batch(b); err != nil || c != nil {
			t.Fatalf("%x: %v, %v", b, c, err)
		}
	}
	if got := s.take(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReceiveSequence(t *testing.T) {
	d := wire.PriorityData
	a := agreed{mask: 0x7f, qos: true, patch: true, theirSN: 126}
	s := newSink(a, 1<<20)
	s.mustTake(t, "a:0", frame(126, named("a", 0, d)))
	s.mustTake(t, "", frame(126, named("again", 0, d)))
	s.mustTake(t, "", frame(125, named("old", 0, d)))
	s.mustTake(t, "b:0 c:0", frame(127, named("b", 0, d)), frame(0, named("c", 0, d)))
	if _, err := s.batch(frame(126, named("restarted", 0, d))); !errors.Is(err, errRestarted) {
		t.Errorf("the first number again: %v", err)
	}
	s.mustTake(t, "d:0 e:0", frame(63, named("d", 0, d), named("e", 0, d))) // the widest gap
	s.mustTake(t, "", frame(63+64, named("too wide", 0, d)))
	s.mustTake(t, "f:0", frame(126, named("f", 0, wire.PriorityRealTime))) // a lane of its own
	if s.counts.stale != 3 || s.counts.messages != 6 {
		t.Errorf("%+v", s.counts)
	}
	// Two frames, a keep-alive, OAM, late INIT and OPEN, and a CLOSE in one batch.
	b := append(frame(64, named("g", 0, d)), frame(65, named("h", 0, d))...)
	b = append(b, 0x04, 0x00, 0x01)
	b = append(b, unhex(t, "01 09 32 11 22 33 44 42 0a 01 00 05 42 23 07")...) // then a best-effort frame, empty
	c, err := s.batch(b)
	if err != nil || c == nil || !c.Session || c.Reason != wire.ReasonConnectionToSelf {
		t.Errorf("%+v, %v", c, err)
	}
	if got := s.take(); got != "g:0 h:0" {
		t.Errorf("got %q", got)
	}
}

func TestReceiveRefuses(t *testing.T) {
	for _, c := range []struct{ name, batch string }{
		{"network message outside", "1a 05"},
		{"unknown message", "08"},
		{"join", "07 00"},
		{"number beyond the mask", "25 80 01"},
		{"no QoS was agreed", "a5 05 31 00"},
		{"unknown mandatory extension", "a5 05 1f"},
		{"cut message", "25 05 7d 00 06 64"},
		{"no message", "25 05 18"},
		{"shared memory", "25 05 5d 01 81 12 01 00"},
		{"cut header", "25"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink(agreed{mask: 0x7f}, 1<<20)
			if closed, err := s.batch(unhex(t, c.batch)); err == nil {
				t.Errorf("accepted: %v, %v", closed, s.got)
			}
		})
	}
}

func TestReceiveFragments(t *testing.T) {
	m := named("m", 1000, wire.PriorityData)
	raw := wire.AppendMessage(nil, m)
	p1, p2, p3 := raw[:400], raw[400:800], raw[800:]
	type f = wire.FragmentHeader
	whole := func(sn uint32, markers bool) [][]byte {
		return [][]byte{fragment(f{SN: sn, More: true, First: markers}, p1), fragment(f{SN: sn + 1, More: true}, p2), fragment(f{SN: sn + 2}, p3)}
	}
	for _, c := range []struct {
		name    string
		markers bool
		batches [][]byte
		want    string
	}{
		{"whole", true, whole(1, true), "m:1000"},
		{"whole without markers", false, whole(1, false), "m:1000"},
		{"twice", true, append(whole(1, true), whole(5, true)...), "m:1000 m:1000"},
		{"twice without markers", false, append(whole(1, false), whole(5, false)...), "m:1000 m:1000"},
		{"no beginning", true, append(whole(1, true)[1:], whole(9, true)...), "m:1000"},
		{"no beginning without markers", false, append(whole(1, false)[1:], whole(9, false)...), "m:1000"},
		{"no end", true, append(whole(1, true)[:2], whole(9, true)...), "m:1000"},
		{"no end without markers", false, append(whole(1, false)[:2], whole(9, false)...), "m:1000"},
		{"no middle", true, [][]byte{whole(1, true)[0], whole(1, true)[2]}, ""},
		{"no middle without markers", false, [][]byte{whole(1, false)[0], whole(1, false)[2]}, ""},
		{"a part twice", true, [][]byte{whole(1, true)[0], whole(1, true)[0], whole(1, true)[1], whole(1, true)[2]}, "m:1000"},
		{"given up", true, [][]byte{whole(1, true)[0], fragment(f{SN: 2, More: true, Drop: true}, nil), whole(2, true)[2]}, ""},
		{"frame between", true, [][]byte{whole(1, true)[0], frame(2, named("x", 0, wire.PriorityData)), whole(2, true)[1], whole(2, true)[2]}, "x:0"},
		{"garbage", true, [][]byte{fragment(f{SN: 1, More: true, First: true}, p2), fragment(f{SN: 2}, p2), whole(3, true)[0]}, ""},
		{"two messages in one", true, [][]byte{fragment(f{SN: 1, More: true, First: true}, raw), fragment(f{SN: 2}, raw)}, ""},
		{"too large", true, append([][]byte{
			fragment(f{SN: 1, More: true, First: true}, p1), fragment(f{SN: 2, More: true}, pattern(1500)),
			fragment(f{SN: 3, More: true}, p2), fragment(f{SN: 4}, p3),
		}, whole(5, true)...), "m:1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink(agreed{mask: 0x7f, patch: c.markers}, 1500)
			s.mustTake(t, c.want, c.batches...)
			if s.partial > 800 {
				t.Errorf("%d bytes are kept", s.partial)
			}
		})
	}
}

// All incomplete messages together have one bound.
func TestReceiveBoundsTheSum(t *testing.T) {
	const limit = 10_000
	s := newSink(agreed{mask: 1<<28 - 1, qos: true, patch: true}, limit)
	for round := range uint32(20) {
		for p := range wire.QoS(8) {
			for _, rel := range []bool{true, false} {
				h := wire.FragmentHeader{Reliable: rel, More: true, SN: round, Priority: p, First: round == 0}
				if _, err := s.batch(append(wire.AppendFragmentHeader(nil, h), pattern(300)...)); err != nil {
					t.Fatal(err)
				}
			}
		}
		sum := 0
		for i := range s.lanes {
			sum += cap(s.lanes[i].buf)
		}
		if s.partial > limit || sum != s.partial {
			t.Fatalf("%d bytes are kept, %d are counted", sum, s.partial)
		}
	}
	if s.counts.abandoned == 0 {
		t.Error("nothing was abandoned")
	}
}

// What a queue makes, a receiver understands, whatever was agreed; no batch is larger than agreed, and each holds one
// transport message.
func TestQueueToReceiver(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		a := agreed{
			batch: minBatchSize + rnd.IntN(1<<rnd.IntN(17)), mask: snMask(uint8(rnd.IntN(3))), qos: rnd.IntN(3) > 0, patch: rnd.IntN(3) > 0,
		}
		a.batch = min(a.batch, maxBatchSize)
		a.ownSN = rnd.Uint32() & a.mask
		a.theirSN = a.ownSN
		q := newQueue(&a, a.batch)
		var got, want [maxLanes][]string
		r := newReceiver(&a, 1<<24, func(m *wire.Message) {
			ln := laneOf(&a, m)
			got[ln] = append(got[ln], describe(m))
		})
		queued := 0
		for range 200 {
			m := named(strings.Repeat("k", 1+rnd.IntN(100)), rnd.IntN(1+1<<rnd.IntN(17)), wire.QoS(rnd.IntN(32)))
			m.Reliable = rnd.IntN(2) == 0
			ln := laneOf(&a, m)
			want[ln] = append(want[ln], describe(m))
			queued += q.add(m)
			if rnd.IntN(20) == 0 {
				queued -= drain(t, q, r, a.batch, rnd.IntN(3))
			}
		}
		queued -= drain(t, q, r, a.batch, 1<<30)
		if queued != 0 {
			t.Errorf("seed %d: %d bytes are left", seed, queued)
		}
		for i := range want {
			if g, w := strings.Join(got[i], " "), strings.Join(want[i], " "); g != w {
				t.Fatalf("seed %d (%+v), lane %d: got %.200s, want %.200s", seed, a, i, g, w)
			}
		}
	}
}

func laneOf(a *agreed, m *wire.Message) int {
	if !a.qos {
		return lane(m.Reliable, wire.PriorityData)
	}
	return lane(m.Reliable, m.QoS.Priority())
}

func describe(m *wire.Message) string {
	return fmt.Sprintf("%d/%d/%d/%v", len(m.Key.Suffix), len(m.Body.Payload), m.QoS, bytes.Equal(m.Body.Payload, pattern(len(m.Body.Payload))))
}

// drain hands up to n pieces of q to r and returns their size.
func drain(t *testing.T, q *queue, r *receiver, limit, n int) (size int) {
	last := -1
	for ; n > 0; n-- {
		b, prio := q.take()
		if len(b.b) == 0 {
			return size
		}
		if prio < last {
			t.Fatalf("priority %d behind %d", prio, last)
		}
		last = prio
		size += len(b.b)
		if !fits(b.b, limit) {
			t.Fatal("a batch is too large")
		}
		for p := b.b; len(p) > 0; {
			k := prefixBytes + int(p[0]) + int(p[1])<<8
			before := r.counts
			if _, err := r.batch(p[prefixBytes:k]); err != nil {
				t.Fatal(err)
			}
			if r.counts.stale != before.stale || r.counts.abandoned != before.abandoned {
				t.Fatalf("not all was taken: %+v", r.counts)
			}
			p = p[k:]
		}
		q.recycle(b)
	}
	return size
}

// FuzzReceiver feeds whole sessions: valid frames and fragments in any order, of any numbers, and damaged ones.
func FuzzReceiver(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03"), uint8(0))
	f.Add(bytes.Repeat([]byte{0, 17, 34, 51, 4, 85, 6, 119}, 20), uint8(7))
	f.Add(bytes.Repeat([]byte{1, 0, 1, 64, 1, 128, 255}, 30), uint8(3))
	f.Fuzz(func(t *testing.T, script []byte, terms uint8) {
		const limit = 8 << 10
		a := agreed{batch: 200, mask: snMask(terms >> 2), qos: terms&1 != 0, patch: terms&2 != 0}
		q, s := newQueue(&a, a.batch), newSink(a, limit)
		var batches [][]byte
		for i := 0; i+1 < len(script); i += 2 {
			op, v := script[i], int(script[i+1])
			switch {
			case op < 100: // something to send
				q.add(named("k", v*int(op%8), wire.QoS(op%8)))
				for b, _ := q.take(); len(b.b) > 0; b, _ = q.take() {
					for p := b.b; len(p) > 0; {
						k := prefixBytes + int(p[0]) + int(p[1])<<8
						batches = append(batches, bytes.Clone(p[prefixBytes:k]))
						p = p[k:]
					}
				}
			case len(batches) == 0:
			case op < 160: // in order
				s.feed(t, batches[0], limit)
				batches = batches[1:]
			case op < 200: // any, and again
				s.feed(t, batches[v%len(batches)], limit)
			case op < 230: // damaged
				b := bytes.Clone(batches[v%len(batches)])
				b[int(op)*v%len(b)] ^= 1 << (op % 8)
				s.feed(t, b, limit)
			case op < 240: // cut
				b := batches[v%len(batches)]
				s.feed(t, b[:v%len(b)], limit)
			default: // anything
				s.feed(t, script[i:], limit)
			}
		}
	})
}

func (s *sink) feed(t *testing.T, b []byte, limit int) {
	_, _ = s.batch(b) // after an error another link might go on
	sum := 0
	for i := range s.lanes {
		sum += cap(s.lanes[i].buf)
	}
	if sum != s.partial || sum > limit {
		t.Fatalf("%d bytes are kept, %d are counted, %d allowed", sum, s.partial, limit)
	}
}

// A message that is encoded in two parts is the same message.
func TestEncodeParts(t *testing.T) {
	body := wire.Body{
		Kind: wire.Put, Payload: pattern(5000), Attachment: pattern(10), Encoding: wire.Encoding{ID: 5, Schema: "s"},
		Timestamp: wire.Timestamp{Time: 7, ID: idA},
	}
	push := &wire.Message{Kind: wire.Push, QoS: 5, Key: wire.WireExpr{Suffix: "k"}, Body: body}
	put := &wire.Message{Kind: wire.Response, QoS: 13, RequestID: 300, Key: wire.WireExpr{Suffix: "k"}, Body: body}
	put.Body.Consolidation = wire.Latest
	fail := &wire.Message{Kind: wire.Response, RequestID: 1, Body: wire.Body{Kind: wire.Err, Payload: pattern(5000)}}
	query := &wire.Message{Kind: wire.Request, Key: wire.WireExpr{Suffix: "k"}, Body: wire.Body{Kind: wire.Query, HasPayload: true, Payload: pattern(5000)}}
	var forwarded wire.Message
	if _, err := wire.DecodeMessage(wire.AppendMessage(nil, push), &forwarded); err != nil || forwarded.Body.Raw == nil {
		t.Fatal(err)
	}
	for i, m := range []*wire.Message{push, put, fail, query, &forwarded} {
		want := wire.AppendMessage(nil, m)
		head, tail := encodeParts(nil, m)
		if !bytes.Equal(append(head, tail...), want) || len(want) < 5000 {
			t.Errorf("message %d differs", i)
		}
	}
	q := newQueue(&agreed{mask: 0x7f}, 2000)
	for _, size := range []int{0, 5000} { // a Push of a query is no message
		m := &wire.Message{Kind: wire.Push, Body: wire.Body{Kind: wire.Query, Payload: pattern(size)}}
		if n := q.add(m); n != 0 {
			t.Errorf("a message that is none made %d bytes", n)
		}
	}
	if b, _ := q.take(); len(b.b) != 0 {
		t.Errorf("%x", b.b)
	}
}
