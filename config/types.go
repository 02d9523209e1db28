package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ByteSize is a number of bytes, written as "64MiB", "1GB" or a plain number of bytes.
type ByteSize int64

// The units a ByteSize may be written in. Those that print are the powers of 1024, so that a value read back is the same.
var byteUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"B", 1},
}

// ParseByteSize reads a size. Units are powers of 1024 (KiB, MiB, GiB, TiB) or of 1000 (kB, MB, GB, TB); case does not
// matter and a space may stand before the unit. The number may have a fraction as long as the size is whole bytes.
func ParseByteSize(s string) (ByteSize, error) {
	number, unit := splitUnit(s)
	factor := int64(1)
	if unit != "" {
		factor = 0
		for _, u := range byteUnits {
			if strings.EqualFold(u.name, unit) {
				factor = u.bytes
			}
		}
		if factor == 0 {
			return 0, fmt.Errorf("%q is not a unit of size; write a size as \"64MiB\", with KiB, MiB, GiB or TiB", unit)
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 {
			return 0, fmt.Errorf("a size cannot be negative")
		}
		if n > math.MaxInt64/factor {
			return 0, fmt.Errorf("the size is too large")
		}
		return ByteSize(n * factor), nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.ContainsAny(number, "xXpPnN_") {
		return 0, fmt.Errorf("%q is not a size; write a size as \"64MiB\"", s)
	}
	bytes := f * float64(factor)
	switch {
	case f < 0:
		return 0, fmt.Errorf("a size cannot be negative")
	case bytes >= math.MaxInt64:
		return 0, fmt.Errorf("the size is too large")
	case bytes != math.Trunc(bytes):
		return 0, fmt.Errorf("%q is not a whole number of bytes", s)
	}
	return ByteSize(bytes), nil
}

func splitUnit(s string) (number, unit string) {
	s = strings.TrimSpace(s)
	end := strings.LastIndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }) + 1
	return strings.TrimSpace(s[:end]), s[end:]
}

// String writes the size in the largest unit that needs no fraction.
func (b ByteSize) String() string {
	for _, u := range byteUnits[:4] {
		if b != 0 && int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Duration is a length of time, written as "30s", "1m30s" or "250ms".
type Duration time.Duration

// ParseDuration reads a duration in the form of time.ParseDuration, with days ("7d") besides.
func ParseDuration(s string) (Duration, error) {
	if days, ok := strings.CutSuffix(strings.TrimSpace(s), "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err == nil && n >= 0 && n <= math.MaxInt64/int64(24*time.Hour) {
			return Duration(n) * Duration(24*time.Hour), nil
		}
	}
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		if _, numErr := strconv.ParseFloat(s, 64); numErr == nil {
			return 0, fmt.Errorf("%q has no unit; write a duration as \"%ss\", with ms, s, m or h", s, strings.TrimSpace(s))
		}
		return 0, fmt.Errorf("%q is not a duration; write one as \"30s\" or \"1m30s\", with ms, s, m or h", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("a duration cannot be negative")
	}
	return Duration(d), nil
}

// Std returns d as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes d without units that are zero: "1h", not "1h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Mode is a file's permissions, written in octal: "0660".
type Mode uint32

// ParseMode reads permissions.
func ParseMode(s string) (Mode, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(s), "0o"), 8, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a file mode; write one in octal, as \"0660\"", s)
	}
	return Mode(n), nil
}

// String writes the mode in octal.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }
