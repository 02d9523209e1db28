package interop

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// theirs is the session of a driver.
type theirs struct {
	*process
	what string
}

var lastName atomic.Uint64

// name returns a name for an entity that no other has.
func name() string { return fmt.Sprintf("e%d", lastName.Add(1)) }

func (x *theirs) String() string { return x.what }

// declare has the driver declare something.
func (x *theirs) declare(t *testing.T, do string, c command) *entity {
	t.Helper()
	n := name()
	c["name"] = n
	e := &entity{
		inbox:     x.inbox(n),
		undeclare: func(t *testing.T) { x.do(t, "undeclare", command{"name": n}) },
	}
	x.do(t, do, c)
	return e
}

func (x *theirs) subscribe(t *testing.T, key string) *entity {
	t.Helper()
	return x.declare(t, "subscriber", command{"key": key})
}

func (c command) body(b body) command {
	c["size"], c["seed"] = b.size, b.seed
	return c
}

// with sets what is not the zero value.
func (c command) with(name string, v any) command {
	switch v := v.(type) {
	case string:
		if v != "" {
			c[name] = v
		}
	case *string:
		if v != nil {
			c[name] = *v
		}
	case bool:
		if v {
			c[name] = v
		}
	case int:
		if v != 0 {
			c[name] = v
		}
	}
	return c
}

func (o putOptions) command(c command) command {
	c.with("encoding", o.encoding).with("attachment", o.attachment).with("priority", o.priority).with("express", o.express)
	c.with("stamp", o.stamp)
	if o.block {
		c["congestion_control"] = "block"
	}
	return c
}

func (x *theirs) put(t *testing.T, key string, b body, o putOptions) {
	t.Helper()
	x.do(t, "put", o.command(command{"key": key}.body(b)))
}

func (x *theirs) remove(t *testing.T, key string, o putOptions) {
	t.Helper()
	x.do(t, "delete", o.command(command{"key": key}))
}

func (x *theirs) number(t *testing.T, key string, n int) {
	t.Helper()
	x.do(t, "put", reliably.command(command{"key": key, "count": n, "number": true}))
}

func (x *theirs) spread(t *testing.T, key string, n int, b body) {
	t.Helper()
	x.do(t, "put", reliably.command(command{"key": key, "count": n, "spread": true}.body(b)))
}

type theirPublisher struct {
	x    *theirs
	name string
}

func (x *theirs) publisher(t *testing.T, key string) publisher {
	t.Helper()
	p := theirPublisher{x, name()}
	x.do(t, "publisher", command{"name": p.name, "key": key, "congestion_control": "block"})
	return p
}

func (p theirPublisher) put(t *testing.T, b body) {
	t.Helper()
	p.x.do(t, "put", command{"publisher": p.name}.body(b))
}

func (p theirPublisher) matching(t *testing.T) bool {
	t.Helper()
	return p.x.do(t, "matching", command{"name": p.name}).Match
}

func (p theirPublisher) undeclare(t *testing.T) {
	t.Helper()
	p.x.do(t, "undeclare", command{"name": p.name})
}

func (x *theirs) queryable(t *testing.T, key string, o queryableOptions) *entity {
	t.Helper()
	var replies []command
	for _, r := range o.replies {
		c := command{}.body(r.body).with("key", r.key).with("kind", r.kind).with("echo", r.echo)
		replies = append(replies, c.with("encoding", r.encoding).with("attachment", r.attachment))
	}
	c := command{"key": key, "complete": o.complete, "hold": o.hold, "replies": replies}
	e := x.declare(t, "queryable", c)
	e.release = func(t *testing.T) { x.do(t, "release", command{"name": c["name"], "replies": replies}) }
	return e
}

func (o getOptions) command(c command) command {
	c.with("target", o.target).with("consolidation", o.consolidation).with("encoding", o.encoding)
	c.with("attachment", o.attachment)
	if o.timeout > 0 {
		c["timeout"] = o.timeout.Seconds()
	}
	if o.anyKey {
		c["accept_replies"] = "any"
	}
	if o.payload != nil {
		c.body(*o.payload)
	}
	return c
}

func (x *theirs) get(t *testing.T, selector string, o getOptions) []item {
	t.Helper()
	return x.do(t, "get", o.command(command{"selector": selector})).Replies
}

func (x *theirs) querier(t *testing.T, key string) func(t *testing.T, parameters string) []item {
	t.Helper()
	n := name()
	x.do(t, "querier", command{"name": n, "key": key})
	return func(t *testing.T, parameters string) []item {
		t.Helper()
		return x.do(t, "get", command{"querier": n, "parameters": parameters}).Replies
	}
}

func (x *theirs) token(t *testing.T, key string) *entity {
	t.Helper()
	return x.declare(t, "token", command{"key": key})
}

func (x *theirs) liveliness(t *testing.T, key string, history bool) *entity {
	t.Helper()
	return x.declare(t, "liveliness_subscriber", command{"key": key, "history": history})
}

func (x *theirs) alive(t *testing.T, key string) []string {
	t.Helper()
	var keys []string
	for _, r := range x.do(t, "liveliness_get", command{"key": key}).Replies {
		if r.Kind == "err" {
			t.Fatalf("liveliness get %q: %v", key, r)
		}
		keys = append(keys, r.Key)
	}
	return keys
}

func (x *theirs) many(t *testing.T, kind, key string, n int) *entity {
	t.Helper()
	return x.declare(t, "many", command{"kind": kind, "key": key, "count": n})
}
