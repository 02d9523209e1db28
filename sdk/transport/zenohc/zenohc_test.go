//go:build zenohc

package zenohc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/transporttest"
	zenohgo "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// port returns an endpoint that nobody listens on: the library does not tell which port it took for 0.
func endpoint(t testing.TB, proto string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return proto + "/" + ln.Addr().String()
}

// patient gives the library time before it loses samples where it does not count them.
func patient(c zenoh.Config) zenoh.Config {
	c.WaitDrop = 10 * time.Second
	return c
}

func open(t testing.TB, c zenoh.Config) transport.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, patient(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openGo(t testing.TB, c zenoh.Config) *zenohgo.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := zenohgo.Open(ctx, patient(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func listen(endpoint string) []zenoh.Listen { return []zenoh.Listen{{Endpoint: endpoint}} }

// What is not told between the library and our own implementation: that nobody waits for a query any more, to the
// library's queryables how long somebody does, and to its subscribers whether a sample may be lost.
var (
	untold = map[string]string{
		"Ending/Cancel": notTold, "Ending/CancelInline": notTold, "Ending/HandlersOfAnEndedQuery": notTold,
	}
	untoldTime = map[string]string{
		"Ending/Cancel": notTold, "Ending/CancelInline": notTold, "Ending/HandlersOfAnEndedQuery": notTold,
		"Ending/Timeout": notTold, "Ending/Deadline": notTold, "Session/CloseEndsQueries": notTold,
		"PubSub/DropLosesAndCounts": notToldDrop,
	}
	// A client of the library does not end every query to a queryable that is undeclared at that moment; plain zenoh-go is no better.
	clients = map[string]string{"Ending/QueryableChurn": clientLoses}
	// A router of the library reads no further from one who sends with Block while it waits for another.
	routers      = map[string]string{"PubSub/BlockStallsNobodyElse": routerWaits, "Ending/QueryableChurn": clientLoses}
	mixedRouters = map[string]string{
		"Ending/Cancel": notTold, "Ending/CancelInline": notTold, "Ending/HandlersOfAnEndedQuery": notTold,
		"Ending/Timeout": notTold, "Ending/Deadline": notTold, "Session/CloseEndsQueries": notTold,
		"PubSub/DropLosesAndCounts":    notToldDrop,
		"PubSub/BlockStallsNobodyElse": routerWaits, "Ending/QueryableChurn": clientLoses,
	}
)

const notTold = "the library tells no queryable how long its asker waits"

const notToldDrop = "the library tells no subscriber whether a sample may be lost"

const (
	routerWaits = "a router waits for its slowest client"
	clientLoses = "a client may not end a query whose queryable is undeclared meanwhile"
)

// mesh makes sessions that are peers, each linked to every other; native says of the nth whether it is the library's.
func mesh(base zenoh.Config, proto string, native func(n int) bool, lacks map[string]string) func(testing.TB) transporttest.Harness {
	return func(testing.TB) transporttest.Harness {
		var all []string
		n := 0
		return transporttest.Harness{PlainDeletes: true, Lacks: lacks, NewSession: func(t testing.TB) transport.Session {
			c := base
			mine := endpoint(t, proto)
			c.Listen, c.Connect = listen(mine), all
			all = append(all[:len(all):len(all)], mine)
			if n++; native(n) {
				return open(t, c)
			}
			return openGo(t, c)
		}}
	}
}

func every(int) bool  { return true }
func odd(n int) bool  { return n%2 == 1 }
func even(n int) bool { return n%2 == 0 }

func TestPeers(t *testing.T) { transporttest.Run(t, mesh(zenoh.Config{}, "tcp", every, nil)) }

func TestPeersMixedFirst(t *testing.T) {
	transporttest.Run(t, mesh(zenoh.Config{}, "tcp", odd, untold))
}

func TestPeersMixedSecond(t *testing.T) {
	transporttest.Run(t, mesh(zenoh.Config{}, "tcp", even, untoldTime))
}

// hubOf makes sessions that are clients of a hub.
func hubOf(hub func(testing.TB, zenoh.Config), native func(n int) bool, lacks map[string]string) func(testing.TB) transporttest.Harness {
	return func(t testing.TB) transporttest.Harness {
		where := endpoint(t, "tcp")
		hub(t, zenoh.Config{Mode: zenoh.ModeRouter, Listen: listen(where)})
		n := 0
		return transporttest.Harness{PlainDeletes: true, Lacks: lacks, NewSession: func(t testing.TB) transport.Session {
			c := zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{where}}
			if n++; native(n) {
				return open(t, c)
			}
			return openGo(t, c)
		}}
	}
}

func goHub(t testing.TB, c zenoh.Config)     { openGo(t, c) }
func nativeHub(t testing.TB, c zenoh.Config) { open(t, c) }

func TestClientsOfGoHub(t *testing.T) {
	transporttest.Run(t, hubOf(goHub, every, clients))
}

func TestMixedClientsOfGoHub(t *testing.T) {
	transporttest.Run(t, hubOf(goHub, odd, untold))
}

func TestClientsOfRouter(t *testing.T) {
	transporttest.Run(t, hubOf(nativeHub, every, routers))
}

func TestMixedClientsOfRouter(t *testing.T) {
	transporttest.Run(t, hubOf(nativeHub, even, mixedRouters))
}

func TestPeersOverTLS(t *testing.T) {
	transporttest.Run(t, mesh(zenoh.Config{TLS: certificates(t)}, "tls", odd, untold))
}

// certificates makes an authority and one certificate for both sides, in files.
func certificates(t testing.TB) zenoh.TLS {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issue := func(c, parent *x509.Certificate, public, secret any) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, public, secret)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	root := write("ca.pem", "CERTIFICATE", issue(ca, ca, &keys[0].PublicKey, keys[0]))
	cert := write("cert.pem", "CERTIFICATE", issue(leaf, ca, &keys[1].PublicKey, keys[0]))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		t.Fatal(err)
	}
	secret := write("key.pem", "PRIVATE KEY", pkcs8)
	return zenoh.TLS{RootCA: root, ListenKey: secret, ListenCert: cert, ConnectKey: secret, ConnectCert: cert, Mutual: true}
}

