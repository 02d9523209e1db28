package route

import (
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Op is what a face wants to do with a key.
type Op uint8

// The operations. Policy is not asked about OpKeyExpr and OpResponse, which only appear in reports.
const (
	OpSubscribe Op = iota
	OpQueryable
	OpToken
	OpInterest // an interest in everything asks for "**"
	OpPush
	OpRequest
	OpKeyExpr
	OpResponse
)

// String returns the operation in lower case.
func (o Op) String() string {
	names := [...]string{"subscribe", "queryable", "token", "interest", "push", "request", "keyexpr", "response"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// Policy decides what a face may do. Allow returns nil, or why not: a REQUEST that is refused is answered with the error,
// whose text is the payload of an ERR and whose encoding is the error's own if it is an EncodedError; a refused INTEREST in
// tokens gets an empty answer; everything else that is refused is ignored. All refusals are counted.
//
// Allow is called concurrently, must be quick and must not call the router. For PUSH and REQUEST its verdicts are
// remembered until PolicyChanged.
type Policy interface {
	Allow(f *Face, op Op, key string) error
}

// EncodedError is an error that says how its text, or what stands for it, is encoded.
type EncodedError interface {
	error
	Encoding() wire.Encoding
}

// verdict is what a policy said, at a generation of it.
type verdict struct {
	gen uint64
	err error
}

// allow asks the policy.
func (r *Router) allow(f *Face, op Op, key string) error {
	if !f.guarded {
		return nil
	}
	return r.o.Policy.Allow(f, op, key)
}

// allowData is allow for PUSH (v is 0) and REQUEST (v is 1), remembered in s.
func (r *Router) allowData(f *Face, s *resolved, v int) error {
	if !f.guarded {
		return nil
	}
	gen := r.policyGen.Load()
	if x := s.verdicts[v].Load(); x != nil && x.gen == gen {
		return x.err
	}
	x := &verdict{gen: gen, err: r.o.Policy.Allow(f, [...]Op{OpPush, OpRequest}[v], s.routes.key)}
	s.verdicts[v].Store(x)
	return x.err
}

// Problem is a kind of trouble that a face makes.
type Problem uint8

// The problems.
const (
	Refused  Problem = iota // by the policy
	Invalid                 // an unknown scope, or a key that is not valid: the message was ignored
	Overflow                // a bound of Options was reached: the message was ignored, or answered with an ERR
	Protocol                // a message that makes no sense: it was ignored
	problems
)

// String returns the problem in lower case.
func (p Problem) String() string {
	names := [...]string{"refused", "invalid", "overflow", "protocol"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Report tells of trouble.
type Report struct {
	Face    *Face
	Problem Problem
	Op      Op
	Key     string // valid during the call
	Err     error  // the policy's
	Count   uint64 // how often the face has made trouble of this kind, so far
}

// trouble counts one kind of trouble of a face.
type trouble struct {
	n    atomic.Uint64
	next atomic.Int64 // when the next one is to be reported
}

// report counts trouble, and tells of it unless it has just told of the like.
func (r *Router) report(f *Face, p Problem, op Op, key string, err error) {
	t := &f.trouble[p]
	n := t.n.Add(1)
	if p == Refused {
		r.refused.Add(1)
	}
	if r.o.Report == nil {
		return
	}
	now, next := r.now.Load(), t.next.Load()
	if n > 1 && now < next || !t.next.CompareAndSwap(next, now+int64(r.o.ReportEvery)) {
		return
	}
	r.o.Report(Report{Face: f, Problem: p, Op: op, Key: key, Err: err, Count: n})
}
