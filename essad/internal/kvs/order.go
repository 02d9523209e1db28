package kvs

import (
	"slices"
	"strings"
)

// ordered is a set of strings in ascending order: blocks of bounded size, so that adding and removing one costs little and
// does not grow with their number. A shard without a store keeps its keys in one, for scans.
type ordered struct{ blocks [][]string }

const orderedBlock = 512

// block returns the block that holds key, or would.
func (o *ordered) block(key string) int {
	i, found := slices.BinarySearchFunc(o.blocks, key, func(b []string, k string) int { return strings.Compare(b[0], k) })
	if !found && i > 0 {
		i--
	}
	return i
}

func (o *ordered) add(key string) {
	if len(o.blocks) == 0 {
		o.blocks = [][]string{{key}}
		return
	}
	i := o.block(key)
	b := o.blocks[i]
	at, found := slices.BinarySearch(b, key)
	if found {
		return
	}
	b = slices.Insert(b, at, key)
	if len(b) <= orderedBlock {
		o.blocks[i] = b
		return
	}
	half := len(b) / 2
	right := append(make([]string, 0, orderedBlock+1), b[half:]...)
	clear(b[half:])
	o.blocks[i] = b[:half]
	o.blocks = slices.Insert(o.blocks, i+1, right)
}

func (o *ordered) remove(key string) {
	if len(o.blocks) == 0 {
		return
	}
	i := o.block(key)
	at, found := slices.BinarySearch(o.blocks[i], key)
	if !found {
		return
	}
	if o.blocks[i] = slices.Delete(o.blocks[i], at, at+1); len(o.blocks[i]) == 0 {
		o.blocks = slices.Delete(o.blocks, i, i+1)
	}
}

// from calls h with the keys from start on, in order, until h returns false.
func (o *ordered) from(start string, h func(key string) bool) {
	if len(o.blocks) == 0 {
		return
	}
	for i := o.block(start); i < len(o.blocks); i++ {
		b := o.blocks[i]
		at, _ := slices.BinarySearch(b, start)
		for _, k := range b[at:] {
			if !h(k) {
				return
			}
		}
	}
}
