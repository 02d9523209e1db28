package main

import (
	"context"
	"io"
	"strings"
	"time"
)

type T struct{ n int }

type List struct {
	Next *List
}

type Deep struct {
	Fine  string
	Chans []map[string]chan int
}

type ReaderMap map[string]io.Reader

//essa:function
func (T) Method() {}

//essa:function
func Generic[A any](a A) {}

//essa:function
func Variadic(a int, rest ...string) {}

//essa:function
func Interfaces(ctx context.Context, any interface{}, r ReaderMap) {}

//essa:function
func Unencodable(a func(), b chan int, c complex128, d uintptr) {}

//essa:function
func Deeply(deep Deep, list List) {}

//essa:function
func Maps(a map[float64]int, b map[bool]int, c map[[2]int]string) {}

//essa:function
func Foreign(when time.Time, builder strings.Builder) {}

//essa:function
func Empty(nothings []struct{}) {}

//essa:function
func Results() (error, int) { return nil, 0 }

//essa:function
func Undefined(a Missing) {}

//essa:function
func HTTPGet() {}

//essa:function name=Other
func HttpGet() {}

//essa:function name=Deeply
func Collides() {}

//essa:function name=Twice export=twice_a
func TwiceA() {}

//essa:function name=Twice export=twice_b
func TwiceB() {}

//essa:function export=by_hand
func AlsoByHand() {}

//go:wasmexport __essa_wrapper__by_hand
func byHand(n int32) {}

//essa:function export=Größe
func Umlaut() {}

//essa:function name=1st colour=red name=x export
func Options() {}

//essa:function
func größer() {}

//essa:function
func in() {}

//essa:fuction
func Typo() {}

//essa:function

// A blank line is between the directive and this.
func Detached() {}

//essa:function
var NotAFunction = 1

//essa:function
func main() {}

func Main(args []string) {}
