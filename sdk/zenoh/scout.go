package zenoh

import (
	"context"

	"github.com/essa-project/essad/sdk/zenoh/internal/scout"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Hello is a node that has answered a Scout.
type Hello struct {
	ZID      ID
	WhatAmI  WhatAmI
	Locators []string
}

// Scout asks by multicast who is there and calls h for each answer, one at a time and again for each time that a node
// answers, until ctx ends. what are the kinds of nodes that are asked for, none means all. Of how only Address and Interface count.
func Scout(ctx context.Context, how Scouting, h func(Hello), what ...Mode) error {
	orDefault(&how.Address, defaultScoutAddress)
	if len(what) == 0 {
		what = []Mode{ModeRouter, ModePeer, ModeClient}
	}
	found := make(chan scout.Found, 64)
	s, err := scout.Start(scout.Options{
		ID: wire.NewID(), Group: how.Address, Interface: how.Interface, What: mask(what), Found: func(f scout.Found) {
			select {
			case found <- f:
			default: // it will answer the next one, too
			}
		},
	})
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		select {
		case f := <-found:
			h(Hello{ZID: f.ID, WhatAmI: f.WhatAmI, Locators: f.Locators})
		case <-ctx.Done():
			return nil
		}
	}
}
