package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/essa-project/essad/sdk/guest"
)

// toUppercase converts the ASCII letters of val to upper case.
//
//essa:function name=toUppercaseExtern
func toUppercase(val string) string {
	upper := []byte(val)
	for i, c := range upper {
		if c >= 'a' && c <= 'z' {
			upper[i] = c - 'a' + 'A'
		}
	}
	return string(upper)
}

// foo adds " fooo" to val. Its stub has a name that is nothing like its own, to show that it may.
//
//essa:function name=appendFoo
func foo(val string) string { return val + " fooo" }

// repeatString repeats text count times.
//
//essa:function name=repeatStringExtern
func repeatString(text string, count uint) string { return strings.Repeat(text, int(count)) }

// concurrentKVSTest splits the range in half until one number is left, and adds that one to the set under key. Each half
// is a call of its own, so a range of n numbers makes 2n-1 calls, and the set holds the whole range when the first of
// them returns.
//
//essa:function name=concurrentKVSTestExtern
func concurrentKVSTest(key guest.Key, rangeStart, rangeEnd uint) error {
	if rangeEnd <= rangeStart {
		return errors.New("the range is empty")
	}
	if rangeEnd-rangeStart == 1 {
		return guest.AddToSet(key, strconv.FormatUint(uint64(rangeStart), 10))
	}
	mid := rangeStart + (rangeEnd-rangeStart)/2
	left := concurrentKVSTestExtern(key, rangeStart, mid)
	right := concurrentKVSTestExtern(key, mid, rangeEnd)
	return guest.WaitAll(left, right)
}
