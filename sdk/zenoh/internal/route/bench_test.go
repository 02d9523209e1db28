package route

import (
	"fmt"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// sink is a face that costs nothing.
type sink struct{ n int }

func (s *sink) Send(*wire.Message, <-chan struct{}) bool {
	s.n++
	return true
}

func newBench() *Router {
	r := New(Options{ID: wire.ID{1}})
	r.Tick(time.Unix(1, 0))
	return r
}

func declareBench(r *Router, f *Face, k wire.DeclKind, id uint32, key string, complete bool) {
	r.Handle(f, &wire.Message{
		Kind: wire.Declare, Key: expr(key), Decl: wire.Declaration{Kind: k, ID: id, Complete: complete},
	})
}

// BenchmarkPush is one PUSH to the one subscriber of its key, beside others.
func BenchmarkPush(b *testing.B) {
	for _, subs := range []int{1, 10, 1000} {
		for _, faces := range []int{1, 64} {
			b.Run(fmt.Sprintf("subs=%d/faces=%d", subs, faces), func(b *testing.B) {
				benchPush(b, subs, faces, South, nil)
			})
		}
	}
	b.Run("prefix", func(b *testing.B) {
		benchPush(b, 10, 1, South, &wire.WireExpr{Scope: 1, Sender: true, Suffix: "/0"})
	})
	b.Run("scope", func(b *testing.B) {
		benchPush(b, 10, 1, South, &wire.WireExpr{Scope: 2, Sender: true})
	})
	b.Run("local", func(b *testing.B) { benchPush(b, 10, 1, Local, nil) })
}

func benchPush(b *testing.B, subs, faces int, rel Relation, key *wire.WireExpr) {
	r := newBench()
	src := r.Attach(&sink{}, wire.ID{2}, rel, nil)
	declareBench(r, src, wire.DeclKeyExpr, 1, "bench/topic", false)
	declareBench(r, src, wire.DeclKeyExpr, 2, "bench/topic/0", false)
	dst := make([]*sink, faces)
	for i := range dst {
		dst[i] = &sink{}
		f := r.Attach(dst[i], wire.ID{3}, South, nil)
		for j := i; j < subs; j += faces {
			declareBench(r, f, wire.DeclSubscriber, uint32(j+1), fmt.Sprint("bench/topic/", j), false)
		}
	}
	m := &wire.Message{Kind: wire.Push, QoS: wire.DefaultQoS, Key: expr("bench/topic/0"), Body: wire.Body{Kind: wire.Put}}
	if key != nil {
		m.Key = *key
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Handle(src, m)
	}
	if dst[0].n < b.N {
		b.Fatalf("%d of %d arrived", dst[0].n, b.N)
	}
}

// BenchmarkPushFan is one PUSH to the subscribers of its key on many faces.
func BenchmarkPushFan(b *testing.B) {
	for _, faces := range []int{10, 64} {
		b.Run(fmt.Sprint("faces=", faces), func(b *testing.B) {
			r := newBench()
			src := r.Attach(&sink{}, wire.ID{2}, South, nil)
			for range faces {
				declareBench(r, r.Attach(&sink{}, wire.ID{3}, South, nil), wire.DeclSubscriber, 1, "bench/*", false)
			}
			m := &wire.Message{Kind: wire.Push, QoS: wire.DefaultQoS, Key: expr("bench/a"), Body: wire.Body{Kind: wire.Put}}
			b.ReportAllocs()
			for b.Loop() {
				r.Handle(src, m)
			}
		})
	}
}

type allowAll struct{}

func (allowAll) Allow(*Face, Op, string) error { return nil }

func BenchmarkPushPolicy(b *testing.B) {
	r := New(Options{Policy: allowAll{}})
	src := r.Attach(&sink{}, wire.ID{2}, South, nil)
	declareBench(r, r.Attach(&sink{}, wire.ID{3}, South, nil), wire.DeclSubscriber, 1, "bench/*", false)
	m := &wire.Message{Kind: wire.Push, QoS: wire.DefaultQoS, Key: expr("bench/a"), Body: wire.Body{Kind: wire.Put}}
	b.ReportAllocs()
	for b.Loop() {
		r.Handle(src, m)
	}
}

// BenchmarkQuery is REQUEST, RESPONSE and RESPONSE_FINAL.
func BenchmarkQuery(b *testing.B) {
	for _, rel := range []Relation{Local, South} {
		for _, targets := range []int{1, 4} {
			b.Run(fmt.Sprintf("%v/targets=%d", rel, targets), func(b *testing.B) { benchQuery(b, rel, targets) })
		}
	}
}

type responder struct {
	r *Router
	f *Face
	m wire.Message
}

func (p *responder) Send(m *wire.Message, _ <-chan struct{}) bool {
	if m.Kind != wire.Request {
		return true
	}
	p.m.Kind, p.m.RequestID, p.m.Key = wire.Response, m.RequestID, wire.WireExpr{Sender: true, Suffix: m.Key.Suffix}
	p.r.Handle(p.f, &p.m)
	p.m.Kind, p.m.RequestID = wire.ResponseFinal, m.RequestID
	p.r.Handle(p.f, &p.m)
	return true
}

func benchQuery(b *testing.B, rel Relation, targets int) {
	r := newBench()
	back := &sink{}
	src := r.Attach(back, wire.ID{2}, rel, nil)
	for range targets {
		p := &responder{r: r, m: wire.Message{Body: wire.Body{Kind: wire.Put}}}
		p.f = r.Attach(p, wire.ID{3}, South, nil)
		declareBench(r, p.f, wire.DeclQueryable, 1, "bench/**", true)
	}
	m := &wire.Message{Kind: wire.Request, QoS: wire.RequestQoS, Key: expr("bench/a"), Body: wire.Body{Kind: wire.Query}}
	b.ReportAllocs()
	for b.Loop() {
		m.RequestID++
		r.Handle(src, m)
	}
	if back.n != 2*b.N {
		b.Fatalf("%d messages for %d queries", back.n, b.N)
	}
}

// BenchmarkQueryInFlight has 64 queries under way all the time.
func BenchmarkQueryInFlight(b *testing.B) {
	r := newBench()
	src := r.Attach(&sink{}, wire.ID{2}, Local, nil)
	f := r.Attach(&sink{}, wire.ID{3}, Mesh, nil)
	r.Handle(f, &wire.Message{Kind: wire.Declare, HasInterest: true, Decl: wire.Declaration{Kind: wire.DeclFinal}})
	declareBench(r, f, wire.DeclQueryable, 1, "bench/**", true)
	m := &wire.Message{Kind: wire.Request, QoS: wire.RequestQoS, Key: expr("bench/a"), Body: wire.Body{Kind: wire.Query}}
	resp := &wire.Message{Body: wire.Body{Kind: wire.Put}, Key: expr("bench/a")}
	b.ReportAllocs()
	rid := uint32(0)
	for b.Loop() {
		m.RequestID++
		r.Handle(src, m)
		if m.RequestID < 64 {
			continue
		}
		rid++
		resp.RequestID, resp.Kind = rid, wire.Response
		r.Handle(f, resp)
		resp.RequestID, resp.Kind = rid, wire.ResponseFinal
		r.Handle(f, resp)
	}
}

// BenchmarkDeclare is one subscriber declared and undeclared, with many faces that do not care and one that is told.
func BenchmarkDeclare(b *testing.B) {
	r := newBench()
	for i := range 1000 {
		f := r.Attach(&sink{}, wire.ID{3}, South, nil)
		declareBench(r, f, wire.DeclSubscriber, 1, fmt.Sprintf("face/%d/**", i), false)
		r.Handle(f, &wire.Message{
			Kind: wire.Interest, InterestID: 1, Mode: wire.InterestCurrentFuture, Key: expr(fmt.Sprint("topic/", i)),
			Options: wire.InterestRestricted | wire.InterestSubscribers,
		})
	}
	f := r.Attach(&sink{}, wire.ID{2}, South, nil)
	b.ReportAllocs()
	for b.Loop() {
		declareBench(r, f, wire.DeclSubscriber, 1, "topic/7", false)
		declareBench(r, f, wire.UndeclSubscriber, 1, "", false)
	}
}

// BenchmarkRoute is what a key costs whose routes have to be computed.
func BenchmarkRoute(b *testing.B) {
	r := newBench()
	for i := range 64 {
		f := r.Attach(&sink{}, wire.ID{3}, South, nil)
		for j := range 16 {
			declareBench(r, f, wire.DeclSubscriber, uint32(j+1), fmt.Sprintf("topic/%d/%d", i, j), false)
		}
	}
	k := r.routes("topic/1/1")
	b.ReportAllocs()
	for b.Loop() {
		r.bump(Subscriber)
		r.subscribers(k)
	}
}
