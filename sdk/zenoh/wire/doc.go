// Package wire is the codec of Zenoh's protocol, version 9, that Zenoh 1.x speaks: network messages with their bodies,
// transport messages, scouting, link states and the bodies of user and password authentication.
//
// It is pure: bytes in, values out, and back. It keeps no state, does no I/O, and knows neither key expressions nor what a
// message is for. It promises that:
//
//   - what it writes is what the Rust implementation writes for the same content, byte for byte;
//   - it reads what the Rust implementation reads, with the fields and the extensions in any order that is allowed;
//   - it refuses whatever would make another implementation refuse it in turn, so that what was read here may be forwarded
//     as it came;
//   - decoding never panics, never reads past the message, and never allocates by a length that the message announces.
//     Decoding a network message allocates nothing at all, except where a body's unknown extensions stand scattered.
//
// Strings and byte slices of what is decoded refer to the buffer that it was decoded from (strings by package unsafe): they
// are valid, and immutable as strings must be, only as long as nobody writes to that buffer.
//
// Anybody may import it; it imports the standard library alone.
package wire

// ProtocolVersion is the version that INIT, SCOUT and HELLO announce.
const ProtocolVersion = 0x09

// The flags that all headers share, and the encodings of extensions, which stand in bits 5 and 6.
const (
	flagZ  = 0x80 // extensions follow; in an extension's header: another one follows
	idMask = 0x1f // the id of a message

	encMask = 0x60
	encUnit = 0x00
	encZ64  = 0x20
	encZBuf = 0x40

	extMandatory = 0x10 // who does not know the extension must not accept the message
)

// Error is why something could not be decoded. It is a number so that to refuse a message allocates nothing.
type Error uint8

// The errors of decoding.
const (
	ErrShort     Error = iota + 1 // message is cut short
	ErrUnknown                    // message or body of unknown kind
	ErrMandatory                  // unknown mandatory extension
	ErrRange                      // number out of range
	ErrID                         // invalid id
	ErrText                       // text is not UTF-8
	ErrExtension                  // invalid extension
	ErrWhatAmI                    // invalid mode
	ErrTooMany                    // more elements than allowed
)

var errorTexts = [...]string{
	ErrShort:     "message is cut short",
	ErrUnknown:   "message or body of unknown kind",
	ErrMandatory: "unknown mandatory extension",
	ErrRange:     "number out of range",
	ErrID:        "invalid id",
	ErrText:      "text is not UTF-8",
	ErrExtension: "invalid extension",
	ErrWhatAmI:   "invalid mode",
	ErrTooMany:   "more elements than allowed",
}

// Error returns the text of e.
func (e Error) Error() string {
	if int(e) < len(errorTexts) {
		return "zenoh: " + errorTexts[e]
	}
	return "zenoh: error"
}
