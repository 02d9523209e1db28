package wire

import (
	"fmt"
	"strings"
)

// MaxSchema is how long the schema of an encoding may be, in bytes.
const MaxSchema = 255

// EncodingCustom is the id of encodings that are not registered; their whole name is in the schema.
const EncodingCustom = 0xffff

// encodingNames are the registered encodings by their ids.
var encodingNames = [...]string{
	"zenoh/bytes", "zenoh/string", "zenoh/serialized", "application/octet-stream", "text/plain", "application/json",
	"text/json", "application/cdr", "application/cbor", "application/yaml", "text/yaml", "text/json5",
	"application/python-serialized-object", "application/protobuf", "application/java-serialized-object",
	"application/openmetrics-text", "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "application/xml",
	"application/x-www-form-urlencoded", "text/html", "text/xml", "text/css", "text/javascript", "text/markdown", "text/csv",
	"application/sql", "application/coap-payload", "application/json-patch+json", "application/json-seq",
	"application/jsonpath", "application/jwt", "application/mp4", "application/soap+xml", "application/yang", "audio/aac",
	"audio/flac", "audio/mp4", "audio/ogg", "audio/vorbis", "video/h261", "video/h263", "video/h264", "video/h265",
	"video/h266", "video/mp4", "video/ogg", "video/raw", "video/vp8", "video/vp9",
}

var encodingIDs = func() map[string]uint32 {
	ids := make(map[string]uint32, len(encodingNames))
	for id, name := range encodingNames {
		ids[name] = uint32(id)
	}
	return ids
}()

// ParseEncoding parses the text form of an encoding: a registered name, or one and a schema after ";", or any other text of
// at most MaxSchema bytes. The empty text is zenoh/bytes.
func ParseEncoding(s string) (Encoding, error) {
	name, schema, _ := strings.Cut(s, ";")
	id, registered := encodingIDs[name]
	switch {
	case s == "":
		return Encoding{}, nil
	case !registered:
		id, schema = EncodingCustom, s
	}
	if len(schema) > MaxSchema {
		return Encoding{}, fmt.Errorf("zenoh encoding %.40q...: the schema has %d bytes, at most %d are possible", s, len(schema), MaxSchema)
	}
	return Encoding{ID: id, Schema: schema}, nil
}

// String returns the text form of e. An id that is not registered and not EncodingCustom, as a later version may send it,
// is "unknown(id)".
func (e Encoding) String() string {
	var name string
	switch {
	case e.ID == EncodingCustom:
		return e.Schema
	case e.ID < uint32(len(encodingNames)):
		name = encodingNames[e.ID]
	default:
		name = fmt.Sprintf("unknown(%d)", e.ID)
	}
	if e.Schema == "" {
		return name
	}
	return name + ";" + e.Schema
}
