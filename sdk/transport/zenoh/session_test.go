package zenoh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
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
	"github.com/essa-project/essad/sdk/zenoh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, c zenoh.Config) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if os.Getenv("ZENOH_TEST_LOG") != "" {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func listen(endpoint string) []zenoh.Listen { return []zenoh.Listen{{Endpoint: endpoint}} }

// sever ends a session's node as a crash would.
func sever(s transport.Session) {
	if x, ok := s.(*Session); ok {
		x.s.Node().Abort()
	}
}

// The sessions of one node.
func TestSiblings(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		n, err := zenoh.OpenNode(context.Background(), zenoh.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		return transporttest.Harness{NewSession: func(t testing.TB) transport.Session {
			s, err := n.Session()
			if err != nil {
				t.Fatal(err)
			}
			return Wrap(s)
		}}
	})
}

// Peers, each linked to every other.
func TestPeers(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Harness {
		var all []string
		return transporttest.Harness{Sever: sever, NewSession: func(t testing.TB) transport.Session {
			s := open(t, zenoh.Config{Listen: listen("tcp/127.0.0.1:0"), Connect: all})
			all = append(all[:len(all):len(all)], s.s.Locators()...)
			return s
		}}
	})
}

// Clients of a hub.
func TestClients(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		return clientsOf(t, zenoh.Config{Listen: listen("tcp/127.0.0.1:0")}, zenoh.Config{})
	})
}

// clientsOf makes all sessions clients of a hub.
func clientsOf(t testing.TB, hub, client zenoh.Config) transporttest.Harness {
	hub.Mode = zenoh.ModeRouter
	h := open(t, hub)
	client.Mode, client.Connect = zenoh.ModeClient, h.s.Locators()
	return transporttest.Harness{
		Sever: sever, Dropped: h.Dropped,
		NewSession: func(t testing.TB) transport.Session { return open(t, client) },
	}
}

// A hub and clients by turns, over a unix socket; the first one is a client.
func TestClientAndHub(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		endpoint := "unixsock-stream/" + filepath.Join(t.TempDir(), "s")
		hub := open(t, zenoh.Config{Mode: zenoh.ModeRouter, Listen: listen(endpoint)})
		n := 0
		return transporttest.Harness{NewSession: func(t testing.TB) transport.Session {
			if n++; n%2 == 1 {
				return open(t, zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{endpoint}})
			}
			s, err := hub.s.Sibling()
			if err != nil {
				t.Fatal(err)
			}
			return Wrap(s)
		}}
	})
}

// Clients of a hub over TLS, with certificates on both sides.
func TestClientsOverTLS(t *testing.T) {
	secrets := certificates(t)
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		return clientsOf(t, zenoh.Config{Listen: listen("tls/127.0.0.1:0"), TLS: secrets}, zenoh.Config{TLS: secrets})
	})
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
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, keyFile := write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
	return zenoh.TLS{RootCA: cert, ListenKey: keyFile, ListenCert: cert, ConnectKey: keyFile, ConnectCert: cert, Mutual: true}
}

// An endpoint that another node has is a conflict, which no second try resolves.
func TestOpenConflict(t *testing.T) {
	for _, endpoint := range []string{"tcp/127.0.0.1:0", "unixsock-stream/" + filepath.Join(t.TempDir(), "s")} {
		a, err := Open(t.Context(), zenoh.Config{Listen: []zenoh.Listen{{Endpoint: endpoint}}})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		_, err = Open(t.Context(), zenoh.Config{Listen: []zenoh.Listen{{Endpoint: a.Zenoh().Locators()[0]}}})
		if status.Of(err) != status.Conflict {
			t.Errorf("%s: class %v: %v", endpoint, status.Of(err), err)
		}
	}
}
