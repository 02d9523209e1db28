package interop

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// heap is what lives, in bytes, with what goroutines have for stacks.
func heap() int {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc + s.StackInuse) //nolint:gosec // it fits
}

// bounded makes sure that the heap comes down to limit bytes more than before.
func bounded(t *testing.T, what string, before, limit int) {
	t.Helper()
	grown := 0
	defer func() { t.Logf("%s: %d KiB more than before, at most %d", what, grown>>10, limit>>10) }()
	until(t, what+": the memory is bounded", func() bool {
		grown = heap() - before
		return grown < limit
	})
}

// noMoreGoroutines makes sure that there are no more than before, but for some.
func noMoreGoroutines(t *testing.T, before, some int) {
	t.Helper()
	until(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+some })
}

// TestMalformedHandshake has everybody who cannot open a session be sent away.
func TestMalformedHandshake(t *testing.T) {
	w := newWitness(t, func(c *zenoh.Config) { c.OpenTimeout = 300 * time.Millisecond })
	goroutines := runtime.NumGoroutine()
	long := prefixed(make([]byte, wire.MaxBatchSize))
	good := func(r *raw) []byte {
		m := r.init()
		return wire.AppendInit(nil, &m)
	}
	changed := func(change func(*wire.Init)) func(*raw) []byte {
		return func(r *raw) []byte {
			m := r.init()
			change(&m)
			return prefixed(wire.AppendInit(nil, &m))
		}
	}
	for name, attack := range map[string]func(*raw) []byte{
		"nothing":            func(*raw) []byte { return nil },
		"half a length":      func(*raw) []byte { return []byte{1} },
		"empty batch":        func(*raw) []byte { return []byte{0, 0} },
		"http":               func(*raw) []byte { return []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n") },
		"zeros":              func(*raw) []byte { return make([]byte, 1000) },
		"ones":               func(*raw) []byte { return bytes.Repeat([]byte{0xff}, 100_000) },
		"a long batch":       func(*raw) []byte { return long },
		"half of it":         func(r *raw) []byte { return prefixed(good(r))[:5] },
		"version":            changed(func(m *wire.Init) { m.Version = 8 }),
		"no such mode":       func(r *raw) []byte { b := prefixed(good(r)); b[4] |= 3; return b },
		"tiny batches":       changed(func(m *wire.Init) { m.BatchSize = 1 }),
		"itself":             changed(func(m *wire.Init) { m.ID = w.hub.ZID() }),
		"an answer":          changed(func(m *wire.Init) { m.Ack = true }),
		"a frame":            func(r *raw) []byte { return prefixed(r.frames(put("a", nil))[0]) },
		"an open":            func(*raw) []byte { return prefixed(wire.AppendOpen(nil, &wire.Open{Lease: time.Hour})) },
		"twice":              func(r *raw) []byte { return append(prefixed(good(r)), prefixed(good(r))...) },
		"no extension":       func(r *raw) []byte { b := prefixed(good(r)); return b[:len(b)-1] },
		"unknown extension":  func(r *raw) []byte { return prefixed(append(good(r)[:len(good(r))-2], 0x3f)) },
		"a wrong cookie":     func(r *raw) []byte { return wrongCookie(r, good(r)) },
		"a router's":         changed(func(m *wire.Init) { m.WhatAmI = wire.Router }),
		"a keep-alive first": func(*raw) []byte { return []byte{1, 0, 4} },
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			r := dialTCP(t, w.at())
			_, _ = r.Write(attack(r))
			r.lost(t)
			w.works(t)
		})
	}
	w.alone(t)
	noMoreGoroutines(t, goroutines, 2)
}

func wrongCookie(r *raw, init []byte) []byte {
	open := wire.AppendOpen(nil, &wire.Open{Lease: time.Hour, Cookie: []byte("guessed")})
	return append(prefixed(init), prefixed(open)...)
}

// TestHalfOpen has more callers than may be at their handshakes, all silent: those who want in get in as soon as their time is
// over.
func TestHalfOpen(t *testing.T) {
	w := newWitness(t, func(c *zenoh.Config) { c.OpenTimeout, c.MaxPending = 500*time.Millisecond, 20 })
	goroutines, before := runtime.NumGoroutine(), heap()
	var silent []*raw
	for i := range 200 {
		r := dialTCP(t, w.at())
		if i%2 == 0 {
			m := r.init()
			r.batch(wire.AppendInit(nil, &m)) // and then not a word
		}
		silent = append(silent, r)
	}
	bounded(t, "half open", before, 4<<20)
	w.works(t)
	ourDialler(t, zenoh.ModeClient, w.at()).put(t, "witness/other", body{}, reliably)
	for _, r := range silent {
		r.lost(t)
	}
	w.works(t)
	noMoreGoroutines(t, goroutines, 20)
}

