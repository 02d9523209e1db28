package route

import (
	"testing"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// TestRelay_8_0 goes through the table of who is told of whom, who gets whose data, and who answers whom.
func TestRelay_8_0(t *testing.T) {
	for a := Local; a <= North; a++ {
		for b := Local; b <= North; b++ {
			t.Run(a.String()+" to "+b.String(), func(t *testing.T) {
				n := newNode(t, Options{})
				src, dst := n.face("src", a), n.face("dst", b)
				for _, f := range []*fake{src, dst} {
					if f.f.rel == Mesh {
						f.final(0)
					}
				}
				src.interest(1, wire.InterestCurrentFuture, "KSQ", "")
				dst.interest(1, wire.InterestCurrentFuture, "KSQ", "")
				for _, f := range []*fake{src, dst} {
					if f.f.rel == North {
						f.final(1) // and 2, where both ask
						f.final(2)
					}
				}
				src.take()
				dst.take()
				want := a <= South || b <= South

				dst.decl(wire.DeclSubscriber, 1, "k/*")
				dst.decl(wire.DeclQueryable, 2, "k/*")
				if got := len(src.take()) == 2; got != want {
					t.Errorf("source told: %v, want %v", got, want)
				}
				dst.take() // a local session is told of its own
				src.put("k/1", "x")
				if got := len(dst.take()) == 1; got != want {
					t.Errorf("data got through: %v, want %v", got, want)
				}
				src.get(7, "k/1", wire.All)
				if !want {
					src.want("FINAL 7")
					dst.want()
					return
				}
				dst.want("GET k/1")
				rid := dst.rid()
				dst.reply(rid, "k/1", "y")
				dst.end(rid)
				src.want("REPLY 7 k/1 y", "FINAL 7")
				n.idle()
			})
		}
	}
}
