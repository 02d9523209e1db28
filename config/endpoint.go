package config

import (
	"math"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The protocols of an endpoint.
const (
	protoTCP  = "tcp"
	protoTLS  = "tls"
	protoUnix = "unixsock-stream"
)

const endpointHelp = "Write tcp/HOST:PORT, tls/HOST:PORT or unixsock-stream/PATH."

// cutEndpoint takes an endpoint apart.
func cutEndpoint(s string) (proto, address string) {
	proto, address, _ = strings.Cut(s, "/")
	return proto, address
}

// endpoints checks a list of Zenoh endpoints to listen on or to connect to.
func endpoints(list []string, listen bool) *mistake {
	for i, s := range list {
		if m := endpoint(s, listen); m != nil {
			return m
		}
		if slices.Contains(list[:i], s) {
			return wrong("Name it once.", "%q is named twice", s)
		}
	}
	return nil
}

func endpoint(s string, listen bool) *mistake {
	proto, address := cutEndpoint(s)
	switch proto {
	case protoTCP, protoTLS:
		return hostPort(s, proto, address, listen)
	case protoUnix:
		return socketPath(s, address)
	}
	if _, _, err := net.SplitHostPort(s); err == nil && !strings.Contains(s, "/") {
		return wrong("Did you mean \""+protoTCP+"/"+s+"\"?", "%q has no protocol", s)
	}
	if n := nearest(proto, []string{protoTCP, protoTLS, protoUnix}); n != "" && address != "" {
		return wrong("Did you mean \""+n+"/"+address+"\"?", "%q is no protocol of an endpoint", proto)
	}
	return wrong(endpointHelp, "%q is not an endpoint", s)
}

func hostPort(s, proto, address string, listen bool) *mistake {
	if strings.ContainsAny(address, "?#") {
		return wrong("Leave it out, and use the keys of fabric instead.", "%q: what follows \"?\" or \"#\" in an endpoint is not supported", s)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return wrong("Write "+proto+"/HOST:PORT, as \""+proto+"/127.0.0.1:7447\".", "%q is not an endpoint", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n > math.MaxUint16:
		return wrong("Write a number from 1 to 65535.", "%q: %q is not a port", s, port)
	case n == 0 && !listen:
		return wrong("Write the port on which the other one listens.", "%q: port 0 cannot be connected to", s)
	case host == "":
		return wrong("Write \""+proto+"/0.0.0.0:"+port+"\" for all interfaces.", "%q has no host", s)
	}
	return nil
}

func socketPath(s, address string) *mistake {
	switch {
	case !path.IsAbs(address):
		return wrong("Write "+protoUnix+"/ and an absolute path, as \""+protoUnix+"//run/essad/mesh.sock\".", "%q has no absolute path", s)
	case len(address) > maxSocketPath:
		return wrong("Use a shorter path.", "%q: the path is %d bytes long, and %d are allowed", s, len(address), maxSocketPath)
	case strings.ContainsRune(address, 0):
		return wrong("", "%q: a path must not contain a zero byte", s)
	}
	return nil
}

// fabricProblems checks how the values of the fabric go together.
func (c *Config) fabricProblems(add adder) {
	f := &c.Fabric
	if f.Implementation == ImplementationZenohc && !zenohcBuilt {
		add("fabric.implementation", nil, "Leave the key out, or use a program that was built with the tag zenohc.",
			"fabric.implementation is \"zenohc\" and this program was built without it")
	}
	if f.Mode == ModeClient {
		if len(f.Connect) == 0 {
			add("fabric.connect", []string{"fabric.mode"}, "Name the endpoints of zenohd, as connect = [\"tcp/10.0.0.1:7447\"].",
				"fabric.mode is \"client\" and there is nobody to connect to")
		}
		if len(f.Listen) > 0 {
			add("fabric.listen", []string{"fabric.mode"}, "Leave fabric.listen out, or set fabric.mode = \"mesh\".",
				"fabric.listen is given and a client of a router does not listen")
		}
	}
	if len(f.ListenClients) > 0 && c.Routing == nil {
		add("fabric.listen_clients", []string{"routing"}, "Add a block routing {}, or leave fabric.listen_clients out.",
			"fabric.listen_clients is given and the role routing, which serves clients, is off")
	}
	for _, s := range f.ListenClients {
		if slices.Contains(f.Listen, s) {
			add("fabric.listen_clients", []string{"fabric.listen"}, "Leave it in one of them: fabric.listen is for clients too.",
				"fabric.listen_clients: %q is in fabric.listen too", s)
		}
	}
	for _, s := range slices.Concat(f.Listen, f.ListenClients) {
		if proto, address := cutEndpoint(s); proto == protoUnix && path.Clean(address) == path.Clean(c.Node.Socket) {
			add("fabric.listen", []string{"node.socket"}, "Use another path: that one is for clients.",
				"fabric.listen: %q is node.socket", s)
		}
	}
	if f.Retry.First > f.Retry.Max {
		add("fabric.retry.first", []string{"fabric.retry.max"}, "Raise fabric.retry.max, or lower this.",
			"fabric.retry.first (%s) is longer than fabric.retry.max (%s)", f.Retry.First, f.Retry.Max)
	}
	if f.PasswordFile != "" && f.User == "" {
		add("fabric.password_file", []string{"fabric.user"}, "Name the user whose password it is.",
			"fabric.password_file is given and fabric.user is not")
	}
	c.tlsProblems(add)
	if f.Admin == AdminAuthenticated && f.UsersFile == "" && (!f.TLS.Mutual || !f.listensOn(protoTLS)) {
		add("fabric.admin", []string{"fabric.users_file"}, "Give fabric.users_file, or listen on tls/ with fabric.tls.mutual.",
			"fabric.admin is \"authenticated\" and no client can prove who it is")
	}
	c.messageProblems(add)
}

func (f *Fabric) listensOn(proto string) bool {
	return slices.ContainsFunc(slices.Concat(f.Listen, f.ListenClients), func(s string) bool { return strings.HasPrefix(s, proto+"/") })
}

func (c *Config) tlsProblems(add adder) {
	t := &c.Fabric.TLS
	if (t.Certificate == "") != (t.Key == "") {
		have, lacks := "certificate", "key"
		if t.Certificate == "" {
			have, lacks = lacks, have
		}
		add("fabric.tls."+have, nil, "Give both.", "fabric.tls.%s is given and fabric.tls.%s is not", have, lacks)
	}
	if !c.Fabric.listensOn(protoTLS) {
		return
	}
	if t.Certificate == "" && t.Key == "" {
		add("fabric.tls.certificate", []string{"fabric.listen", "fabric.listen_clients"}, "Give fabric.tls.certificate and fabric.tls.key.",
			"fabric listens on an endpoint that begins with tls/ and there is no certificate to show")
	}
	if t.Mutual && t.CA == "" {
		add("fabric.tls.ca", []string{"fabric.tls.mutual", "fabric.listen", "fabric.listen_clients"}, "Give the authority of the others' certificates, or set fabric.tls.mutual = false.",
			"fabric.tls.ca is not given, so no certificate of another could be believed")
	}
}

// messageRoom is what a message has besides arguments or a value.
const messageRoom = ByteSize(1 << 20)

func (c *Config) messageProblems(add adder) {
	limit := c.Fabric.MaxMessage
	check := func(path string, v ByteSize) {
		if v+messageRoom > limit {
			add(path, []string{"fabric.max_message"}, "Raise fabric.max_message, or lower it.",
				"%s (%s) leaves a message of fabric.max_message (%s) less than %s for the rest", path, v, limit, messageRoom)
		}
	}
	if c.KVS != nil {
		check("kvs.max_value", c.KVS.MaxValue)
	}
	if c.Scheduler != nil {
		check("scheduler.call.max_args", c.Scheduler.Call.MaxArgs)
	}
	if c.Executor != nil {
		check("executor.limits.args", c.Executor.Limits.Args)
		check("executor.limits.result", c.Executor.Limits.Result)
	}
}
