package lattice

import "testing"

// A last-writer-wins value of 1 KiB, as every put of a client makes and every read of it checks.
func benchLWW() LWW {
	return LWW{Time: TimeUnixNano(1_700_000_000_123_456_789), Data: make([]byte, 1024)}
}

func BenchmarkEncodeLWW(b *testing.B) {
	l := benchLWW()
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Encode()
	}
}

func BenchmarkNormalizeLWW(b *testing.B) {
	v := Encode(benchLWW())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := Normalize(v); err != nil {
			b.Fatal(err)
		}
	}
}