// TestMalformed has sessions that were opened properly say what nobody may: it costs them their link.
func TestMalformed(t *testing.T) {
	w := newWitness(t, func(c *zenoh.Config) { c.MaxMessage = 1 << 20 })
	goroutines, before := runtime.NumGoroutine(), heap()
	frame := func(r *raw, content ...byte) []byte {
		return append(wire.AppendFrameHeader(nil, wire.FrameHeader{Reliable: true, SN: r.sn[11], Priority: 5}), content...)
	}
	for name, attack := range map[string]func(*raw) []byte{
		"unknown transport message": func(*raw) []byte { return []byte{0x08} },
		"join":                      func(*raw) []byte { return []byte{0x07, 9, 0x30, 1, 2, 3, 4} },
		"message without frame":     func(*raw) []byte { return wire.AppendMessage(nil, put("a", nil)) },
		"sn beyond the mask": func(*raw) []byte {
			return wire.AppendFrameHeader(nil, wire.FrameHeader{Reliable: true, SN: 1 << 28, Priority: 5})
		},
		"frame without sn":    func(*raw) []byte { return []byte{0x25} },
		"sn without end":      func(*raw) []byte { return append([]byte{0x25}, bytes.Repeat([]byte{0xff}, 20)...) },
		"unknown mandatory":   func(r *raw) []byte { return frame(r, 0xbd, 0, 1, 'a', 0x1c, 1, 0) },
		"shared memory":       func(r *raw) []byte { return frame(r, 0x7d, 0, 1, 'a', 0x81, 0x12, 1, 1, 3, 1, 2, 3) },
		"reserved extension":  func(r *raw) []byte { return frame(r, 0xfd, 0, 1, 'a', 0x61, 1, 0) },
		"no such body":        func(r *raw) []byte { return frame(r, 0x7d, 0, 1, 'a', 0x09) },
		"no such declaration": func(r *raw) []byte { return frame(r, 0x1e, 0x0b, 1) },
		"no such target":      func(r *raw) []byte { return frame(r, 0xfc, 1, 0, 1, 'a', 0x34, 9, 3) },
		"half a message": func(r *raw) []byte {
			b := frame(r, wire.AppendMessage(nil, put("abc", body{9, 9}.bytes()))...)
			return b[:len(b)-3]
		},
		"a key without end":      func(r *raw) []byte { return frame(r, 0x7d, 0, 0xff, 0xff, 3, 'a') },
		"a key of 2^63 bytes":    func(r *raw) []byte { return frame(r, append([]byte{0x7d, 0}, huge...)...) },
		"a payload of 2^63":      func(r *raw) []byte { return frame(r, append([]byte{0x7d, 0, 1, 'a', 1}, huge...)...) },
		"an attachment of 2^63":  func(r *raw) []byte { return frame(r, append([]byte{0x7d, 0, 1, 'a', 0x81, 0x43}, huge...)...) },
		"a scope beyond 16 bits": func(r *raw) []byte { return frame(r, 0x5d, 0xff, 0xff, 0xff, 1, 1, 0) },
		"key not utf-8":          func(r *raw) []byte { return frame(r, 0x7d, 0, 2, 0xc3, 0x28, 0x09) },
		"garbage": func(r *raw) []byte {
			b := make([]byte, 4000)
			rng := seeded(7)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			return frame(r, b...)
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			r := dialRaw(t, w.at())
			r.say(declare(wire.DeclToken, 1, "malformed/token"))
			until(t, "the session is up", func() bool { return len(w.hub.alive(t, "malformed/*")) == 1 })
			r.batch(attack(r))
			r.lost(t)
			until(t, "what it declared is gone", func() bool { return len(w.hub.alive(t, "malformed/*")) == 0 })
			w.works(t)
		})
	}
	w.alone(t)
	noMoreGoroutines(t, goroutines, 2)
	bounded(t, "after malformed input", before, 4<<20)
}

// huge is 2^63 as the protocol writes it.
var huge = []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}

