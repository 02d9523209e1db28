// Hello is a guestbook, the smallest function with state: whoever signs is added to a set that all calls share.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o hello.wasm .
//	essad run hello.wasm
//	essad deploy hello hello.wasm && essad call hello sign --arg Ada
package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/essa-project/essad/sdk/guest"
)

//go:generate go run github.com/essa-project/essad/sdk/guest/essagen

const book guest.Key = "guestbook"

// Sign adds name to the guestbook and returns everybody who is in it.
//
//essa:function
func Sign(name string) ([]string, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return nil, errors.New("say who you are")
	}
	if err := guest.AddToSet(book, name); err != nil {
		return nil, err
	}
	return guest.SetOf(book)
}

// Guests returns everybody who is in the guestbook.
//
//essa:function
func Guests() ([]string, error) { return guest.SetOf(book) }

// Main is what essad run runs: two guests sign at the same time, each in an instance of its own.
func Main() error {
	if err := guest.WaitAll(SignRemote("Ada"), SignRemote("Grace")); err != nil {
		return err
	}
	guests, err := Guests()
	if err != nil {
		return err
	}
	fmt.Println("hello,", strings.Join(guests, " and "))
	return nil
}
