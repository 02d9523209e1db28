package lattice

import (
	"testing"

	"pgregory.net/rapid"
)

// TestCanonicalText: the quick way takes exactly what Append writes for the years 0 to 9999, also where a byte of it is
// another, and reads it as the slow one does.
func TestCanonicalText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := Timestamp{
			sec:  rapid.Int64Range(daysFromCivil(0, 1, 1)*secsPerDay, daysFromCivil(10000, 1, 1)*secsPerDay-1).Draw(t, "sec"),
			nano: uint32(rapid.SampledFrom([]int{1, 1000, 1_000_000}).Draw(t, "unit") * rapid.IntRange(0, 999).Draw(t, "units")),
		}
		if ts.sec%60 == 59 && rapid.Bool().Draw(t, "leap") {
			ts.nano += billion
		}
		text := ts.Append(nil)
		if got, ok := parseCanonical(text); !ok || got != ts {
			t.Fatalf("%s is read as %v, %v", text, got, ok)
		}
		text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("0123456789.:-+ TZz/\x00\xff")).Draw(t, "byte")
		got, ok := parseCanonical(text)
		if ok && string(got.Append(nil)) != string(text) {
			t.Fatalf("%q is taken for canonical, but is not: %s", text, got)
		}
		if slow, err := ParseTimestamp(text); err == nil && !ok && string(slow.Append(nil)) == string(text) {
			t.Fatalf("%q is canonical and was refused", text)
		}
	})
}
