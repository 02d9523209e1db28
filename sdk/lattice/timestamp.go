package lattice

import (
	"time"
	"unicode/utf8"
)

// Timestamp is an instant in UTC as chrono's DateTime<Utc> has it: nanoseconds, a leap second that is its own instant
// after the 59th second, and years from -262144 to 262143. The zero Timestamp is 1970-01-01T00:00:00Z.
type Timestamp struct {
	sec  int64  // since 1970, leap seconds not counted
	nano uint32 // from 1e9 on: within the leap second that follows sec
}

const (
	billion     = 1_000_000_000
	secsPerDay  = 86400
	minYear     = -262144
	maxYear     = 262143
	daysPer400y = 146097
)

// TimeOf returns t as a Timestamp. Years beyond its range become the nearest instant within it.
func TimeOf(t time.Time) Timestamp {
	return Timestamp{t.Unix(), uint32(t.Nanosecond())}.clamp()
}

// TimeUnixNano returns the instant ns nanoseconds after 1970.
func TimeUnixNano(ns int64) Timestamp {
	s, n := ns/billion, ns%billion
	if n < 0 {
		s, n = s-1, n+billion
	}
	return Timestamp{s, uint32(n)}
}

var (
	minTimestamp = Timestamp{daysFromCivil(minYear, 1, 1) * secsPerDay, 0}
	maxTimestamp = Timestamp{daysFromCivil(maxYear, 12, 31)*secsPerDay + secsPerDay - 1, 2*billion - 1}
)

func (t Timestamp) clamp() Timestamp {
	if t.sec < minTimestamp.sec {
		return minTimestamp
	}
	if t.sec > maxTimestamp.sec {
		return maxTimestamp
	}
	return t
}

// Compare returns -1, 0 or 1 as t is before, at or after u.
func (t Timestamp) Compare(u Timestamp) int {
	switch {
	case t.sec < u.sec || t.sec == u.sec && t.nano < u.nano:
		return -1
	case t == u:
		return 0
	}
	return 1
}

// Time returns t as a time.Time; a leap second falls together with the second after it.
func (t Timestamp) Time() time.Time { return time.Unix(t.sec, int64(t.nano)).UTC() }

// UnixNano returns the nanoseconds since 1970, the nearest int64 for instants it cannot hold.
func (t Timestamp) UnixNano() int64 {
	const maxSec, minSec = (1<<63-1)/billion - 2, -(1<<63-1)/billion + 2
	if t.sec > maxSec {
		return 1<<63 - 1
	}
	if t.sec < minSec {
		return -1 << 63
	}
	return t.sec*billion + int64(t.nano)
}

// Next returns the first instant after t.
func (t Timestamp) Next() Timestamp {
	if t.nano == billion-1 || t.nano == 2*billion-1 {
		return Timestamp{t.sec + 1, 0}.clamp()
	}
	return Timestamp{t.sec, t.nano + 1}
}

// String returns the canonical text: 2024-03-05T12:34:56Z, with 3, 6 or 9 digits of fraction where needed.
func (t Timestamp) String() string { return string(t.Append(nil)) }

// Append appends the canonical text.
func (t Timestamp) Append(b []byte) []byte {
	days := floorDiv(t.sec, secsPerDay)
	sod := int(t.sec - days*secsPerDay)
	year, month, day := civilFromDays(days)
	if year < 0 || year > 9999 {
		sign := byte('+')
		if year < 0 {
			sign, year = '-', -year
		}
		b = append(b, sign)
	}
	if year < 10000 {
		b = appendTwo(appendTwo(b, year/100), year%100)
	} else {
		b = appendPadded(b, year, 4)
	}
	b = appendTwo(append(b, '-'), month)
	b = appendTwo(append(b, '-'), day)
	sec, nano := sod%60, int(t.nano)
	if nano >= billion {
		sec, nano = sec+1, nano-billion
	}
	b = appendTwo(append(b, 'T'), sod/3600)
	b = appendTwo(append(b, ':'), sod/60%60)
	b = appendTwo(append(b, ':'), sec)
	switch {
	case nano == 0:
	case nano%1_000_000 == 0:
		b = appendPadded(append(b, '.'), nano/1_000_000, 3)
	case nano%1000 == 0:
		b = appendPadded(append(b, '.'), nano/1000, 6)
	default:
		b = appendPadded(append(b, '.'), nano, 9)
	}
	return append(b, 'Z')
}

