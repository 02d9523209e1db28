package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestParseEndpoint(t *testing.T) {
	for _, s := range []string{
		"tcp/127.0.0.1:7447", "tcp/[::1]:7447", "tls/host.example:7447#root_ca_certificate=/a/b.pem;verify_name_on_connect=false",
		"unixsock-stream//run/essad.sock", "unixsock-stream/rel.sock", "tcp/h:1?prio=6-7;rel=1",
	} {
		e, err := ParseEndpoint(s)
		if err != nil || e.String() != s {
			t.Errorf("%q: %q, %v", s, e, err)
		}
		if locator, _, _ := strings.Cut(s, "#"); e.Locator() != locator {
			t.Errorf("%q: locator %q", s, e.Locator())
		}
	}
	for _, s := range []string{
		"", "tcp", "tcp/", "tcp/host", "tcp/host:", "quic/h:1", "unixsock-stream/", "tcp/h:1#a", "tcp/h:1#=b", "tcp/h:1#a=1;a=2",
		"tcp/h:1?x", "tcp/" + strings.Repeat("h", maxEndpoint),
	} {
		if e, err := ParseEndpoint(s); err == nil {
			t.Errorf("%q: %+v", s, e)
		}
	}
}

func TestLocators(t *testing.T) {
	n := newNode(t, nil, nil)
	if at := n.listen(t, "tcp/127.0.0.1:0").Locators(); len(at) != 1 || !strings.HasPrefix(at[0], "tcp/127.0.0.1:") || at[0] == "tcp/127.0.0.1:0" {
		t.Error(at)
	}
	for _, wild := range []string{"tcp/0.0.0.0:0", "tcp/[::]:0"} {
		locators := n.listen(t, wild).Locators()
		if len(locators) == 0 {
			t.Errorf("%s: none", wild)
		}
		for i, at := range locators {
			host, _, err := net.SplitHostPort(strings.TrimPrefix(at, "tcp/"))
			ip := net.ParseIP(host)
			if err != nil || ip == nil || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || (ip.IsLoopback() && i == 0 && len(locators) > 2) {
				t.Errorf("%s: %q", wild, locators)
			}
			other := newNode(t, nil, nil)
			other.dial(t, at)
		}
	}
}

