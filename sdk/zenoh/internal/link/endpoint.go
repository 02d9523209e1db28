package link

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// The protocols of endpoints.
const (
	protoTCP  = "tcp"
	protoTLS  = "tls"
	protoUnix = "unixsock-stream"
)

// maxEndpoint bounds the text of an endpoint; a locator on the wire has at most 255 bytes.
const maxEndpoint = 4096

// Endpoint is where to listen or whom to dial: proto/address?meta#config, with key=value;... as meta and config. The
// protocols are tcp and tls, with host:port, and unixsock-stream, with a path.
type Endpoint struct {
	Proto, Address string
	Meta, Config   map[string]string
}

// ParseEndpoint parses an endpoint or, which is the same without a config, a locator.
func ParseEndpoint(s string) (Endpoint, error) {
	e, err := parseEndpoint(s)
	if err != nil {
		return Endpoint{}, fmt.Errorf("endpoint %q: %w", s, err)
	}
	return e, nil
}

func parseEndpoint(s string) (e Endpoint, err error) {
	if len(s) > maxEndpoint {
		return e, fmt.Errorf("longer than %d bytes", maxEndpoint)
	}
	s, config, _ := strings.Cut(s, "#")
	s, meta, _ := strings.Cut(s, "?")
	proto, address, ok := strings.Cut(s, "/")
	if !ok {
		return e, fmt.Errorf("want PROTO/ADDRESS, as tcp/host:7447")
	}
	e.Proto, e.Address = proto, address
	switch proto {
	case protoTCP, protoTLS:
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return e, err
		}
		if port == "" {
			return e, fmt.Errorf("no port")
		}
	case protoUnix:
		if address == "" {
			return e, fmt.Errorf("no path")
		}
	default:
		return e, fmt.Errorf("protocol %q is none of %s, %s, %s", proto, protoTCP, protoTLS, protoUnix)
	}
	if e.Meta, err = parsePairs(meta); err != nil {
		return e, err
	}
	e.Config, err = parsePairs(config)
	return e, err
}

func parsePairs(s string) (map[string]string, error) {
	if s == "" {
		return nil, nil
	}
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%q is not KEY=VALUE", pair)
		}
		if _, twice := pairs[k]; twice {
			return nil, fmt.Errorf("%s is there twice", k)
		}
		pairs[k] = v
	}
	return pairs, nil
}

// Locator is the endpoint as others may see it: without its config.
func (e Endpoint) Locator() string {
	s := e.Proto + "/" + e.Address
	if len(e.Meta) > 0 {
		s += "?" + joinPairs(e.Meta)
	}
	return s
}

// String is the text of e with its config, which may name files but, with a KEY_base64 in it, also hold a secret.
func (e Endpoint) String() string {
	s := e.Locator()
	if len(e.Config) > 0 {
		s += "#" + joinPairs(e.Config)
	}
	return s
}

func joinPairs(m map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(k + "=" + m[k])
	}
	return b.String()
}
