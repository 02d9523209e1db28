package link

import (
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// An endpoint may leave out the question for a user, while the node's others ask it.
func TestListenWithoutUsers(t *testing.T) {
	a := newNode(t, func(o *Options) { o.Users = map[string]string{"ada": "secret"} }, nil)
	open, asks := a.listen(t, "tcp/127.0.0.1:0#auth=none"), a.listen(t, "tcp/127.0.0.1:0#auth=users")
	b := newNode(t, func(o *Options) { o.WhatAmI = wire.Client }, nil)
	if _, err := b.Dial(t.Context(), endpoint(t, asks.Locators()[0]), wire.ID{}); err == nil {
		t.Error("somebody without a password is let in")
	}
	b.dial(t, open.Locators()[0])
	if tr := <-a.up; tr.User() != "" {
		t.Errorf("somebody without a password is %q", tr.User())
	}
	<-b.up
	if _, err := a.Listen(t.Context(), endpoint(t, "tcp/127.0.0.1:0#auth=perhaps")); err == nil || !strings.Contains(err.Error(), "perhaps") {
		t.Errorf("a word that means nothing: %v", err)
	}
}
