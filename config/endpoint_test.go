package config

import (
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	long := strings.Repeat("x", maxSocketPath)
	for _, x := range []struct{ endpoint, listen, connect string }{
		{"tcp/127.0.0.1:7447", "", ""},
		{"tcp/[::]:7447", "", ""},
		{"tls/node1.example.org:7447", "", ""},
		{"unixsock-stream//run/essad/mesh.sock", "", ""},
		{"tcp/127.0.0.1:0", "", "port 0 cannot be connected to"},
		{"tcp/:7447", "has no host", "has no host"},
		{"tcp/127.0.0.1", "is not an endpoint", "is not an endpoint"},
		{"tcp/127.0.0.1:http", `"http" is not a port`, `"http" is not a port`},
		{"tcp/127.0.0.1:65536", `"65536" is not a port`, `"65536" is not a port`},
		{"tls/h:1#verify_name_on_connect=false", "not supported", "not supported"},
		{"tcp/h:1?prio=1-3", "not supported", "not supported"},
		{"127.0.0.1:7447", `Did you mean "tcp/127.0.0.1:7447"?`, `Did you mean "tcp/127.0.0.1:7447"?`},
		{"tpc/h:1", `Did you mean "tcp/h:1"?`, `Did you mean "tcp/h:1"?`},
		{"quic/h:1", "is not an endpoint", "is not an endpoint"},
		{"unixsock-stream/run/x", "has no absolute path", "has no absolute path"},
		{"unixsock-stream//" + long, "the path is 104 bytes long", "the path is 104 bytes long"},
		{"unixsock-stream//a\x00b", "zero byte", "zero byte"},
		{"", "is not an endpoint", "is not an endpoint"},
		{"tcp", "is not an endpoint", "is not an endpoint"},
	} {
		for listen, want := range map[bool]string{true: x.listen, false: x.connect} {
			m := endpoints([]string{x.endpoint}, listen)
			switch {
			case want == "" && m != nil:
				t.Errorf("%q, listen %v: %s %s", x.endpoint, listen, m.text, m.help)
			case want != "" && (m == nil || !strings.Contains(m.text+" "+m.help, want)):
				t.Errorf("%q, listen %v: %v, want %q", x.endpoint, listen, m, want)
			}
		}
	}
	if m := endpoints([]string{"tcp/h:1", "tcp/h:2", "tcp/h:1"}, false); m == nil || !strings.Contains(m.text, "named twice") {
		t.Errorf("an endpoint that is named twice: %v", m)
	}
}
