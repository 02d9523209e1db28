//go:build !wasip1

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/lattice"
)

func TestMerges(t *testing.T) {
	ResetHost()
	for _, e := range []string{"one", "two", "one"} {
		if err := AddToSet("set", e); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := SetOf("set"); err != nil || !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("set: %q, %v", got, err)
	}
	old := lattice.LWW{Time: Now(), Data: []byte("old")}
	if err := PutString("text", "new"); err != nil {
		t.Fatal(err)
	}
	if err := Put("text", old); err != nil {
		t.Fatal(err)
	}
	if v, err := GetAs[lattice.LWW]("text"); err != nil || string(v.Data) != "new" {
		t.Errorf("text: %q, %v", v.Data, err)
	}
	if err := Put("count", lattice.Counter{}.Add("a", 2)); err != nil {
		t.Fatal(err)
	}
	if err := Put("count", lattice.Counter{}.Add("b", 3)); err != nil {
		t.Fatal(err)
	}
	if c, ok, err := TryGetAs[lattice.Counter]("count"); !ok || err != nil || c.Value() != 5 {
		t.Errorf("counter: %d, %t, %v", c.Value(), ok, err)
	}
	raw, err := GetEncoded("count")
	if tag, _ := lattice.TagOf(raw); err != nil || tag != lattice.TagCounter {
		t.Errorf("encoded: %x, %v", raw, err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	ResetHost()
	if v, ok, err := TryGet("nothing"); v != nil || ok || err != nil {
		t.Errorf("TryGet: %v, %t, %v", v, ok, err)
	}
	if s, err := SetOf("nothing"); len(s) != 0 || err != nil {
		t.Errorf("SetOf: %q, %v", s, err)
	}
	if _, err := GetEncoded("nothing"); !errors.Is(err, NotFound) {
		t.Errorf("GetEncoded: %v", err)
	}
}

func TestKindsDoNotMix(t *testing.T) {
	ResetHost()
	if err := AddToSet("k", "a"); err != nil {
		t.Fatal(err)
	}
	if err := PutString("k", "text"); !errors.Is(err, UnknownError) || err.Error() != "put k: unspecified error" {
		t.Errorf("put text into a set: %v", err)
	}
	_, err := GetAs[lattice.LWW]("k")
	if want := "get k: the result cannot be decoded: it holds a value of type set, not lww"; !errors.Is(err, InvalidResult) || err.Error() != want {
		t.Errorf("read a set as text: %v", err)
	}
	if _, ok, err := TryGetAs[lattice.OrderedSet]("k"); ok || !errors.Is(err, InvalidResult) {
		t.Errorf("read a set as an ordered set: %t, %v", ok, err)
	}
	if c := hostPut("k", []byte{9, 9, 9}); c != UnknownError {
		t.Errorf("put bytes that are no value: %v", c)
	}
}

func TestGetWaits(t *testing.T) {
	ResetHost()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if s, err := GetAs[lattice.Set]("later"); err != nil || !s.Contains([]byte("x")) {
				t.Errorf("waited for %v, %v", s, err)
			}
		})
	}
	if err := AddToSet("something else", "y"); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Millisecond)
	if err := AddToSet("later", "x"); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestGetEnds(t *testing.T) {
	ResetHost()
	defer func(d time.Duration) { waitLimit = d }(waitLimit)
	waitLimit = 5 * time.Millisecond
	if _, err := Get("never"); !errors.Is(err, UnknownError) {
		t.Errorf("waited for what never comes: %v", err)
	}
	waitLimit = time.Minute
	done := make(chan error, 1)
	go func() {
		_, err := Get("never")
		done <- err
	}()
	for {
		ResetHost() // until the waiting has begun, a reset does not end it
		select {
		case err := <-done:
			if !errors.Is(err, UnknownError) {
				t.Errorf("a reset ended the waiting with %v", err)
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// double is a function by hand, as essagen would make it.
func double(args []byte) []byte {
	d := bincode.NewDecoder(args)
	n := d.Uint64()
	CheckArgs("double", d)
	return bincode.AppendUint64(nil, 2*n)
}

func takeUint64(d *bincode.Decoder) (uint64, error) { return d.Uint64(), nil }

func TestCalls(t *testing.T) {
	ResetHost()
	Register("__essa_wrapper__double", double)
	f := Start("__essa_wrapper__double", bincode.AppendUint64(nil, 21), takeUint64)
	for range 2 {
		if n, err := f.Get(); n != 42 || err != nil {
			t.Errorf("double: %d, %v", n, err)
		}
	}
	h, err := Call("__essa_wrapper__double", bincode.AppendUint64(nil, 4))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.Wait(); err != nil || !bytes.Equal(out, bincode.AppendUint64(nil, 8)) {
		t.Errorf("by hand: %x, %v", out, err)
	}
	if _, err := h.Wait(); !errors.Is(err, NotFound) {
		t.Errorf("a handle that has ended: %v", err)
	}
}

func TestArgumentsAreCopied(t *testing.T) {
	ResetHost()
	release := make(chan struct{})
	Register("slow", func(args []byte) []byte { <-release; return args })
	args := []byte("before")
	h, err := Call("slow", args)
	if err != nil {
		t.Fatal(err)
	}
	copy(args, "after!")
	close(release)
	if out, err := h.Wait(); string(out) != "before" || err != nil {
		t.Errorf("the callee saw %q, %v", out, err)
	}
}

func TestFailures(t *testing.T) {
	ResetHost()
	Register("__essa_wrapper__double", double)
	Register("__essa_wrapper__fails", func([]byte) []byte { return AppendError(nil, errors.New("no luck")) })
	Register("__essa_wrapper__error", func([]byte) []byte { panic(errors.New("an error")) })
	Register("__essa_wrapper__number", func([]byte) []byte { panic(5) })
	result := func(d *bincode.Decoder) (Unit, error) { return Unit{}, TakeError(d) }
	for _, c := range []struct {
		wait interface{ Wait() error }
		code Code
		text string
	}{
		{Start("__essa_wrapper__nobody", nil, takeUint64), NoSuchFunction, "call nobody: no such function"},
		{Start("plain", nil, takeUint64), NoSuchFunction, "call plain: no such function"},
		{
			Start("__essa_wrapper__double", nil, takeUint64), UnknownError,
			"call double: unspecified error: panic: the arguments of double cannot be decoded: bincode: unexpected end of input",
		},
		{Start("__essa_wrapper__error", nil, result), UnknownError, "call error: unspecified error: panic: an error"},
		{
			Start("__essa_wrapper__number", nil, result), UnknownError,
			"call number: unspecified error: panic: a value that is neither an error nor a string",
		},
		{
			Start("__essa_wrapper__double", make([]byte, 8), func(d *bincode.Decoder) (string, error) { return d.String() + d.String(), nil }),
			InvalidResult, "call double: the result cannot be decoded: bincode: unexpected end of input",
		},
		{
			Start("__essa_wrapper__double", bincode.AppendUint64(nil, 1), result), InvalidResult,
			"call double: the result cannot be decoded: bincode: unknown enum variant",
		},
	} {
		err := c.wait.Wait()
		if !errors.Is(err, c.code) || err.Error() != c.text {
			t.Errorf("%v, want %q", err, c.text)
		}
		if again := c.wait.Wait(); !errors.Is(again, err) {
			t.Errorf("a second wait told %v", again)
		}
	}
	fails := Start("__essa_wrapper__fails", nil, result)
	ok := Start("__essa_wrapper__double", make([]byte, 8), takeUint64)
	if err := WaitAll(ok, fails, ok); !errors.Is(err, CalleeError("no luck")) {
		t.Errorf("WaitAll: %v", err)
	}
	if err := WaitAll(ok); err != nil {
		t.Errorf("WaitAll: %v", err)
	}
}

func TestNoCallOnTheHost(t *testing.T) {
	if _, err := Args(3); !errors.Is(err, UnknownError) {
		t.Errorf("Args: %v", err)
	}
	if err := SetResult(nil); !errors.Is(err, UnknownError) {
		t.Errorf("SetResult: %v", err)
	}
	defer func() {
		if p := recover(); p == nil {
			t.Error("Serve went on without a call")
		}
	}()
	Serve(0, double)
}

func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []Code{OK, UnknownError, NoSuchFunction, BufferTooSmall, NotFound, InvalidFunctionSignature, NoResult, InvalidResult, -7} {
		if seen[c.Error()] {
			t.Errorf("two codes read %q", c.Error())
		}
		seen[c.Error()] = true
		if err := failed("op", "name", c); (err == nil) != (c == OK) || err != nil && !errors.Is(err, c) {
			t.Errorf("code %d as an error: %v", c, err)
		}
	}
}

func TestLatticeArguments(t *testing.T) {
	var d bincode.Decoder
	d.Reset(AppendVectorClock(nil, lattice.NewVectorClock(lattice.ClockEntry{ID: "n1", N: 3})))
	if c := TakeVectorClock(&d); c.Get("n1") != 3 || d.Err() != nil {
		t.Errorf("clock %v, %v", c, d.Err())
	}
	for name, take := range map[string]func(*bincode.Decoder){
		"timestamp": func(d *bincode.Decoder) { TakeTimestamp(d) },
		"set":       func(d *bincode.Decoder) { TakeSet(d) },
		"ordered":   func(d *bincode.Decoder) { TakeOrderedSet(d) },
		"clock":     func(d *bincode.Decoder) { TakeVectorClock(d) },
	} {
		for _, bad := range [][]byte{nil, bincode.AppendUint64(nil, 1<<60), bincode.AppendString(nil, "x")[:9]} {
			d.Reset(bad)
			if take(&d); d.Err() == nil {
				t.Errorf("%s: %x was taken", name, bad)
			}
		}
	}
}

// TestStaysSmall holds what every module carries to the packages that are worth it. fmt and reflect alone would add half
// a megabyte to each.
func TestStaysSmall(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	may := strings.Fields(`unsafe math/bits structs runtime errors math unicode unicode/utf8 sync sync/atomic io iter bytes cmp
		slices strings syscall time`)
	for _, path := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(path, "/")
		if first == "internal" || strings.HasPrefix(path, "runtime/internal") || slices.Contains(may, path) {
			continue
		}
		if !slices.Contains([]string{"bincode", "lattice", "guest"}, strings.TrimPrefix(path, "github.com/essa-project/essad/sdk/")) {
			t.Errorf("every guest would carry %s", path)
		}
	}
}

func ExampleFuture() {
	ResetHost()
	Register("__essa_wrapper__double", double)
	a := Start("__essa_wrapper__double", bincode.AppendUint64(nil, 1), takeUint64) // stubs by essagen do this
	b := Start("__essa_wrapper__double", bincode.AppendUint64(nil, 2), takeUint64)
	x, _ := a.Get()
	y, _ := b.Get()
	fmt.Println(x + y)
	// Output: 6
}

func ExampleAddToSet() {
	ResetHost()
	_ = AddToSet("fruit", "plum", "apple")
	_ = AddToSet("fruit", "pear", "plum")
	fruit, _ := SetOf("fruit")
	fmt.Println(fruit)
	// Output: [apple pear plum]
}
