package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/guest"
)

// A function is an ordinary function: call it.
func TestSign(t *testing.T) {
	guest.ResetHost()
	for _, name := range []string{"Grace", " Ada ", "Grace"} {
		if _, err := Sign(name); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Guests(); err != nil || !slices.Equal(got, []string{"Ada", "Grace"}) {
		t.Errorf("guests are %q, %v", got, err)
	}
	if _, err := Sign(" "); err == nil {
		t.Error("somebody without a name signed")
	}
}

// Through its stub it runs as it would elsewhere: arguments and results are encoded, errors are text.
func TestSignRemote(t *testing.T) {
	guest.ResetHost()
	if got, err := SignRemote("Ada").Get(); err != nil || !slices.Equal(got, []string{"Ada"}) {
		t.Errorf("guests are %q, %v", got, err)
	}
	if _, err := SignRemote("").Get(); !errors.Is(err, guest.CalleeError("say who you are")) {
		t.Errorf("error %v", err)
	}
}

// And this is the module itself, under a WebAssembly engine.
func TestWasm(t *testing.T) {
	if !fakehost.Prepare(t) {
		return
	}
	ctx := context.Background()
	h := fakehost.StartGo(t)
	if err := h.Main(ctx); err != nil {
		t.Fatalf("%v\n%s", err, h.Stderr())
	}
	if want := "hello, Ada and Grace\n"; h.Stdout() != want {
		t.Errorf("printed %q, want %q", h.Stdout(), want)
	}
	out, err := h.Call(ctx, "__essa_wrapper__sign", bincode.AppendString(nil, "Linus"))
	if err != nil {
		t.Fatal(err)
	}
	d := bincode.NewDecoder(out)
	if tag, n := d.Uint32(), d.Uint64(); tag != 0 || n != 3 {
		t.Errorf("sign returned %x", out)
	}
}