// maxText is how long the text of a timestamp in the years 0 to 9999 is at most.
const maxText = len("2024-03-05T12:34:56.123456789Z")

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

func appendPadded(b []byte, n, width int) []byte {
	var digits [20]byte
	i := len(digits)
	for n > 0 || i > len(digits)-width {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[i:]...)
}

// ParseTimestamp reads a timestamp as leniently as chrono 0.4.19, whose grammar the upstream systems accept: one or two
// digits per field, blanks in places, a space for the T, any number of digits of a fraction (cut at nine), and an offset
// as Z, UTC, +02:00 or +0200.
func ParseTimestamp(s []byte) (Timestamp, error) {
	if t, ok := parseCanonical(s); ok {
		return t, nil
	}
	p := timeParser{s: s, ok: true}
	year := p.year()
	p.literal('-', true)
	month := p.number(2)
	p.literal('-', true)
	day := p.number(2)
	p.separator()
	hour := p.number(2)
	p.literal(':', true)
	minute := p.number(2)
	p.literal(':', true)
	second := p.number(2)
	nano := p.fraction()
	offset := p.offset()
	p.blanks()
	if !p.ok || len(p.s) != 0 {
		return Timestamp{}, ErrTime
	}
	return civil(year, month, day, hour, minute, second, nano, offset)
}

func civil(year, month, day, hour, minute, second, nano, offset int64) (Timestamp, error) {
	if year < minYear || year > maxYear || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 60 {
		return Timestamp{}, ErrTime
	}
	if second == 60 {
		second, nano = 59, nano+billion
	}
	t := Timestamp{daysFromCivil(year, month, day)*secsPerDay + hour*3600 + minute*60 + second - offset, uint32(nano)}
	if t.clamp() != t {
		return Timestamp{}, ErrTime
	}
	return t, nil
}

// parseCanonical is the quick way for what Append writes, years 0 to 9999. What it refuses may still be a timestamp. Every
// read and write of a last-writer-wins value comes through here.
func parseCanonical(s []byte) (Timestamp, bool) {
	if len(s) < 20 || len(s) > maxText || s[len(s)-1] != 'Z' ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return Timestamp{}, false
	}
	century, yy := two(s[0], s[1]), two(s[2], s[3])
	month, day := two(s[5], s[6]), two(s[8], s[9])
	hour, minute, second := two(s[11], s[12]), two(s[14], s[15]), two(s[17], s[18])
	if century|yy|month|day|hour|minute|second >= notTwo {
		return Timestamp{}, false
	}
	nano := uint32(0)
	if len(s) > 20 {
		digits := s[20 : len(s)-1]
		if s[19] != '.' || len(digits)%3 != 0 {
			return Timestamp{}, false
		}
		for i := 0; i < len(digits); i += 3 {
			d, e := uint32(digits[i]-'0'), two(digits[i+1], digits[i+2])
			if d > 9 || e >= notTwo {
				return Timestamp{}, false
			}
			nano = nano*1000 + d*100 + e
		}
		// More digits than needed are a timestamp, but not a canonical one.
		if nano%1000 == 0 {
			return Timestamp{}, false
		}
		for range 3 - len(digits)/3 {
			nano *= 1000
		}
	}
	t, err := civil(int64(century*100+yy), int64(month), int64(day), int64(hour), int64(minute), int64(second), int64(nano), 0)
	return t, err == nil
}

// notTwo is what two answers where a byte is no digit. Numbers of two digits joined with or stay below it.
const notTwo = 128

// two is the number that two digits stand for.
func two(a, b byte) uint32 {
	a, b = a-'0', b-'0'
	if a > 9 || b > 9 {
		return notTwo
	}
	return uint32(a)*10 + uint32(b)
}

// timeParser takes a timestamp apart. After the first mistake ok is false and nothing else matters.
type timeParser struct {
	s  []byte
	ok bool
}

func (p *timeParser) fail() int64 {
	p.ok, p.s = false, nil
	return 0
}