// TestTolerated has a session say what makes no sense but can be read: that is skipped, and its link stays.
func TestTolerated(t *testing.T) {
	w := newWitness(t, nil)
	r := dialRaw(t, w.at())
	all := w.b.subscribe(t, "tolerated/**")
	settle(t, w.a, w.b)
	lane := &r.sn[11]
	said := func(what string) {
		t.Helper()
		r.say(put("tolerated/fence", []byte(what)))
		if x := all.next(t); x.text() != what {
			t.Fatalf("%s: got %v", what, x)
		}
	}
	said("nothing yet")
	unknown := put("", nil)
	unknown.Key = wire.WireExpr{Scope: 77, Sender: true, Suffix: "/x"}
	r.say(unknown)
	said("an unknown scope")
	for _, key := range []string{"/tolerated", "tolerated//x", "tolerated/**/*", "tolerated/a*", "tolerated/$*", "tolerated/#"} {
		r.say(put(key, []byte("x")), declare(wire.DeclSubscriber, 1, key), query(1, key))
	}
	said("invalid keys")
	for _, k := range []wire.DeclKind{wire.UndeclSubscriber, wire.UndeclQueryable, wire.UndeclToken, wire.UndeclKeyExpr, wire.DeclFinal} {
		r.say(declare(k, 4711, ""))
	}
	said("undeclared what was not declared")
	r.say(declare(wire.DeclKeyExpr, 1, "tolerated/one"), declare(wire.DeclKeyExpr, 1, "tolerated/two"))
	said("one id for two keys")
	r.say(&wire.Message{Kind: wire.ResponseFinal, QoS: wire.RequestQoS, Reliable: true, RequestID: 9})
	answer := put("tolerated/x", []byte("x"))
	answer.Kind, answer.RequestID = wire.Response, 9
	r.say(answer)
	said("answers to no question")
	m := r.init()
	r.batch(wire.AppendInit(nil, &m))
	said("a handshake afterwards")
	old := *lane
	*lane = (old - 1000) & r.mask
	r.say(put("tolerated/old", []byte("old")))
	*lane = old
	said("an old sequence number")
	*lane = (*lane + 1000) & r.mask
	said("a gap")
	h := wire.FragmentHeader{Reliable: true, More: true, SN: r.next(put("", nil)), Priority: 5}
	r.batch(append(wire.AppendFragmentHeader(nil, h), "the middle of nothing"...))
	said("a fragment without a beginning")
	h = wire.FragmentHeader{Reliable: true, More: false, First: true, SN: r.next(put("", nil)), Priority: 5}
	r.batch(append(wire.AppendFragmentHeader(nil, h), "no message"...))
	said("fragments of no message")
	w.works(t)
}

// TestBitFlips changes bits of a valid session, its handshake included, and cuts it off anywhere.
func TestBitFlips(t *testing.T) {
	w := newWitness(t, func(c *zenoh.Config) { c.MaxMessage, c.OpenTimeout = 1<<20, time.Second })
	goroutines, before := runtime.NumGoroutine(), heap()
	rng := seeded(1)
	run := func(damage func(stream []byte) []byte) {
		r := dialTCP(t, w.at())
		open := r.handshake(t)
		var stream []byte
		for _, b := range append(open, r.frames(everything()...)...) {
			stream = append(stream, prefixed(b)...)
		}
		_, _ = r.Write(damage(stream))
		_ = r.CloseWrite()
		r.lost(t)
	}
	for range 500 {
		run(func(b []byte) []byte {
			for range 1 + rng.IntN(4) {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			}
			return b
		})
	}
	w.works(t)
	size := 0
	run(func(b []byte) []byte {
		size = len(b)
		return b
	})
	for n := range size {
		run(func(b []byte) []byte { return b[:n] })
	}
	w.works(t)
	w.alone(t)
	noMoreGoroutines(t, goroutines, 2)
	bounded(t, "after damaged sessions", before, 4<<20)
	if got := w.hub.alive(t, "**"); len(got) != 0 {
		t.Errorf("tokens are left: %v", got)
	}
}

