//go:build wasip1

// Command goguest is a guest of the tests: a Go reactor whose exports take a size and return a checksum of their work.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

func main() {}

type item struct {
	Name  string            `json:"name"`
	Tags  []string          `json:"tags"`
	Attrs map[string]string `json:"attrs"`
	Price float64           `json:"price"`
}

//go:wasmexport jsonwork
func jsonwork(n uint32) uint64 {
	var sum uint64
	for i := range n {
		in := item{Name: fmt.Sprint("item ", i), Tags: []string{"a", "b", "c"}, Attrs: map[string]string{"k": "v", "q": "w"}, Price: float64(i) * 1.5}
		b, err := json.Marshal(in)
		if err != nil {
			return 0
		}
		var out item
		if json.Unmarshal(b, &out) != nil {
			return 0
		}
		sum = sum*31 + uint64(len(b)) + uint64(len(out.Name)) + uint64(out.Price)
	}
	return sum
}

//go:wasmexport mapwork
func mapwork(n uint32) uint64 {
	m := map[uint32]uint32{}
	for i := range n {
		m[i*2654435761]++
	}
	return uint64(len(m))
}

//go:wasmexport sortwork
func sortwork(n uint32) uint64 {
	s := make([]uint32, n)
	x := uint32(1)
	for i := range s {
		x = x*1664525 + 1013904223
		s[i] = x
	}
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	var sum uint64
	for _, v := range s {
		sum = sum*31 + uint64(v)
	}
	return sum
}

//go:wasmexport hashwork
func hashwork(n uint32) uint64 {
	h := sha256.Sum256(bytes.Repeat([]byte{7}, int(n)))
	return uint64(h[0])<<8 | uint64(h[1])
}

//go:wasmexport byteloop
func byteloop(n uint32) uint64 {
	b := bytes.Repeat([]byte("abc"), int(n)/3)
	var sum uint64
	for _, c := range b {
		sum = sum*31 + uint64(c)
	}
	return sum
}

func fibr(n uint32) uint64 {
	if n < 2 {
		return uint64(n)
	}
	return fibr(n-1) + fibr(n-2)
}

//go:wasmexport gofib
func gofib(n uint32) uint64 { return fibr(n) }

var words = regexp.MustCompile(`([a-z]+)-(\d+)`)

//go:wasmexport textwork
func textwork(n uint32) uint64 {
	s := strings.Repeat("alpha-12 beta-7 gamma ", int(n))
	return uint64(len(words.ReplaceAllString(s, "$2.$1")))
}

// deep recurses n levels with a frame of some size on each.
//
//go:wasmexport deep
func deep(n uint32) uint64 {
	if n == 0 {
		return 1
	}
	var pad [4]uint64
	pad[n&3] = deep(n - 1)
	return pad[0] + pad[1] + pad[2] + pad[3] + 1
}
