package link

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// pythonEnv names the Python interpreters that have eclipse-zenoh, separated by colons.
const pythonEnv = "ESSAD_INTEROP_PYTHON"

// python is a session of the Rust implementation in a process of its own.
type python struct {
	t     testing.TB
	in    io.WriteCloser
	lines chan string
}

func startPython(t *testing.T, interpreter string, config map[string]any) *python {
	t.Helper()
	all := map[string]any{"scouting/multicast/enabled": false, "scouting/gossip/enabled": false}
	maps.Copy(all, config)
	arg, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, filepath.Join("testdata", "peer.py"), string(arg))
	cmd.Stderr = os.Stderr
	p := &python{t: t, lines: make(chan string, 100)}
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s names an interpreter that does not start: %v", pythonEnv, err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		p.in.Close()
		kill := time.AfterFunc(soon, func() { _ = cmd.Process.Kill() })
		for range p.lines {
		}
		kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("python: %v", err)
		}
	})
	return p
}

// expect waits for a line that begins with want.
func (p *python) expect(want string) {
	p.t.Helper()
	if s := await(p.t, "line "+want, p.lines); !strings.HasPrefix(s, want) {
		p.t.Fatalf("python says %q, want %q", s, want)
	}
}

func (p *python) put(key string, size int) { fmt.Fprintln(p.in, "put", key, size) }

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// announcer is a node that subscribes from/** and ends its initial declarations towards peers, which nobody else does here.
type announcer struct{ *node }

func (a announcer) Up(t *Transport) any {
	m := &wire.Message{Kind: wire.Declare, QoS: wire.ControlQoS, Key: wire.WireExpr{Suffix: "from/**"}}
	m.Decl = wire.Declaration{Kind: wire.DeclSubscriber, ID: 1}
	t.Send(m, nil)
	if t.WhatAmI() == wire.Peer && t.Presented() == wire.Peer {
		t.Send(&wire.Message{Kind: wire.Declare, QoS: wire.ControlQoS, HasInterest: true, Decl: wire.Declaration{Kind: wire.DeclFinal}}, nil)
	}
	return a.node.Up(t)
}

type interop struct {
	name   string
	mode   string // python's
	ours   wire.WhatAmI
	listen bool           // we listen
	proto  string         // tcp if empty
	config map[string]any // python's
	o      func(*Options)
	check  func(*agreed) bool
}

func TestPython(t *testing.T) {
	interpreters := os.Getenv(pythonEnv)
	if interpreters == "" {
		t.Skip(pythonEnv + " is not set")
	}
	ca := newAuthority(t)
	cert, key := ca.issue("localhost", []string{"localhost", "127.0.0.1"})
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ada:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tls := map[string]any{
		"transport/link/tls/root_ca_certificate": ca.ca(), "transport/link/tls/listen_certificate": cert,
		"transport/link/tls/listen_private_key": key, "transport/link/tls/connect_certificate": cert,
		"transport/link/tls/connect_private_key": key, "transport/link/tls/enable_mtls": true,
	}
	ourTLS := func(o *Options) {
		o.TLS = TLS{RootCA: ca.ca(), ListenCert: cert, ListenKey: key, ConnectCert: cert, ConnectKey: key, Mutual: true}
	}
	small := map[string]any{
		"transport/unicast/qos/enabled": false, "transport/link/tx/sequence_number_resolution": "8bit", "transport/link/tx/batch_size": 1000,
	}
	isSmall := func(a *agreed) bool { return !a.qos && a.mask == 0x7f && a.batch == 1000 }
	ada := func(o *Options) { o.User, o.Password = "ada", "secret" }
	for interpreter := range strings.SplitSeq(interpreters, ":") {
		for _, c := range []interop{
			{name: "client to router", mode: "router", ours: wire.Client, check: func(a *agreed) bool { return a.qos && a.patch && a.theirs == wire.Router }},
			{name: "peer to peer", mode: "peer", ours: wire.Peer},
			{name: "client to small router", mode: "router", ours: wire.Client, config: small, check: isSmall},
			{
				name: "small client to router", mode: "router", ours: wire.Client, o: func(o *Options) { o.NoQoS, o.NoPatch, o.Resolution, o.BatchSize = true, true, 16, 500 },
				check: func(a *agreed) bool { return !a.qos && !a.patch && a.mask == 0x3fff && a.batch == 500 },
			},
			{name: "client of us", mode: "client", ours: wire.Router, listen: true},
			{name: "peer of us", mode: "peer", ours: wire.Peer, listen: true},
			{name: "small client of us", mode: "client", ours: wire.Router, listen: true, config: small, check: isSmall},
			{
				name: "client of us, small", mode: "client", ours: wire.Router, listen: true, o: func(o *Options) { o.NoQoS, o.NoPatch, o.Resolution, o.BatchSize = true, true, 8, 600 },
				check: func(a *agreed) bool { return !a.qos && !a.patch && a.mask == 0x7f && a.batch == 600 },
			},
			{name: "password to router", mode: "router", ours: wire.Client, o: ada, config: map[string]any{"transport/auth/usrpwd/dictionary_file": users}},
			{
				name: "password of client", mode: "client", ours: wire.Router, listen: true, o: func(o *Options) { o.Users = map[string]string{"ada": "secret"} },
				config: map[string]any{"transport/auth/usrpwd/user": "ada", "transport/auth/usrpwd/password": "secret"},
				check:  func(a *agreed) bool { return a.user == "ada" },
			},
			{name: "tls to router", mode: "router", ours: wire.Client, proto: "tls", config: tls, o: ourTLS},
			{name: "tls of client", mode: "client", ours: wire.Router, listen: true, proto: "tls", config: tls, o: ourTLS},
			{name: "unix to router", mode: "router", ours: wire.Client, proto: "unixsock-stream"},
			{name: "unix of client", mode: "client", ours: wire.Router, listen: true, proto: "unixsock-stream"},
		} {
			t.Run(interpreter+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, interpreter)
			})
		}
		t.Run(interpreter+"/both dial", func(t *testing.T) {
			t.Parallel()
			bothDial(t, interpreter)
		})
	}
}

