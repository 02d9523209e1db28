package storage

import (
	"bytes"

	"github.com/essa-project/essad/sdk/status"
)

// DefaultPageBytes is the size of a scan's page where the caller names none.
const DefaultPageBytes = 4 << 20

// Check returns an Invalid error if b breaks one of the limits. Every backend calls it first, so that a caller sees the
// same refusals everywhere and a refused batch has changed nothing.
func (b Batch) Check() error {
	if len(b.Ops) > MaxBatchOps {
		return status.Errorf(status.Invalid, "batch has %d ops, at most %d are allowed: split it", len(b.Ops), MaxBatchOps)
	}
	total := 0
	for i := range b.Ops {
		op := &b.Ops[i]
		if err := checkKey(op.Key); err != nil {
			return err
		}
		if len(op.Value) > MaxValueBytes {
			return status.Errorf(status.Invalid, "value of op %d has %d bytes, at most %d are allowed", i, len(op.Value), MaxValueBytes)
		}
		total += len(op.Key) + len(op.Value)
	}
	if len(b.Ops) > 1 && total > MaxBatchBytes {
		return status.Errorf(status.Invalid, "batch has %d bytes, at most %d are allowed for more than one op: split it", total, MaxBatchBytes)
	}
	return nil
}

// Bytes is the size of b as its limit counts it.
func (b Batch) Bytes() int {
	total := 0
	for i := range b.Ops {
		total += len(b.Ops[i].Key) + len(b.Ops[i].Value)
	}
	return total
}

// CheckKeys returns an Invalid error if keys are not what Get accepts.
func CheckKeys(keys [][]byte) error {
	if len(keys) > MaxBatchOps {
		return status.Errorf(status.Invalid, "get of %d keys, at most %d are allowed: split it", len(keys), MaxBatchOps)
	}
	for _, k := range keys {
		if err := checkKey(k); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(k []byte) error {
	if len(k) == 0 {
		return status.Errorf(status.Invalid, "empty key")
	}
	if len(k) > MaxKeyBytes {
		return status.Errorf(status.Invalid, "key has %d bytes, at most %d are allowed", len(k), MaxKeyBytes)
	}
	return nil
}

// Normal returns r with Limit and Bytes filled in and held within the limits, or an Invalid error.
func (r Range) Normal() (Range, error) {
	if len(r.Prefix) > MaxKeyBytes || len(r.After) > MaxKeyBytes {
		return r, status.Errorf(status.Invalid, "scan bounds have %d and %d bytes, at most %d are allowed", len(r.Prefix), len(r.After), MaxKeyBytes)
	}
	if r.Limit < 0 || r.Bytes < 0 {
		return r, status.Errorf(status.Invalid, "scan limits %d items and %d bytes must not be negative", r.Limit, r.Bytes)
	}
	if r.Limit == 0 || r.Limit > MaxPageItems {
		r.Limit = MaxPageItems
	}
	if r.Bytes == 0 {
		r.Bytes = DefaultPageBytes
	}
	r.Bytes = min(r.Bytes, MaxBatchBytes)
	return r, nil
}

// Start returns the first key r may contain.
func (r Range) Start() []byte {
	if len(r.After) == 0 || bytes.Compare(r.After, r.Prefix) < 0 {
		return r.Prefix
	}
	return append(bytes.Clone(r.After), 0)
}

// End returns the first key after all keys r may contain, or nil if there is none.
func (r Range) End() []byte {
	end := bytes.Clone(r.Prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
