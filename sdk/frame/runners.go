package frame

import "sync/atomic"

// maxIdle bounds the goroutines of a connection that wait for a next request.
const maxIdle = 128

// runners are goroutines that serve one request after the other. A fresh one starts with a small stack and copies it
// several times on its way down into a handler, which took a fifth of a busy daemon's time; one that has served before has
// a stack of the right size. They end with the connection.
type runners struct {
	work chan func()
	idle atomic.Int32
}

// Go runs f on a goroutine of its own, for Handle must not wait. It never waits for another request.
func (r *Request) Go(f func()) {
	select {
	case r.conn.runners.work <- f: // somebody is waiting for it
	default:
		go r.conn.serve(f)
	}
}

func (c *Conn) serve(f func()) {
	for {
		f()
		if c.runners.idle.Add(1) > maxIdle {
			c.runners.idle.Add(-1)
			return
		}
		select {
		case f = <-c.runners.work:
			c.runners.idle.Add(-1)
		case <-c.Done():
			c.runners.idle.Add(-1)
			return
		}
	}
}
