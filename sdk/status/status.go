// Package status holds essad's error classes and the forms they take: on the wire, as a gRPC code, as a process exit
// code, as an HTTP status and as the result code a guest sees.
//
// A class says what kind of failure this is and so what a caller may do about it; the text says who refused and what to
// do. The classes are final: peers of other versions, scripts and guests depend on them. An error keeps its class on
// its whole way back; it is wrapped where meaning is added and logged once, where it stops.
//
// Everybody may import this package; it imports the standard library only.
package status

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Class is the kind of a failure. The zero value is OK, which is not a failure.
type Class uint8

// The classes. Their order is part of nothing; their names are the wire form.
const (
	OK          Class = iota
	Invalid           // the request itself is wrong; sending it again cannot help
	NotFound          // what was named does not exist
	Conflict          // the state of the thing does not allow it (already exists, version differs)
	Denied            // the caller may not do this
	Overloaded        // a bounded queue or budget is full; try later
	Unavailable       // who should answer cannot right now; a retry may succeed
	Deadline          // the time allowed for it has passed
	Cancelled         // the caller gave up
	Limit             // an invocation exceeded one of its limits; the detail names it
	GuestFault        // the guest's own code failed (trap, bad exit)
	Corrupt           // stored or received bytes fail their check
	Internal          // a bug in essad
)

// row is one line of the table that fixes every form of a class.
type row struct {
	name  string
	grpc  uint32
	exit  int
	http  int
	guest int32
}

// The guest column keeps to codes the upstream guest library knows (it panics on any other): -1 unknown, -4 not found.
// Exit codes 1 to 124 of `essad run` belong to the module, so essad's own start at 65, as sysexits.h has them, where
// one fits.
var table = [...]row{
	OK:          {"ok", 0, 0, 200, 0},
	Invalid:     {"invalid", 3, 65, 400, -1},
	NotFound:    {"not_found", 5, 66, 404, -4},
	Conflict:    {"conflict", 9, 73, 409, -1},
	Denied:      {"denied", 7, 77, 403, -1},
	Overloaded:  {"overloaded", 8, 75, 429, -1},
	Unavailable: {"unavailable", 14, 69, 503, -1},
	Deadline:    {"deadline", 4, 74, 504, -1},
	Cancelled:   {"cancelled", 1, 130, 499, -1},
	Limit:       {"limit", 11, 76, 422, -1},
	GuestFault:  {"guest_fault", 10, 1, 422, -1},
	Corrupt:     {"corrupt", 15, 71, 500, -1},
	Internal:    {"internal", 13, 70, 500, -1},
}

// Classes lists every failure class in table order.
func Classes() []Class {
	out := make([]Class, 0, len(table)-1)
	for c := range table[1:] {
		out = append(out, Class(c+1))
	}
	return out
}

func (c Class) row() row {
	if int(c) >= len(table) {
		return table[Internal]
	}
	return table[c]
}

// String returns the wire name, for example "not_found".
func (c Class) String() string { return c.row().name }

// GRPC returns the google.rpc code number of the class.
func (c Class) GRPC() uint32 { return c.row().grpc }

// ExitCode returns the exit status the essad command line uses for the class.
func (c Class) ExitCode() int { return c.row().exit }

// HTTP returns the HTTP status of the class.
func (c Class) HTTP() int { return c.row().http }

// Guest returns the EssaResult code a guest sees.
func (c Class) Guest() int32 { return c.row().guest }

// FromGRPC returns the class of a gRPC code number; codes without a class of ours are Internal.
func FromGRPC(code uint32) Class {
	for c, r := range table {
		if r.grpc == code {
			return Class(c)
		}
	}
	return Internal
}

// Error is a failure with a class. Make one with Errorf or Wrap.
type Error struct {
	Class  Class
	Detail string // for Limit the limit's name; otherwise usually empty
	Text   string // who refused, what, and what to do
	cause  error
}

// Error returns the text alone: the class travels beside it.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, &Error{Class: c}) true for every error of class c, and with a detail only for that detail.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Text == "" && t.Class == e.Class && (t.Detail == "" || t.Detail == e.Detail)
}

// Errorf makes an error of class c. As with fmt.Errorf, %w keeps the cause.
func Errorf(c Class, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Class: c, Text: err.Error(), cause: errors.Unwrap(err)}
}

// LimitError makes the error of an exceeded limit.
func LimitError(name, format string, args ...any) *Error {
	e := Errorf(Limit, format, args...)
	e.Detail = name
	return e
}

// Wrap puts a class on err and keeps its text; nil stays nil. An err that has a class already keeps its own.
func Wrap(c Class, err error) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	return &Error{Class: c, Text: err.Error(), cause: err}
}

// Of returns the class of err: its own if it has one, Deadline and Cancelled for the context errors, OK for nil and
// Internal for everything else.
func Of(err error) Class {
	if err == nil {
		return OK
	}
	if e := find(err); e != nil {
		return e.Class
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return Internal
}

// find returns the outermost Error of err's chain, nil if there is none. Most often that is err itself, and then nothing
// is allocated: calls ask for the class of every result.
func find(err error) *Error {
	if e, ok := err.(*Error); ok { //nolint:errorlint // the chain is looked at below
		return e
	}
	return findDeep(err)
}

func findDeep(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// DetailOf returns the detail of err's class, or "".
func DetailOf(err error) string {
	if err == nil {
		return ""
	}
	if e := find(err); e != nil {
		return e.Detail
	}
	return ""
}

// Code returns the wire form of err's class: "limit/memory", "not_found".
func Code(err error) string {
	c := Of(err)
	if d := DetailOf(err); d != "" {
		return c.String() + "/" + d
	}
	return c.String()
}

// FromCode rebuilds an error from its wire form and text. An unknown class (a newer peer's) becomes Internal and keeps
// its name in the text, so nothing is lost.
func FromCode(code, text string) *Error {
	name, detail, _ := strings.Cut(code, "/")
	for c, r := range table {
		if r.name == name && Class(c) != OK {
			return &Error{Class: Class(c), Detail: detail, Text: text}
		}
	}
	return &Error{Class: Internal, Text: fmt.Sprintf("%s (error class %q is unknown here)", text, code)}
}

// DetailSafe is the detail of an Unavailable or Overloaded error that tells that the request had no effect, so that
// sending it again is sound whatever it does.
const DetailSafe = "safe"

// Safe marks an Unavailable or Overloaded error with DetailSafe; other errors are returned as they are.
func Safe(err error) error {
	var e *Error
	if !errors.As(err, &e) || !Retryable(err) || e.Detail == DetailSafe {
		return err
	}
	return &Error{Class: e.Class, Detail: DetailSafe, Text: err.Error(), cause: err}
}

// Retryable reports whether sending the same request again may succeed.
func Retryable(err error) bool {
	c := Of(err)
	return c == Unavailable || c == Overloaded
}
