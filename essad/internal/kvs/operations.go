package kvs

import (
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// operations is a request of nothing but operations that do not wait for keys, as nearly all are. It is read and answered
// without protobuf's tables, which cost more than an operation does; what it does not know is read by them.
type operations struct {
	space      annav1.Space
	scope      string
	cache      string
	durability annav1.Durability
	ops        []operation
	first      [1]operation // ops, where there is one
}

type operation struct {
	kind       annav1.OpKind
	key, value []byte
	stamp      bool
	ttl        int64
	condition  *uint64
}

// parse reads a message Request, and reports whether it is of this kind. Strings and bytes refer to b.
func (o *operations) parse(b []byte) bool {
	o.ops = o.first[:0]
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case typ == protowire.VarintType && (num == 1 || num == 4):
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			if b = b[n:]; num == 1 {
				o.space = annav1.Space(v)
			} else {
				o.durability = annav1.Durability(v)
			}
		case typ == protowire.BytesType && (num == 2 || num == 3 || num == 5):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false
			}
			b = b[n:]
			switch num {
			case 2:
				o.scope = textOf(v)
			case 5:
				o.cache = textOf(v)
			default:
				if len(o.ops) == maxOps {
					return false
				}
				o.ops = append(o.ops, operation{})
				if !o.ops[len(o.ops)-1].parse(v) {
					return false
				}
			}
		default:
			return false
		}
	}
	return len(o.ops) > 0 && utf8.ValidString(o.scope) && utf8.ValidString(o.cache)
}

func (o *operation) parse(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && (num == 2 || num == 3):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false
			}
			if b = b[n:]; num == 2 {
				o.key = v
			} else {
				o.value = v
			}
		case typ == protowire.VarintType && (num == 1 || num >= 4 && num <= 6):
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			b = b[n:]
			switch num {
			case 1:
				o.kind = annav1.OpKind(v)
			case 4:
				o.stamp = v != 0
			case 5:
				o.ttl = int64(v)
			default:
				o.condition = &v
			}
		default:
			return false
		}
	}
	return true
}

// textOf returns b as a string without a copy: a request's bytes do not change.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// appendResult appends r to the results of a message Reply.
func appendResult(b []byte, r *annav1.Result) []byte {
	size := sizeOf(len(r.Code)) + sizeOf(len(r.Text)) + sizeOf(len(r.Value)) +
		sizeOfUint(r.Version) + sizeOfUint(r.LeaseNano) + sizeOfUint(r.ExpiresUnixNano)
	if need := size + 1 + protowire.SizeVarint(uint64(size)); cap(b)-len(b) < need {
		b = append(make([]byte, 0, len(b)+need), b...)
	}
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if r.Code != "" {
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), r.Code)
	}
	if r.Text != "" {
		b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), r.Text)
	}
	if len(r.Value) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), r.Value)
	}
	b = appendUint(b, 4, r.Version)
	b = appendUint(b, 5, r.LeaseNano)
	return appendUint(b, 6, r.ExpiresUnixNano)
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// sizeOf is what a string or bytes of that length take with their tag.
func sizeOf(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

func sizeOfUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}