// Users and passwords, with the library at either end.
func TestUsers(t *testing.T) {
	users := map[string]string{"ada": "secret"}
	for name, hub := range map[string]func(testing.TB, zenoh.Config){"go": goHub, "native": nativeHub} {
		t.Run(name, func(t *testing.T) {
			where := endpoint(t, "tcp")
			hub(t, zenoh.Config{Mode: zenoh.ModeRouter, Listen: listen(where), Users: users})
			c := zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{where}, User: "ada", Password: "secret"}
			a := open(t, c)
			b := openGo(t, c)
			wait(t, "the token", func() bool {
				tok, err := a.Token("me")
				if err != nil {
					t.Fatal(err)
				}
				defer tok.Close()
				time.Sleep(10 * time.Millisecond)
				n := 0
				if err := b.GetLiveliness(context.Background(), "me", func(string) { n++ }); err != nil {
					t.Fatal(err)
				}
				return n == 1
			})
			c.Password = "wrong"
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if s, err := Open(ctx, c); status.Of(err) != status.Unavailable {
				t.Errorf("with the wrong password: %v, %v", s, err)
			}
		})
	}
}

func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	allow := func(*zenoh.Transport, zenoh.Op, string) error { return nil }
	for name, x := range map[string]struct {
		c    zenoh.Config
		want status.Class
	}{
		"policy":          {zenoh.Config{Policy: allow}, status.Invalid},
		"listener policy": {zenoh.Config{Listen: []zenoh.Listen{{Endpoint: "tcp/127.0.0.1:0", Policy: allow}}}, status.Invalid},
		"no reconnect":    {zenoh.Config{NoReconnect: true}, status.Invalid},
		"endpoint":        {zenoh.Config{Listen: listen("nonsense")}, status.Invalid},
		"user":            {zenoh.Config{Users: map[string]string{"a:b": "c"}}, status.Invalid},
		"nobody there":    {zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{endpoint(t, "tcp")}}, status.Unavailable},
	} {
		s, err := Open(context.Background(), x.c)
		if status.Of(err) != x.want {
			t.Errorf("%s: %v, %v; want class %v", name, s, err, x.want)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	c := zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{endpoint(t, "tcp")}, ConnectTimeout: 300 * time.Millisecond}
	if s, err := Open(ctx, c); status.Of(err) != status.Deadline {
		t.Errorf("in too little time: %v, %v", s, err)
	}
}