func (p *timeParser) blanks() {
	for len(p.s) > 0 {
		r, n := utf8.DecodeRune(p.s)
		if !isBlank(r) {
			return
		}
		p.s = p.s[n:]
	}
}

// isBlank is Unicode's White_Space.
func isBlank(r rune) bool {
	switch {
	case r >= '\t' && r <= '\r', r >= 0x2000 && r <= 0x200a:
		return true
	}
	switch r {
	case ' ', 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return false
}

func (p *timeParser) literal(c byte, blanks bool) {
	if blanks {
		p.blanks()
	}
	if len(p.s) == 0 || p.s[0] != c {
		p.fail()
		return
	}
	p.s = p.s[1:]
}

// separator takes the T, or the space in its place.
func (p *timeParser) separator() {
	if len(p.s) == 0 || p.s[0] != 'T' && p.s[0] != ' ' {
		p.fail()
		return
	}
	p.s = p.s[1:]
}

// number takes one to width digits after any blanks.
func (p *timeParser) number(width int) int64 {
	p.blanks()
	return p.digits(width)
}

func (p *timeParser) digits(width int) int64 {
	n, i := int64(0), 0
	for i < len(p.s) && i < width && p.s[i] >= '0' && p.s[i] <= '9' {
		if n > 1<<40 {
			return p.fail()
		}
		n = n*10 + int64(p.s[i]-'0')
		i++
	}
	if i == 0 {
		return p.fail()
	}
	p.s = p.s[i:]
	return n
}

// year takes four digits at most, or any number of them after a sign.
func (p *timeParser) year() int64 {
	p.blanks()
	if len(p.s) > 0 && (p.s[0] == '-' || p.s[0] == '+') {
		negative := p.s[0] == '-'
		p.s = p.s[1:]
		n := p.digits(len(p.s))
		if negative {
			return -n
		}
		return n
	}
	return p.digits(4)
}

func (p *timeParser) fraction() int64 {
	if len(p.s) == 0 || p.s[0] != '.' {
		return 0
	}
	p.s = p.s[1:]
	before := len(p.s)
	n := p.digits(9)
	for i := before - len(p.s); i < 9 && p.ok; i++ {
		n *= 10
	}
	for len(p.s) > 0 && p.s[0] >= '0' && p.s[0] <= '9' {
		p.s = p.s[1:]
	}
	return n
}

func (p *timeParser) offset() int64 {
	p.blanks()
	if len(p.s) == 0 {
		return p.fail()
	}
	switch c := p.s[0]; c {
	case 'z', 'Z':
		p.s = p.s[1:]
		return 0
	case 'u', 'U':
		if len(p.s) < 3 || p.s[1]|32 != 't' || p.s[2]|32 != 'c' {
			return p.fail()
		}
		p.s = p.s[3:]
		return 0
	case '+', '-':
		p.s = p.s[1:]
		hours := p.twoDigits()
		for len(p.s) > 0 {
			if p.s[0] == ':' {
				p.s = p.s[1:]
				continue
			}
			before := len(p.s)
			p.blanks()
			if len(p.s) == before {
				break
			}
		}
		minutes := p.twoDigits()
		if hours > 23 || minutes > 59 {
			return p.fail()
		}
		if c == '-' {
			return -(hours*3600 + minutes*60)
		}
		return hours*3600 + minutes*60
	}
	return p.fail()
}

func (p *timeParser) twoDigits() int64 {
	if len(p.s) < 2 || p.s[1] < '0' || p.s[1] > '9' {
		return p.fail()
	}
	return p.digits(2)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func isLeap(y int64) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if isLeap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysFromCivil counts days since 1970 in the proleptic Gregorian calendar. It counts years from March, so that the leap
// day is the last one.
func daysFromCivil(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era := floorDiv(year, 400)
	yoe := year - era*400
	doy := (153*((month+9)%12)+2)/5 + day - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*daysPer400y + doe - 719468
}

func civilFromDays(days int64) (year, month, day int) {
	days += 719468
	era := floorDiv(days, daysPer400y)
	doe := days - era*daysPer400y
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	y := yoe + era*400
	m := mp + 3
	if m > 12 {
		m -= 12
	}
	if m <= 2 {
		y++
	}
	return int(y), int(m), int(doy - (153*mp+2)/5 + 1)
}
