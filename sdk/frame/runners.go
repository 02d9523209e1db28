package frame

import "sync"

// maxIdle bounds the goroutines of a connection that wait for a next request.
const maxIdle = 128

// runners are goroutines that serve one request after the other. A fresh one starts with a small stack and copies it
// several times on its way down into a handler, which took a fifth of a busy daemon's time; one that has served before has
// a stack of the right size. The one that was busy last is used first, since its stack is still in the processor's cache.
// They end with the connection.
type runners struct {
	mu    sync.Mutex
	idle  []*runner
	ended bool
}

// runner is one of them. Its channel holds the one job that it is given when it is taken from the idle ones, so that
// giving it never waits.
type runner struct{ jobs chan job }

type job struct {
	request *Request
	f       func(*Request)
}

// Go runs f for the request on a goroutine of its own, for Handle must not wait. It never waits for another request. A
// function that is made once costs less than one that is made for each request.
func (r *Request) Go(f func(*Request)) {
	rs := &r.conn.runners
	rs.mu.Lock()
	n := len(rs.idle)
	if n == 0 {
		rs.mu.Unlock()
		go rs.serve(job{r, f})
		return
	}
	w := rs.idle[n-1]
	rs.idle[n-1] = nil
	rs.idle = rs.idle[:n-1]
	rs.mu.Unlock()
	w.jobs <- job{r, f}
}

func (rs *runners) serve(j job) {
	w := &runner{jobs: make(chan job, 1)}
	for more := true; more; j, more = <-w.jobs {
		j.f(j.request)
		j = job{} // not kept alive while idle
		if !rs.rest(w) {
			return
		}
	}
}

// rest makes w one of the idle ones, unless there are enough of them or the connection has ended.
func (rs *runners) rest(w *runner) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.ended || len(rs.idle) == maxIdle {
		return false
	}
	rs.idle = append(rs.idle, w)
	return true
}

func (rs *runners) end() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.ended = true
	for _, w := range rs.idle {
		close(w.jobs)
	}
	rs.idle = nil
}
