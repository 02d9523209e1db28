//go:build zenohc

package zenohc

import (
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/BooleanCat/option"
	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// maxKnownEncodings bounds how many encodings are remembered in the library's form.
const maxKnownEncodings = 256

var encodings struct {
	known sync.Map // from text to native.Encoding
	count atomic.Int32
}

// encoding returns the library's form of an encoding; none for "".
func encoding(text string) (option.Option[native.Encoding], error) {
	if text == "" {
		return option.None[native.Encoding](), nil
	}
	if e, ok := encodings.known.Load(text); ok {
		return option.Some(e.(native.Encoding)), nil //nolint:forcetypeassert // it is ours
	}
	if !utf8.ValidString(text) {
		return option.None[native.Encoding](), status.Errorf(status.Invalid, "encoding %q is not UTF-8", text)
	}
	e := native.NewEncodinFromString(text)
	if encodings.count.Load() < maxKnownEncodings {
		encodings.count.Add(1)
		encodings.known.Store(strings.Clone(text), e)
	}
	return option.Some(e), nil
}

// noEncoding is how the library writes the encoding of bytes, which is its default.
const noEncoding = "zenoh/bytes"

func encodingText(e native.Encoding) string {
	text := e.String()
	if text == noEncoding {
		return ""
	}
	return text
}

// filled hands b over where there is something in it.
func filled(b []byte) option.Option[native.ZBytes] {
	if len(b) == 0 {
		return option.None[native.ZBytes]()
	}
	return option.Some(native.NewZBytes(b))
}

func unbytes(b option.Option[native.ZBytes]) []byte {
	if b.IsNone() {
		return nil
	}
	return b.Unwrap().Bytes()
}

func sample(x *native.Sample) transport.Sample {
	s := transport.Sample{
		Key: x.KeyExpr().String(), Payload: x.Payload().Bytes(), Encoding: encodingText(x.Encoding()), Attachment: unbytes(x.Attachement()),
	}
	if x.Kind() == native.SampleKindDelete {
		s.Kind = transport.Delete
	}
	return s
}

func reply(r native.Reply) transport.Reply {
	if x := r.Ok(); x.IsSome() {
		s := x.Unwrap()
		return transport.Reply{Sample: sample(&s)}
	}
	e := r.Err().Unwrap()
	return transport.Reply{Err: &transport.ReplyError{Payload: e.Payload().Bytes(), Encoding: encodingText(e.Encoding())}}
}