func TestIPv6(t *testing.T) {
	if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here: ", err)
	} else {
		ln.Close()
	}
	a, b := newNode(t, nil, nil), newNode(t, nil, nil)
	if tr := pair(t, a, b, "tcp/[::1]:0"); !strings.HasPrefix(tr.Links()[0].Remote, "tcp/[::1]:") {
		t.Errorf("%+v", tr.Links())
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	at := "unixsock-stream/" + path
	got := make(chan string, 1)
	b := newNode(t, func(o *Options) { o.Unix = UnixMode{Mode: 0o660, Group: os.Getgid()} },
		func(_ *Transport, m *wire.Message) { got <- strings.Clone(m.Key.Suffix) })
	l := b.listen(t, at)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if s := l.Locators(); len(s) != 1 || s[0] != at {
		t.Error(s)
	}
	a := newNode(t, nil, nil)
	a.dial(t, at).Send(named("k", 0, wire.RequestQoS), nil)
	if s := await(t, "message", got); s != "k" {
		t.Error(s)
	}
	info := (<-b.up).Links()[0]
	if c := info.Cred; c == nil || c.PID != os.Getpid() || c.UID != os.Getuid() || c.GID != os.Getgid() {
		t.Errorf("%+v", info)
	}
	if _, err := a.Listen(t.Context(), endpoint(t, at)); !errors.Is(err, ErrInUse) {
		t.Errorf("took a live socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	a.listen(t, at)
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Listen(t.Context(), endpoint(t, "unixsock-stream/"+file)); err == nil {
		t.Error("replaced a file that is no socket")
	}
	if _, err := a.Listen(t.Context(), endpoint(t, "unixsock-stream/"+path+strings.Repeat("x", 200))); err == nil {
		t.Error("a path that is too long")
	}
}

// authority makes certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", nil)
	return a
}

// issue writes NAME.pem and NAME.key, a certificate for the host names.
func (a *authority) issue(name string, hosts []string) (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	if a.cert == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = c, k
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

func TestTLS(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	cert, key := ca.issue("server", []string{"127.0.0.1"})
	wrongCert, wrongKey := ca.issue("elsewhere", []string{"elsewhere.example"})
	mine, myKey := ca.issue("me", nil)
	foreignCert, foreignKey := foreign.issue("stranger", nil)
	trust := "root_ca_certificate=" + ca.ca()
	server := trust + ";listen_certificate=" + cert + ";listen_private_key=" + key
	mutual := ";enable_mtls=true"
	me := mutual + ";connect_certificate=" + mine + ";connect_private_key=" + myKey
	pemCA, err := os.ReadFile(ca.ca())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, listen, dial string
		fails              string // where the dialler sees it; or "later"
		who                string
	}{
		{name: "server", listen: server, dial: trust},
		{name: "inline", listen: server, dial: "root_ca_certificate_base64=" + base64.StdEncoding.EncodeToString(pemCA)},
		{name: "mutual", listen: server + mutual, dial: trust + me, who: "me"},
		{name: "no certificate", listen: server + mutual, dial: trust, fails: "certificate required"},
		{name: "foreign certificate", listen: server + mutual, dial: trust + mutual + ";connect_certificate=" + foreignCert +
			";connect_private_key=" + foreignKey, fails: "certificate"},
		{name: "not trusted", listen: server, dial: "root_ca_certificate=" + foreign.ca(), fails: "unknown authority"},
		{name: "wrong name", listen: trust + ";listen_certificate=" + wrongCert + ";listen_private_key=" + wrongKey, dial: trust, fails: "127.0.0.1"},
		{
			name: "name not checked", listen: trust + ";listen_certificate=" + wrongCert + ";listen_private_key=" + wrongKey,
			dial: trust + ";verify_name_on_connect=false",
		},
		{
			name: "name not checked, not trusted", listen: server, dial: "verify_name_on_connect=false;root_ca_certificate=" + foreign.ca(),
			fails: "unknown authority",
		},
		{name: "mutual without certificate", listen: server, dial: trust + mutual, fails: "connect_certificate"},
		{name: "no such file", listen: server, dial: "root_ca_certificate=/nowhere", fails: "/nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := make(chan int, 1)
			b := newNode(t, nil, func(tr *Transport, m *wire.Message) {
				n := len(m.Body.Payload)
				tr.Send(named("back", n, wire.RequestQoS), nil)
			})
			a := newNode(t, nil, func(_ *Transport, m *wire.Message) { got <- len(m.Body.Payload) })
			l := b.listen(t, "tls/127.0.0.1:0#"+c.listen)
			e := endpoint(t, l.Locators()[0]+"#"+c.dial)
			tr, err := a.Dial(t.Context(), e, wire.ID{})
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("%v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{0, 100, 100_000, 1 << 20} {
				tr.Send(named("k", n, wire.RequestQoS), nil)
				if k := await(t, "reply", got); k != n {
					t.Errorf("%d bytes instead of %d", k, n)
				}
			}
			if info := (<-b.up).Links()[0]; info.CommonName != c.who || tr.Links()[0].CommonName == "" {
				t.Errorf("%+v", info)
			}
			tr.Close(wire.ReasonGeneric)
			var closed *ClosedError
			if err := await(t, "end", b.down); !errors.As(err, &closed) {
				t.Error(err)
			}
		})
	}
	n := newNode(t, nil, nil)
	for _, bad := range []string{"", "listen_certificate=" + cert, "listen_certificate=" + cert + ";listen_private_key=" + myKey} {
		if _, err := n.Listen(t.Context(), endpoint(t, "tls/127.0.0.1:0#"+bad)); err == nil {
			t.Errorf("listens with %q", bad)
		}
	}
}

// One that takes nothing holds up nobody over TLS either.
func TestTLSUnresponsive(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("server", []string{"127.0.0.1"})
	b := newNode(t, func(o *Options) {
		o.WaitBlock, o.QueueBytes = 400*time.Millisecond, 64<<10
		o.TLS = TLS{RootCA: ca.ca(), ListenCert: cert, ListenKey: key}
	}, nil)
	hold := make(chan struct{})
	a := newNode(t, func(o *Options) { o.TLS.RootCA = ca.ca() }, func(*Transport, *wire.Message) { <-hold })
	a.dial(t, b.listen(t, "tls/127.0.0.1:0").Locators()[0])
	tr := await(t, "transport", b.up)
	for tr.Send(named("k", 5000, wire.RequestQoS), nil) {
	}
	if err := await(t, "end", b.down); !errors.Is(err, ErrUnresponsive) {
		t.Error(err)
	}
	close(hold)
}