// Nothing would hold clients to a policy.
func TestPeerRefusesClients(t *testing.T) {
	where := endpoint(t, "tcp")
	open(t, zenoh.Config{Listen: listen(where)})
	c := zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{where}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// A link may come up before it is refused, but nothing goes over it.
	if s, err := zenohgo.Open(ctx, c); err == nil {
		defer s.Close()
		wait(t, "the end of the link", func() bool { return len(s.Zenoh().Transports()) == 0 })
	}
	if s, err := Open(ctx, c); err == nil {
		defer s.Close()
		n := s.(*session).node
		wait(t, "the end of the library's link", func() bool { return len(n.Transports()) == 0 })
	}
}

func TestDeleteCarriesNoAttachment(t *testing.T) {
	s := open(t, zenoh.Config{})
	o := transport.PutOptions{Kind: transport.Delete, Attachment: []byte("x")}
	if err := s.Put(context.Background(), "k", nil, o); status.Of(err) != status.Invalid {
		t.Error(err)
	}
}

// The sessions of one node reach each other, hold the same token, and end one by one.
func TestSessionsOfANode(t *testing.T) {
	n, err := OpenNode(context.Background(), zenoh.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var s [3]transport.Session
	for i := range s {
		if s[i], err = n.Session(); err != nil {
			t.Fatal(err)
		}
		for _, other := range s[:i] {
			if other.ID() == s[i].ID() {
				t.Error("two sessions have the same id")
			}
		}
	}
	if s[0].ID() != n.ID() {
		t.Errorf("the first session is %s, its node %s", s[0].ID(), n.ID())
	}
	events := make(chan string, 10)
	if _, err := s[2].SubscribeLiveliness("twin", false, func(x transport.Sample) { events <- fmt.Sprint(x.Key, x.Kind) }); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := s[i].Token("twin"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s[0].Queryable("q", transport.QueryableOptions{}, func(q transport.Query) {
		_ = q.Reply("q", q.Payload(), transport.ReplyOptions{})
	}); err != nil {
		t.Fatal(err)
	}
	ask := func() ([]byte, error) {
		x, err := transport.Ask(context.Background(), s[1], transport.Selector{KeyExpr: "q"}, transport.GetOptions{Payload: []byte("x")})
		return x.Payload, err
	}
	if p, err := ask(); err != nil || !bytes.Equal(p, []byte("x")) {
		t.Errorf("answer %q, %v", p, err)
	}
	_ = s[0].Close()
	if p, err := ask(); status.Of(err) != status.Unavailable {
		t.Errorf("answer of a closed session: %q, %v", p, err)
	}
	_ = s[1].Close()
	for _, want := range []string{"twin0", "twin1"} {
		select {
		case got := <-events:
			if got != want {
				t.Errorf("event %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no event %q", want)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if x, err := n.Session(); status.Of(err) != status.Cancelled {
		t.Errorf("session of a closed node: %v, %v", x, err)
	}
	if len(events) > 0 {
		t.Errorf("one more event: %q", <-events)
	}
}