func (c *interop) run(t *testing.T, interpreter string) {
	got := make(chan string, 10)
	n := newNode(t, func(o *Options) {
		o.WhatAmI, o.Lease = c.ours, time.Second
		if c.o != nil {
			c.o(o)
		}
	}, func(_ *Transport, m *wire.Message) {
		if m.Kind == wire.Push {
			got <- fmt.Sprintf("got %s %d %d", m.Key.Suffix, len(m.Body.Payload), crc32.ChecksumIEEE(m.Body.Payload))
		}
	})
	n.Manager.h = announcer{n}
	config := map[string]any{"mode": c.mode, "transport/link/tx/lease": 1000}
	maps.Copy(config, c.config)
	proto := c.proto
	if proto == "" {
		proto = "tcp"
	}
	var p *python
	var tr *Transport
	if c.listen {
		at := proto + "/127.0.0.1:0"
		if proto == "unixsock-stream" {
			at = proto + "/" + filepath.Join(t.TempDir(), "s")
		}
		at = n.listen(t, at).Locators()[0]
		config["connect/endpoints"] = []string{at}
		p = startPython(t, interpreter, config)
		tr = await(t, "transport", n.up)
		p.expect("ready " + tr.ID().String())
	} else {
		at := proto + "/" + freePort(t)
		if proto == "unixsock-stream" {
			at = proto + "/" + filepath.Join(t.TempDir(), "s")
		}
		config["listen/endpoints"] = []string{at}
		p = startPython(t, interpreter, config)
		p.expect("ready")
		tr = n.dial(t, at)
	}
	if c.check != nil && !c.check(&tr.agreed) {
		t.Errorf("agreed on %+v", tr.agreed)
	}
	c.talk(t, tr, p, got)
	// Nothing happens for longer than both leases.
	select {
	case <-tr.Done():
		t.Fatal("the link was lost while nothing happened")
	case <-time.After(1500 * time.Millisecond):
	}
	c.talk(t, tr, p, got)
	p.in.Close()
	var closed *ClosedError
	if err := await(t, "end", n.down); !errors.As(err, &closed) || closed.Reason != wire.ReasonGeneric {
		t.Errorf("end: %v", err)
	}
	p.expect("closed")
}

// bothDial has a peer in Python that we dial while it dials us: two links, of which each may be lost.
func bothDial(t *testing.T, interpreter string) {
	got := make(chan string, 10)
	n := newNode(t, nil, func(_ *Transport, m *wire.Message) {
		if m.Kind == wire.Push {
			got <- fmt.Sprintf("got %s %d %d", m.Key.Suffix, len(m.Body.Payload), crc32.ChecksumIEEE(m.Body.Payload))
		}
	})
	n.Manager.h = announcer{n}
	at := "tcp/" + freePort(t)
	p := startPython(t, interpreter, map[string]any{
		"mode": "peer", "listen/endpoints": []string{at}, "connect/endpoints": n.listen(t, "tcp/127.0.0.1:0").Locators(),
	})
	tr := await(t, "transport", n.up)
	p.expect("ready")
	if n.dial(t, at) != tr {
		t.Fatal("another transport")
	}
	c := interop{}
	c.talk(t, tr, p, got)
	for range 3 {
		time.Sleep(joinDoubt)
		tr.mu.Lock()
		if len(tr.links) != 2 {
			t.Errorf("%d links", len(tr.links))
		}
		for _, l := range tr.links {
			if l.info.Dialled {
				l.kill(errors.New("cut by the test"))
			}
		}
		tr.mu.Unlock()
		until(t, "one link", func() bool { return len(tr.Links()) == 1 })
		c.talk(t, tr, p, got)
		if n.dial(t, at) != tr {
			t.Fatal("another transport")
		}
	}
	if len(n.down) > 0 {
		t.Error("the transport was lost")
	}
	p.in.Close()
	await(t, "end", n.down)
}

func (c *interop) talk(t *testing.T, tr *Transport, p *python, got chan string) {
	t.Helper()
	for _, size := range []int{0, 1, 490, 64 << 10, 3 << 20} {
		what := fmt.Sprintf("%d %d", size, crc32.ChecksumIEEE(pattern(size)))
		for _, q := range []wire.QoS{wire.PriorityData, wire.PriorityRealTime | wire.Block} {
			tr.Send(named("to/a", size, q), nil)
			p.expect("got to/a " + what)
		}
		p.put("from/a", size)
		if s := await(t, "message", got); s != "got from/a "+what {
			t.Errorf("got %q, want %q", s, what)
		}
	}
	for range 300 { // sequence numbers of 8 bits wrap
		tr.Send(named("to/b", 100, wire.RequestQoS), nil)
		p.put("from/b", 100)
	}
	for range 300 {
		p.expect("got to/b 100 ")
		if s := await(t, "message", got); !strings.HasPrefix(s, "got from/b 100 ") {
			t.Fatal(s)
		}
	}
}
