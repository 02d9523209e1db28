// Bench-go holds what the benches call, in Go; examples/splitter has the same exports in C.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o bench-go.wasm .
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/essa-project/essad/sdk/guest"
	"github.com/essa-project/essad/sdk/lattice"
)

//go:generate go run github.com/essa-project/essad/sdk/guest/essagen

var errEmpty = errors.New("the range is empty")

// noop does nothing.
//
//essa:function
func noop() {}

// echo returns its argument.
//
//essa:function
func echo(data []byte) []byte { return data }

// nested makes one call of noop.
//
//essa:function
func nested() {
	must(noopRemote().Wait())
}

// nestedMany makes n calls of noop, one after the other.
//
//essa:function
func nestedMany(n uint64) uint64 {
	for range n {
		must(noopRemote().Wait())
	}
	return n
}

// split divides the range until each call has one number, and counts those.
//
//essa:function
func split(start, end uint64) (leaves uint64, err error) {
	if end <= start {
		return 0, errEmpty
	}
	if end-start == 1 {
		return 1, nil
	}
	mid := start + (end-start)/2
	left, right := splitRemote(start, mid), splitRemote(mid, end)
	a, err := left.Get()
	if err != nil {
		return 0, err
	}
	b, err := right.Get()
	return a + b, err
}

// concurrentKVSTest is split where each leaf adds its number to the set under key.
//
//essa:function
func concurrentKVSTest(key guest.Key, start, end uint64) error {
	if end <= start {
		return errEmpty
	}
	if end-start == 1 {
		return guest.AddToSet(key, strconv.FormatUint(start, 10))
	}
	mid := start + (end-start)/2
	return guest.WaitAll(concurrentKVSTestRemote(key, start, mid), concurrentKVSTestRemote(key, mid, end))
}

type order struct {
	ID    uint64            `json:"id"`
	Lines []string          `json:"lines"`
	Notes map[string]string `json:"notes"`
}

var article = regexp.MustCompile(`^([a-z]+)-([0-9]{2,})$`)

// document does what functions do: it writes and reads JSON, and takes text apart with a regular expression.
//
//essa:function
func document() (sum uint64) {
	o := order{ID: 7, Notes: map[string]string{"colour": "green", "size": "large"}}
	for i := range 8 {
		o.Lines = append(o.Lines, fmt.Sprintf("article-%02d", i))
	}
	text, err := json.Marshal(o)
	must(err)
	var back order
	must(json.Unmarshal(text, &back))
	for _, line := range back.Lines {
		if m := article.FindStringSubmatch(line); m != nil {
			sum += uint64(len(m[2])) + back.ID
		}
	}
	return sum
}

// readCached reads key n times and returns the bytes it read, as stored.
//
//essa:function
func readCached(key guest.Key, n uint64) (sum uint64) {
	for range n {
		data, err := guest.GetEncoded(key)
		must(err)
		sum += uint64(len(data))
	}
	return sum
}

// writeLWW puts size bytes under key, n times, and returns n.
//
//essa:function
func writeLWW(key guest.Key, size, n uint64) uint64 {
	data := make([]byte, size)
	for i := range data {
		data[i] = 'a' + byte(i%26)
	}
	last := lattice.Timestamp{}
	for range n {
		now := guest.Now()
		if now.Compare(last) <= 0 {
			now = last.Next() // each put must be newer than the one before
		}
		last = now
		must(guest.Put(key, lattice.LWW{Time: now, Data: data}))
	}
	return n
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
