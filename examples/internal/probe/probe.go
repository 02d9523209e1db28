// Probe is a guest that tries what sdk/guest promises where it runs as a module: waiting for state, and everything that
// can go wrong. Its functions tell what they found. Only the tests in package guests use it.
package main

import (
	"errors"
	"os"

	"github.com/essa-project/essad/sdk/guest"
	"github.com/essa-project/essad/sdk/lattice"
)

//go:generate go run github.com/essa-project/essad/sdk/guest/essagen

// await waits for a set and returns its first element.
//
//essa:function
func await(key guest.Key) (string, error) {
	s, err := guest.GetAs[lattice.Set](key)
	if err != nil {
		return "", err
	}
	return string(s.Elements()[0]), nil
}

// awaitMine waits for what a call of its own puts.
//
//essa:function
func awaitMine(key guest.Key) (string, error) {
	added := addRemote(key, "mine")
	v, err := await(key)
	return v, errors.Join(err, added.Wait())
}

// add adds to a set.
//
//essa:function
func add(key guest.Key, element string) error { return guest.AddToSet(key, element) }

// missing looks for a key that is not there.
//
//essa:function
func missing(key guest.Key) (bool, error) {
	_, ok, err := guest.TryGet(key)
	return ok, err
}

// wrongKind puts a value of another kind than the stored one.
//
//essa:function
func wrongKind(key guest.Key) string {
	if err := guest.AddToSet(key, "a"); err != nil {
		return err.Error()
	}
	if _, err := guest.GetAs[lattice.LWW](key); !errors.Is(err, guest.InvalidResult) {
		return "a set was read as lww"
	}
	if err := guest.PutString(key, "text"); !errors.Is(err, guest.UnknownError) {
		return "a set was merged with text"
	}
	return "refused"
}

// counts puts a kind of value that upstream does not have, and reads it.
//
//essa:function
func counts(key guest.Key) (int64, error) {
	if err := guest.Put(key, lattice.Counter{}.Add("probe", 3)); err != nil {
		return 0, err
	}
	c, err := guest.GetAs[lattice.Counter](key)
	return c.Value(), err
}

// failures makes calls that fail, and tells the code of each.
//
//essa:function
func failures() ([]string, error) {
	var out []string
	_, err := guest.Call("__essa_wrapper__not_there", nil)
	out = append(out, what(err))
	_, err = guest.Call("essa_main", nil)
	out = append(out, what(err))
	out = append(out, what(panicsRemote().Wait()))
	out = append(out, what(exitsRemote().Wait()))
	h, err := guest.Call("no_result", nil)
	if err != nil {
		return nil, err
	}
	_, err = h.Wait()
	out = append(out, what(err))
	h, err = guest.Call("__essa_wrapper__add", []byte{1})
	if err != nil {
		return nil, err
	}
	_, err = h.Wait()
	return append(out, what(err)), nil
}

// what names a code, and says whether there was more to learn.
func what(err error) string {
	var e *guest.Error
	if !errors.As(err, &e) {
		return "no error of the host"
	}
	return e.Code.Error()
}

// panics does.
//
//essa:function
func panics() { panic("on purpose") }

// exits ends its instance with a status.
//
//essa:function
func exits() { os.Exit(3) }

// why returns the reason that the host gives for a failed call, empty where it gives none.
//
//essa:function
func why() string {
	var e *guest.Error
	errors.As(panicsRemote().Wait(), &e)
	return e.Detail
}

// state returns how often this instance was called, which is once.
//
//essa:function
func state() int {
	times++
	return times
}

var times int

// Main does nothing: there is no more to run.
func Main() {}
