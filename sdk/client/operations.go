package client

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Requests of operations, which nearly all are, are written and their replies read by hand: protobuf's tables cost as much as
// the rest of what a client does. A fuzz test holds both against protobuf.

// appendRequest appends a message Request with ops.
func appendRequest(b []byte, space Space, scope string, d Durability, cache string, wait bool, ops []Op) []byte {
	b = appendUint(b, 1, uint64(space))
	b = appendText(b, 2, scope)
	for i := range ops {
		b = ops[i].append(b)
	}
	b = appendUint(b, 4, uint64(d))
	b = appendText(b, 5, cache)
	return appendUint(b, 6, protowire.EncodeBool(wait))
}

// append appends o as one of the operations of a message Request.
func (o *Op) append(b []byte) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.BytesType), uint64(o.size()))
	b = appendUint(b, 1, uint64(o.Kind))
	b = appendText(b, 2, o.Key)
	b = appendText(b, 3, o.Value)
	b = appendUint(b, 4, protowire.EncodeBool(o.Stamp))
	b = appendUint(b, 5, uint64(o.TTL))
	if o.If != nil {
		b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), *o.If)
	}
	return b
}

// sizeRequest is no less than what appendRequest appends.
func sizeRequest(scope, cache string, ops []Op) int {
	n := len(scope) + len(cache) + 48
	for i := range ops {
		n += ops[i].size() + 11
	}
	return n
}

// size is that of the message Op.
func (o *Op) size() int {
	n := sizeUint(uint64(o.Kind)) + sizeText(len(o.Key)) + sizeText(len(o.Value)) + sizeUint(protowire.EncodeBool(o.Stamp)) + sizeUint(uint64(o.TTL))
	if o.If != nil {
		n += 1 + protowire.SizeVarint(*o.If)
	}
	return n
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendText[T string | []byte](b []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

func sizeUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func sizeText(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

// parseResults reads a message Reply with exactly len(into) results, and reports whether it is one. What it does not know,
// such as an error's texts, is left to protobuf. Bytes refer to b.
func parseResults(b []byte, into []Result) bool {
	for i := range into {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num != 1 || typ != protowire.BytesType {
			return false
		}
		v, m := protowire.ConsumeBytes(b[n:])
		if m < 0 || !into[i].parse(v) {
			return false
		}
		b = b[n+m:]
	}
	return len(b) == 0
}

func (r *Result) parse(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && num == 3:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false
			}
			r.Data, b = v, b[n:]
		case typ == protowire.VarintType && num >= 4 && num <= 6:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			b = b[n:]
			switch num {
			case 4:
				r.Version = v
			case 5:
				r.Lease = time.Duration(v)
			default:
				if r.Expires = (time.Time{}); v != 0 {
					r.Expires = time.Unix(0, int64(v))
				}
			}
		default: // an error's texts, too
			return false
		}
	}
	return true
}
