package client

import (
	"google.golang.org/protobuf/encoding/protowire"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// Requests of a single operation, which nearly all are, are written and their replies read by hand: protobuf's tables cost
// as much as the rest of what a client does. A fuzz test holds both against protobuf.

// appendOne appends a message Request with the one operation op.
func appendOne(b []byte, space Space, scope string, d Durability, cache string, wait bool, op *Op) []byte {
	size := op.size()
	b = appendUint(b, 1, uint64(space))
	b = appendText(b, 2, scope)
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.BytesType), uint64(size))
	b = appendUint(b, 1, uint64(op.Kind))
	b = appendText(b, 2, op.Key)
	b = appendText(b, 3, op.Value)
	b = appendUint(b, 4, protowire.EncodeBool(op.Stamp))
	b = appendUint(b, 5, uint64(op.TTL))
	if op.If != nil {
		b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), *op.If)
	}
	b = appendUint(b, 4, uint64(d))
	b = appendText(b, 5, cache)
	return appendUint(b, 6, protowire.EncodeBool(wait))
}

// sizeOne is no less than what appendOne appends.
func sizeOne(scope, cache string, op *Op) int { return op.size() + len(scope) + len(cache) + 48 }

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

// parseOne reads a message Reply with a single Result into r, and reports whether it is one. What it does not know is left
// to protobuf. Bytes refer to b.
func parseOne(b []byte, r *annav1.Result) bool {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != 1 || typ != protowire.BytesType {
		return false
	}
	v, m := protowire.ConsumeBytes(b[n:])
	if m < 0 || n+m != len(b) {
		return false
	}
	for b = v; len(b) > 0; {
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
			r.Value, b = v, b[n:]
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
				r.LeaseNano = v
			default:
				r.ExpiresUnixNano = v
			}
		default: // an error's texts, too
			return false
		}
	}
	return true
}
