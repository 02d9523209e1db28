//go:build !linux

package sock

import (
	"errors"
	"net"
)

// Unix is there on Linux only.
type Unix struct{ *net.UnixConn }

// Own fails: the standard library's connection is to be used as it is.
func Own(*net.UnixConn) (*Unix, error) { return nil, errors.ErrUnsupported }
