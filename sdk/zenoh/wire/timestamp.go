package wire

import (
	"cmp"
	"time"
)

// NTP64 returns t as Zenoh counts time: seconds since 1970 in the upper 32 bits, the binary fraction in the lower, rounded
// up so that a time with nanoseconds survives the way there and back. What does not fit is cut off.
func NTP64(t time.Time) uint64 {
	return uint64(t.Unix())<<32 | (uint64(t.Nanosecond())<<32+999_999_999)/1_000_000_000
}

// NTP64Time returns the time that v stands for, in UTC.
func NTP64Time(v uint64) time.Time {
	return time.Unix(int64(v>>32), int64((v&0xffffffff)*1_000_000_000>>32)).UTC()
}

// IsZero reports whether there is no timestamp.
func (t Timestamp) IsZero() bool { return t.ID.IsZero() }

// Compare orders timestamps by time, and those of the same time by the ids of their clocks.
func (t Timestamp) Compare(other Timestamp) int {
	if c := cmp.Compare(t.Time, other.Time); c != 0 {
		return c
	}
	for i := len(t.ID) - 1; i >= 0; i-- { // as numbers: the last byte counts most
		if c := cmp.Compare(t.ID[i], other.ID[i]); c != 0 {
			return c
		}
	}
	return 0
}

// String returns t as "time/id", the time in RFC 3339 with nanoseconds.
func (t Timestamp) String() string {
	return NTP64Time(t.Time).Format("2006-01-02T15:04:05.000000000Z") + "/" + t.ID.String()
}