// TestFloods has a session ask for more than a node has. What it costs is bounded while it goes on, and nothing afterwards.
func TestFloods(t *testing.T) {
	const n = 50_000
	long := strings.Repeat("x", 100)
	each := func(f func(i int) *wire.Message) func(*raw) {
		return func(r *raw) {
			for i := 0; i < n; i += 100 {
				var ms []*wire.Message
				for j := range 100 {
					ms = append(ms, f(i+j))
				}
				r.say(ms...)
			}
		}
	}
	key := func(i int) string { return fmt.Sprintf("flood/%s/%d", long, i) }
	id := func(i int) uint32 { return uint32(i) + 1 } //nolint:gosec // small
	for _, x := range []struct {
		name  string
		limit int  // bytes
		cut   bool // it costs the link
		flood func(r *raw)
	}{
		{"subscribers", 12 << 20, true, each(func(i int) *wire.Message { return declare(wire.DeclSubscriber, id(i), key(i)) })},
		{"queryables", 12 << 20, true, each(func(i int) *wire.Message { return declare(wire.DeclQueryable, id(i), key(i)) })},
		{"tokens", 12 << 20, true, each(func(i int) *wire.Message { return declare(wire.DeclToken, id(i), key(i)) })},
		{"key expressions", 12 << 20, true, each(func(i int) *wire.Message { return declare(wire.DeclKeyExpr, id(i)&0xffff, key(i)) })},
		{"interests", 48 << 20, true, each(func(i int) *wire.Message {
			return interest(id(i), wire.InterestCurrentFuture, 0x0f, key(i))
		})},
		{"queries to nobody", 12 << 20, false, each(func(i int) *wire.Message { return query(id(i), key(i)) })},
		{"queries without answer", 64 << 20, false, each(func(i int) *wire.Message { return query(id(i), "held/q") })},
		{"puts", 12 << 20, false, each(func(i int) *wire.Message { return put(key(i), nil) })},
		{"declared and undeclared", 12 << 20, false, each(func(i int) *wire.Message {
			if i%2 == 0 {
				return declare(wire.DeclSubscriber, id(i/2), key(i))
			}
			return declare(wire.UndeclSubscriber, id(i/2), "")
		})},
		{"wildcards", 12 << 20, false, floodWildcards},
		{"fragments", 12 << 20, false, floodFragments},
	} {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			w := newWitness(t, func(c *zenoh.Config) { c.MaxDeclarations, c.MaxMessage = 5000, 8<<20 })
			c := ourDialler(t, zenoh.ModeClient, w.at())
			c.queryable(t, "held/q", queryableOptions{hold: true})
			settle(t, w.a, c)
			goroutines, before := runtime.NumGoroutine(), heap()
			r := dialRaw(t, w.at())
			cut := make(chan struct{})
			go func() { // it does listen
				defer close(cut)
				_, _ = io.Copy(io.Discard, r.TCPConn)
			}()
			flooded := make(chan struct{})
			go func() {
				defer close(flooded)
				x.flood(r)
			}()
			for going := true; going; {
				select {
				case <-flooded:
					going = false
				default:
				}
				w.works(t)
			}
			bounded(t, "flooded", before, x.limit)
			if x.cut {
				select {
				case <-cut:
				case <-time.After(patience):
					t.Error("the link was not cut")
				}
			}
			_ = r.Close()
			must(t, c.Close())
			w.alone(t)
			w.works(t)
			if got := w.hub.alive(t, "flood/**"); len(got) != 0 {
				t.Errorf("%d tokens are left", len(got))
			}
			bounded(t, "afterwards", before, 6<<20)
			noMoreGoroutines(t, goroutines, 140) // runners that wait for work
		})
	}
}

// floodWildcards says keys that take for ever to compare, for who compares naively.
func floodWildcards(r *raw) {
	deep := strings.Repeat("**/a/", 200)
	glob := strings.Repeat("a$*", 200)
	for i := range uint32(300) {
		r.say(declare(wire.DeclSubscriber, 2*i+1, fmt.Sprintf("%s**/%d", deep, i)), declare(wire.DeclSubscriber, 2*i+2, fmt.Sprintf("%s%d", glob, i)))
		r.say(put(strings.Repeat("a/", 300)+"b", nil), put(strings.Repeat("a", 600)+"b", nil), put(deep+"**/x", nil))
		r.say(query(i+1, strings.Repeat("a/", 300)+"b"))
	}
}

// floodFragments begins a large message on every lane, over and over, and ends none.
func floodFragments(r *raw) {
	part := make([]byte, 60_000)
	for range 40 {
		for p := range wire.QoS(8) {
			for _, reliable := range []bool{true, false} {
				m := &wire.Message{QoS: p, Reliable: reliable}
				for i := range 4 {
					h := wire.FragmentHeader{Reliable: reliable, More: true, First: i == 0, SN: r.next(m), Priority: p}
					r.batch(append(wire.AppendFragmentHeader(nil, h), part...))
				}
			}
		}
	}
	// And one that is larger than any may be.
	m := put("flood/large", nil)
	for i := range 300 {
		h := wire.FragmentHeader{Reliable: true, More: i < 299, First: i == 0, SN: r.next(m), Priority: 5}
		r.batch(append(wire.AppendFragmentHeader(nil, h), part...))
	}
}
