package kvs

import (
	"fmt"
	"hash/maphash"
	"testing"
)

func TestFilterTable(t *testing.T) {
	f := filter{seed: maphash.MakeSeed(), full: make(chan struct{}, 1)}
	if f.absent([]byte("k")) {
		t.Error("without a table, a key is called absent")
	}
	table := newFilterTable(0)
	f.table.Store(table)
	n := int(table.capacity())
	for i := range n {
		f.add(fmt.Sprint("in", i))
	}
	if f.absent([]byte("out")) {
		t.Error("while the table is made, a key is called absent")
	}
	table.complete.Store(true)
	for i := range n {
		if f.absent(fmt.Append(nil, "in", i)) {
			t.Fatalf("in%d is called absent", i)
		}
	}
	wrong := 0
	for i := range 10000 {
		if !f.absent(fmt.Append(nil, "out", i)) {
			wrong++
		}
	}
	if wrong > 300 {
		t.Errorf("%d of 10000 absent keys may be there, at capacity", wrong)
	}
	if k := table.keys.Load(); k < int64(n)*97/100 || k > int64(n) {
		t.Errorf("%d keys counted as %d", n, k)
	}
}

// Tables that follow one another know all that was added to any of them, and end at the bound.
func TestFilterGrows(t *testing.T) {
	f := filter{seed: maphash.MakeSeed(), full: make(chan struct{}, 1)}
	table := newFilterTable(0)
	table.complete.Store(true)
	f.table.Store(table)
	n := int(table.capacity())
	for i := range 3 * n {
		f.add(fmt.Sprint("in", i))
		select {
		case <-f.full:
			f.table.Store(f.table.Load().next())
		default:
		}
	}
	if f.table.Load() == table || f.table.Load().older != table {
		t.Fatal("it did not say that it was full")
	}
	for i := range 3 * n {
		if f.absent(fmt.Append(nil, "in", i)) {
			t.Fatalf("in%d is called absent", i)
		}
	}
	wrong := 0
	for i := range 10000 {
		if !f.absent(fmt.Append(nil, "out", i)) {
			wrong++
		}
	}
	if wrong > 300 {
		t.Errorf("%d of 10000 absent keys may be there", wrong)
	}
	blocks, tables := 0, 0
	for x := table; x != nil; x = x.next() {
		blocks += len(x.blocks)
		if tables++; tables > 10 {
			t.Fatal("it grows without end")
		}
	}
	if blocks > filterMax {
		t.Errorf("%d blocks, at most %d are allowed", blocks, filterMax)
	}
}
