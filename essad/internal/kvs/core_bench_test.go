package kvs

import (
	"context"
	"fmt"
	"testing"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// Inside the role: what a request costs without the messages around it.
func BenchmarkGetInside(b *testing.B) {
	r := idle(b)
	key := []byte("\x02\x01sk")
	value := lattice.Encode(lattice.LWW{Time: lattice.TimeUnixNano(1), Data: make([]byte, 64)})
	r.write(context.Background(), key, &annav1.Op{Kind: annav1.OpKind_PUT, Value: value}, annav1.Durability_MEMORY, &annav1.Result{})
	b.ReportAllocs()
	for b.Loop() {
		var res annav1.Result
		if res := r.get(context.Background(), key, nil, &res); res.Code != "" {
			b.Fatal(res)
		}
	}
}

func BenchmarkPutInside(b *testing.B) {
	r := idle(b)
	keys := make([][]byte, 1024)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "\x02\x01sk%d", i)
	}
	value := func(i int) []byte {
		return lattice.Encode(lattice.LWW{Time: lattice.TimeUnixNano(int64(i)), Data: make([]byte, 64)})
	}
	i := 0
	var values [4096][]byte
	for j := range values {
		values[j] = value(j)
	}
	b.ReportAllocs()
	for b.Loop() {
		i++
		if res, _, _ := r.write(context.Background(), keys[i%1024], &annav1.Op{Kind: annav1.OpKind_PUT, Value: values[i%4096]}, annav1.Durability_MEMORY, &annav1.Result{}); res.Code != "" {
			b.Fatal(res)
		}
	}
}
