// Test-function is the demo module of upstream essa-rs in Go: the same functions under the same names, the same steps,
// the same lines. It runs functions remotely, shares a set among them, and splits a range recursively.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o test-function.wasm .
//	essad run test-function.wasm
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/essa-project/essad/sdk/guest"
)

//go:generate go run github.com/essa-project/essad/sdk/guest/essagen

// Main is what essad run runs.
func Main() error {
	fmt.Println("Hello world from test function!")
	text, err := wait(toUppercaseExtern("foobar"))
	if err != nil {
		return err
	}
	fmt.Printf("Function result: %s\n", text)

	fmt.Println("Storing a set in the kvs")
	const key guest.Key = "some-test-key"
	if err := guest.AddToSet(key, "one", "two", "three"); err != nil {
		return err
	}
	if text, err = wait(appendFoo(text)); err != nil {
		return err
	}
	fmt.Printf("Function result: %s\n", text)
	if err := printSet(key); err != nil {
		return err
	}

	fmt.Println("Appending to the set in the kvs")
	if err := guest.AddToSet(key, "four", "two", "three"); err != nil {
		return err
	}
	if text, err = wait(repeatStringExtern(text, 15000)); err != nil {
		return err
	}
	fmt.Printf("Function result: %d\n", len(text))
	if err := printSet(key); err != nil {
		return err
	}
	if err := splitRange("concurrent-kvs_test-key", 48, 113); err != nil {
		return err
	}
	fmt.Println("DONE")
	return nil
}

func wait(result *guest.Future[string]) (string, error) {
	fmt.Println("Waiting for result...")
	return result.Get()
}

func printSet(key guest.Key) error {
	fmt.Println("Reading the set from the kvs")
	elems, err := elements(key)
	if err != nil {
		return err
	}
	quoted := make([]string, len(elems))
	for i, e := range elems {
		quoted[i] = strconv.Quote(e)
	}
	fmt.Printf("Result: {%s}\n", strings.Join(quoted, ", "))
	return nil
}

// elements waits for the set under key, as upstream's demo does.
func elements(key guest.Key) ([]string, error) {
	if _, err := guest.Get(key); err != nil {
		return nil, err
	}
	return guest.SetOf(key)
}

// splitRange runs the recursive function and checks that the set holds the whole range and nothing else.
func splitRange(key guest.Key, start, end uint) error {
	fmt.Println("Running concurrent KVS test")
	if err := concurrentKVSTestExtern(key, start, end).Wait(); err != nil {
		return err
	}
	fmt.Println("Reading the concurrent KVS test result set from the kvs")
	elems, err := elements(key)
	if err != nil {
		return err
	}
	found := make(map[uint64]bool, len(elems))
	for _, e := range elems {
		n, err := strconv.ParseUint(e, 10, 64)
		if err != nil {
			return fmt.Errorf("element %q of the result is not a number", e)
		}
		found[n] = true
	}
	for n := start; n < end; n++ {
		if !found[uint64(n)] {
			return fmt.Errorf("%d is missing from the result", n)
		}
	}
	if len(found) != int(end-start) {
		return errors.New("the result holds more than the range")
	}
	return nil
}
