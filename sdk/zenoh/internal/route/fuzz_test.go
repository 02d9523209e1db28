package route

import (
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// The bounds of the router that is fuzzed.
const (
	fuzzDeclarations = 8
	fuzzBytes        = 256
	fuzzInterests    = 4
	fuzzQueries      = 4
)

// source reads numbers off the fuzzer's input.
type source struct{ b []byte }

func (s *source) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	x := s.b[0]
	s.b = s.b[1:]
	return x
}

func (s *source) n(n int) int { return int(s.byte()) % n }

func (s *source) expr() wire.WireExpr {
	keys := append([]string{"", "/", "/a", "a//b", "/**"}, simKeys...)
	w := wire.WireExpr{Suffix: keys[s.n(len(keys))]}
	if x := s.byte(); x < 64 {
		w.Scope, w.Sender = uint16(x%4), x < 48
	}
	return w
}

// message is any message, of those that make sense more often than not.
func (s *source) message(m *wire.Message) {
	*m = wire.Message{QoS: wire.QoS(s.byte()), Key: s.expr()}
	m.InterestID, m.HasInterest = uint32(s.n(6)), s.n(2) == 0
	m.RequestID = uint32(s.n(8))
	switch s.n(8) {
	case 0, 1, 2:
		m.Kind = wire.Declare
		all := []wire.DeclKind{
			wire.DeclKeyExpr, wire.UndeclKeyExpr, wire.DeclSubscriber, wire.UndeclSubscriber, wire.DeclQueryable,
			wire.UndeclQueryable, wire.DeclToken, wire.UndeclToken, wire.DeclFinal,
		}
		x := s.byte()
		m.Decl = wire.Declaration{Kind: all[s.n(len(all))], ID: uint32(x) % 16, Complete: x&16 != 0, HasKey: x&32 != 0}
		if x == 255 {
			m.Decl.ID = 1 << 20
		}
	case 3, 4:
		m.Kind = wire.Interest
		m.Mode, m.Options = wire.InterestMode(s.n(4)), wire.InterestOptions(s.byte())
	case 5:
		m.Kind = wire.Push
		m.Body.Kind = wire.Put
	case 6:
		m.Kind = wire.Request
		m.Body.Kind = wire.Query
		m.Target, m.TimeoutMS = wire.Target(s.n(3)), uint32(s.n(3))*100
	case 7:
		m.Kind = wire.ResponseFinal
		if s.n(2) == 0 {
			m.Kind = wire.Response
			m.Body.Kind = []wire.BodyKind{wire.Put, wire.Del, wire.Err}[s.n(3)]
		}
	}
}

// FuzzRouter handles random messages from faces of all relations, some of them as bytes off the wire, while faces come and
// go. Nothing grows beyond its bound, and nothing is left in the end.
func FuzzRouter(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x05declare and ask and push and request and answer, all at random, over and over"))
	for i := range 8 {
		b := make([]byte, 600)
		for j := range b {
			b[j] = byte((i*7 + j*j*31 + j>>3*17) % 251)
		}
		f.Add(b)
	}
	f.Fuzz(fuzzRouter)
}

func fuzzRouter(t *testing.T, b []byte) {
	r := New(Options{
		MaxDeclarations: fuzzDeclarations, MaxDeclaredBytes: fuzzBytes, MaxInterests: fuzzInterests, MaxQueries: fuzzQueries,
		RouteCache: 8, QueryTimeout: time.Second, InterestTimeout: time.Second, Stamp: true,
	})
	now := time.Unix(1000, 0)
	r.Tick(now)
	rels := []Relation{Local, South, South, Mesh, North}
	faces := make([]*Face, len(rels))
	for i, rel := range rels {
		faces[i] = r.Attach(&sink{}, wire.ID{byte(i + 1)}, rel, nil)
	}
	s := &source{b: b}
	m := new(wire.Message)
	for len(s.b) > 0 {
		i := s.n(len(faces))
		switch x := s.byte(); {
		case x < 8:
			r.Detach(faces[i])
			faces[i] = r.Attach(&sink{}, wire.ID{byte(i + 1)}, rels[i], nil)
		case x < 16:
			now = now.Add(time.Duration(s.byte()) * 10 * time.Millisecond)
			r.Tick(now)
		case x < 32:
			n, err := wire.DecodeMessage(s.b, m)
			if err != nil {
				continue
			}
			s.b = s.b[n:]
			r.Handle(faces[i], m)
		default:
			s.message(m)
			r.Handle(faces[i], m)
		}
		checkBounds(t, r)
	}
	for range 2 {
		now = now.Add(time.Minute)
		r.Tick(now)
	}
	for _, f := range faces {
		if st := r.Stats(f); st.Pending != 0 || st.Asked != 0 {
			t.Errorf("left: %+v", st)
		}
	}
	for _, f := range faces {
		r.Detach(f)
	}
	checkEmpty(t, r)
}

func checkBounds(t *testing.T, r *Router) {
	t.Helper()
	for _, f := range r.Faces() {
		st := r.Stats(f)
		if st.Pending > fuzzQueries || st.Asked > fuzzQueries {
			t.Fatalf("%v: %+v", f.rel, st)
		}
		if f.rel == Local {
			continue
		}
		if f.declared > fuzzDeclarations || f.bytes > fuzzBytes || st.Interests > fuzzInterests {
			t.Fatalf("%v: %d declarations of %d bytes, %+v", f.rel, f.declared, f.bytes, st)
		}
		if f.declared < 0 || f.bytes < 0 || st.KeyExprs < 0 {
			t.Fatalf("%v: %d declarations of %d bytes, %+v", f.rel, f.declared, f.bytes, st)
		}
	}
}
