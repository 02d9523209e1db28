package wire

import (
	"testing"
)

// The messages of the fast path: a put of 64 bytes on a declared key and on a whole one, a query and its reply.
func benchMessages() map[string]Message {
	payload := make([]byte, 64)
	key := WireExpr{Suffix: "essa/executor/7/run-function"}
	return map[string]Message{
		"push":      {Kind: Push, QoS: DefaultQoS, Key: key, Body: Body{Kind: Put, Payload: payload}},
		"push-id":   {Kind: Push, QoS: PriorityData | Block, Key: WireExpr{Scope: 1, Sender: true}, Body: Body{Kind: Put, Payload: payload}},
		"push-full": {Kind: Push, QoS: PriorityData | Block, Key: key, Body: Body{Kind: Put, Payload: payload, Timestamp: ts, Encoding: Encoding{ID: 4}, Attachment: []byte("at")}},
		"request": {
			Kind: Request, QoS: RequestQoS, RequestID: 300, Key: key, TimeoutMS: 10_000,
			Body: Body{Kind: Query, Consolidation: Latest, HasPayload: true, Payload: payload},
		},
		"response": {
			Kind: Response, QoS: RequestQoS, RequestID: 300, Key: key, Responder: EntityID{idA, 5},
			Body: Body{Kind: Put, Payload: payload},
		},
		"final": {Kind: ResponseFinal, QoS: RequestQoS, RequestID: 300},
	}
}

var benchNames = []string{"push", "push-id", "push-full", "request", "response", "final"}

func TestCodecDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 512)
	var got Message
	for name, m := range benchMessages() {
		if n := testing.AllocsPerRun(100, func() {
			b := AppendMessage(buf, &m)
			if _, err := DecodeMessage(b, &got); err != nil {
				t.Fatal(err)
			}
			_ = AppendMessage(b, &got)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	all := benchMessages()
	for _, name := range benchNames {
		b.Run(name, func(b *testing.B) {
			m := all[name]
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				_ = AppendMessage(buf, &m)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	all := benchMessages()
	for _, name := range benchNames {
		b.Run(name, func(b *testing.B) {
			m := all[name]
			p := AppendMessage(nil, &m)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeMessage(p, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkForward writes a message from the body that it was read with, as a router does.
func BenchmarkForward(b *testing.B) {
	all := benchMessages()
	for _, name := range benchNames {
		b.Run(name, func(b *testing.B) {
			m := all[name]
			if _, err := DecodeMessage(AppendMessage(nil, &m), &m); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				_ = AppendMessage(buf, &m)
			}
		})
	}
}
