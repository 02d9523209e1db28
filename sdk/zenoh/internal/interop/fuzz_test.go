package interop

import (
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/zenoh"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// dice makes choices of the fuzzer's bytes.
type dice struct{ data []byte }

func (d *dice) byte() byte {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

// below returns a number from 0 to n-1.
func (d *dice) below(n int) int { return int(d.byte()) % n }

func (d *dice) id() uint32 { return uint32(d.below(6)) } //nolint:gosec // small

// fuzzKeys are few, so that they meet: valid ones, wild ones, and some that are not valid.
var fuzzKeys = []string{
	"f/a", "f/a/b", "f/*", "f/**", "**", "f/a$*/b", "f/$*x$*", "f/@v/a", "f/@v/**", "*/a", "f", "é/ü",
	"", "/f", "f//a", "f/**/*", "f/a*", strings.Repeat("f/**/", 60) + "a", strings.Repeat("f$*", 100), strings.Repeat("x", 3000),
}

func (d *dice) key() wire.WireExpr {
	k := wire.WireExpr{Suffix: fuzzKeys[d.below(len(fuzzKeys))], Sender: d.byte()%4 != 0}
	if d.byte()%3 == 0 {
		k.Scope = uint16(d.id()) //nolint:gosec // small
		if k.Scope != 0 && k.Suffix != "" && d.byte()%2 == 0 {
			k.Suffix = "/" + k.Suffix
		}
	}
	if k.Scope == 0 {
		k.Sender = true
	}
	return k
}

func (d *dice) payload() []byte {
	switch d.byte() % 16 {
	case 0:
		return make([]byte, 70_000+1000*d.below(100)) // in fragments
	case 1:
		return make([]byte, 40_000)
	}
	return make([]byte, d.below(200))
}

func (d *dice) qos(p wire.QoS) wire.QoS {
	if d.byte()%4 == 0 {
		return wire.QoS(d.byte() & 0x3f)
	}
	return p
}

// message is some valid message.
func (d *dice) message() *wire.Message {
	m := &wire.Message{Reliable: d.byte()%8 != 0, Key: d.key()}
	switch d.below(8) {
	case 0, 1, 2:
		d.declaration(m)
	case 3:
		m.Kind, m.QoS = wire.Interest, d.qos(wire.ControlQoS)
		m.InterestID, m.Mode = d.id(), wire.InterestMode(d.below(4))
		m.Options = wire.InterestOptions(d.byte()) & 0x9f
	case 4:
		m.Kind, m.QoS = wire.Push, d.qos(wire.DefaultQoS)
		d.sample(&m.Body)
	case 5:
		m.Kind, m.QoS = wire.Request, d.qos(wire.RequestQoS)
		m.RequestID, m.Target, m.TimeoutMS = d.id(), wire.Target(d.below(3)), uint32(d.below(3)) //nolint:gosec // small
		m.Body.Kind, m.Body.Consolidation = wire.Query, wire.Consolidation(d.below(4))
		m.Body.Payload = d.payload()
		m.Body.HasPayload = len(m.Body.Payload) > 0
		m.Body.Parameters = []string{"", "a=1", "_anyke", "_time=[now()]"}[d.below(4)]
	case 6:
		m.Kind, m.QoS, m.RequestID = wire.Response, d.qos(wire.RequestQoS), d.id()
		if d.byte()%4 == 0 {
			m.Body.Kind, m.Body.Payload = wire.Err, d.payload()
		} else {
			d.sample(&m.Body)
		}
	default:
		m.Kind, m.QoS, m.RequestID = wire.ResponseFinal, d.qos(wire.RequestQoS), d.id()
		m.Key = wire.WireExpr{}
	}
	return m
}

func (d *dice) sample(b *wire.Body) {
	b.Kind, b.Payload = wire.Put, d.payload()
	if d.byte()%4 == 0 {
		b.Kind, b.Payload = wire.Del, nil
	}
	if d.byte()%4 == 0 {
		b.Attachment = []byte("attached")
	}
	if d.byte()%4 == 0 {
		b.Timestamp = wire.Timestamp{Time: uint64(d.byte()) << 56, ID: wire.ID{1}}
	}
}

func (d *dice) declaration(m *wire.Message) {
	kinds := []wire.DeclKind{
		wire.DeclKeyExpr, wire.DeclSubscriber, wire.DeclQueryable, wire.DeclToken,
		wire.UndeclKeyExpr, wire.UndeclSubscriber, wire.UndeclQueryable, wire.UndeclToken, wire.DeclFinal,
	}
	m.Kind, m.QoS = wire.Declare, d.qos(wire.ControlQoS)
	m.Decl = wire.Declaration{Kind: kinds[d.below(len(kinds))], ID: d.id(), Distance: uint16(d.below(3))}
	m.Decl.Complete = d.byte()%2 == 0
	m.HasInterest, m.InterestID = d.byte()%4 == 0, d.id()
	switch m.Decl.Kind {
	case wire.UndeclKeyExpr, wire.DeclFinal:
		m.Key = wire.WireExpr{}
	case wire.DeclKeyExpr:
		m.Key.Scope, m.Key.Sender = 0, true
	case wire.UndeclSubscriber, wire.UndeclQueryable, wire.UndeclToken:
		m.Decl.HasKey = d.byte()%2 == 0
		if !m.Decl.HasKey {
			m.Key = wire.WireExpr{}
		}
	case wire.DeclSubscriber, wire.DeclQueryable, wire.DeclToken:
	}
}

// step has r say something.
func (d *dice) step(r *raw) {
	switch d.byte() % 32 {
	case 0:
		r.batch([]byte{0x04}) // keep-alive
	case 1:
		for i := range r.sn { // a gap on every lane
			r.sn[i] = (r.sn[i] + uint32(d.byte())) & r.mask
		}
	case 2:
		bs := r.frames(d.message(), d.message())
		b := bs[d.below(len(bs))]
		b[int(d.byte())%len(b)] ^= 1 << (d.byte() % 8)
		r.batch(b)
	case 3:
		bs := r.frames(d.message())
		r.batch(bs[len(bs)-1]) // maybe only the last fragment
	case 4:
		if d.byte()%8 == 0 {
			r.batch([]byte{0x23, d.byte() % 8}) // close
		}
	default:
		ms := []*wire.Message{d.message()}
		for d.byte()%2 == 0 && len(ms) < 8 {
			ms = append(ms, d.message())
		}
		r.say(ms...)
	}
}

// FuzzSession has two sessions say valid messages in any order to a hub, and sometimes invalid ones: others must keep working, and
// nothing of them may be left when they are gone. What it covers varies from run to run, so to fuzz it takes
// -fuzzminimizetime=1x.
func FuzzSession(f *testing.F) {
	rng := seeded(3)
	for range 100 {
		b := make([]byte, 100+rng.IntN(1000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	var w *witness
	var before, runs int
	limit := 16 << 20
	if fuzzing() {
		limit += 256 << 20 // the engine's own buffers
	}
	f.Cleanup(func() {
		if w != nil {
			for _, s := range []*ours{w.a, w.b, w.hub} {
				_ = s.Close()
			}
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		if w == nil {
			w = openWitness(t)
			before = heap()
		}
		d := &dice{data}
		one, two := dialRaw(t, w.at()), dialRaw(t, w.at())
		for len(d.data) > 0 {
			r := one
			if d.byte()%2 == 0 {
				r = two
			}
			d.step(r)
		}
		for _, r := range []*raw{one, two} {
			_ = r.CloseWrite()
			r.lost(t)
		}
		w.alone(t)
		if got := w.hub.alive(t, "**"); len(got) != 0 {
			t.Fatalf("tokens are left: %v", got)
		}
		w.works(t)
		if r := w.a.get(t, "f/**", getOptions{}); len(r) != 0 {
			t.Fatalf("somebody is left who answers: %v", r)
		}
		if runs++; runs%50 == 0 {
			bounded(t, "after many sessions", before, limit)
		}
	})
}

// openWitness is newWitness for longer than one test.
func openWitness(t *testing.T) *witness {
	t.Helper()
	openFor := func(c zenoh.Config) *ours {
		s, err := zenoh.Open(t.Context(), c)
		must(t, err)
		return &ours{s, "our " + c.Mode.String()}
	}
	c := config(zenoh.ModeRouter)
	c.Listen, c.MaxMessage, c.MaxDeclarations = []zenoh.Listen{{Endpoint: anyPort}}, 1<<20, 100
	w := &witness{hub: openFor(c)}
	c = config(zenoh.ModeClient)
	c.Connect = []string{w.at()}
	w.a, w.b = openFor(c), openFor(c)
	w.begin(t)
	return w
}
