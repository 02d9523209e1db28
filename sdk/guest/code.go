package guest

// Code is an answer of the host. Every error this package returns for one wraps it, so that
// errors.Is(err, guest.NoSuchFunction) tells which.
type Code int32

// The codes. The numbers are part of the ABI.
const (
	OK                       Code = 0
	UnknownError             Code = -1 // the callee failed, the store refused, or time is up
	NoSuchFunction           Code = -2 // the module has no export of that name
	BufferTooSmall           Code = -3
	NotFound                 Code = -4 // nothing is stored under the key, or the handle has ended
	InvalidFunctionSignature Code = -5 // the export takes something else than the length of its arguments
	NoResult                 Code = -6 // the callee ended without a result
	InvalidResult            Code = -8 // what arrived cannot be decoded
)

// Error returns the code's meaning.
func (c Code) Error() string {
	switch c {
	case OK:
		return "no error"
	case UnknownError:
		return "unspecified error"
	case NoSuchFunction:
		return "no such function"
	case BufferTooSmall:
		return "buffer too small"
	case NotFound:
		return "not found"
	case InvalidFunctionSignature:
		return "not a function that can be called"
	case NoResult:
		return "it ended without a result"
	case InvalidResult:
		return "the result cannot be decoded"
	}
	return "the host gave a code this library does not know"
}

// Error says what could not be done, and to what. It wraps a Code.
type Error struct {
	Op     string // "call", "get", ...
	Name   string // of the function or key
	Code   Code
	Detail string // more than the code says, where anything is known
}

// Error returns the whole sentence.
func (e *Error) Error() string {
	text := e.Op
	if e.Name != "" {
		text += " " + e.Name
	}
	text += ": " + e.Code.Error()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

// failed makes an error of a code, or nil of OK.
func failed(op, name string, c Code) error {
	if c == OK {
		return nil
	}
	return &Error{Op: op, Name: name, Code: c}
}

// CalleeError is an error that a function returned to its caller in another instance: the Err of its Result<T, String>.
type CalleeError string

// Error returns the text.
func (e CalleeError) Error() string { return string(e) }
