package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
)

// authority issues certificates into a directory.
type authority struct {
	dir  string
	ca   string // file
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := certificate(1, "authority")
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	a.cert, a.key = template, newKey(t)
	a.ca, _ = a.write(t, "ca", template, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

func certificate(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
}

// write issues a certificate for key and returns the files of both.
func (a *authority) write(t *testing.T, name string, template *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	k, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), 0o600))
	return certFile, keyFile
}

// issue makes a certificate for this machine, of a server and of a client.
func (a *authority) issue(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	c := certificate(2, name)
	c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return a.write(t, name, c, newKey(t))
}

// ends are the configurations of both sides, with certificates of one authority.
func (a *authority) ends(t *testing.T, mutual bool) (ours zenoh.TLS, theirs []string) {
	t.Helper()
	ourCert, ourKey := a.issue(t, "ours")
	theirCert, theirKey := a.issue(t, "theirs")
	ours = zenoh.TLS{RootCA: a.ca, ListenCert: ourCert, ListenKey: ourKey, Mutual: mutual}
	theirs = []string{
		"transport/link/tls/root_ca_certificate", quoteOne(a.ca),
		"transport/link/tls/listen_certificate", quoteOne(theirCert),
		"transport/link/tls/listen_private_key", quoteOne(theirKey),
	}
	if mutual {
		ours.ConnectCert, ours.ConnectKey = ourCert, ourKey
		theirs = append(theirs, "transport/link/tls/enable_mtls", "true",
			"transport/link/tls/connect_certificate", quoteOne(theirCert),
			"transport/link/tls/connect_private_key", quoteOne(theirKey))
	}
	return ours, theirs
}

func quoteOne(s string) string { return strings.Trim(quoted(s), "[]") }

func overTLS(endpoint string) string { return strings.Replace(endpoint, "tcp/", "tls/", 1) }

func TestTLS(t *testing.T) {
	for _, mutual := range []bool{false, true} {
		t.Run(map[bool]string{false: "server", true: "mutual"}[mutual], func(t *testing.T) {
			withPythons(t, func(t *testing.T, py python) {
				a := newAuthority(t)
				ours, theirs := a.ends(t, mutual)
				t.Run("they dial", func(t *testing.T) { testTheyDialTLS(t, py, ours, theirs, mutual) })
				t.Run("we dial", func(t *testing.T) { testWeDialTLS(t, py, ours, theirs, mutual) })
			})
		})
	}
}

func testTheyDialTLS(t *testing.T, py python, ours zenoh.TLS, settings []string, mutual bool) {
	c := config(zenoh.ModeRouter)
	c.Listen, c.TLS = []zenoh.Listen{{Endpoint: overTLS(anyPort)}}, ours
	hub := open(t, c)
	client := &theirs{startPeer(t, py, "client", append(dialling(hub.Locators()...), settings...)...), "their client"}
	runScenarios(t, hub, client, "publish", "replies", "sizes")
	name := ""
	if mutual {
		name = "theirs"
	}
	if got := hub.Transports()[0].Links[0].CommonName; got != name {
		t.Errorf("the certificate's name is %q, want %q", got, name)
	}
	stranger := newAuthority(t)
	_, foreign := stranger.ends(t, mutual)
	refused := append(dialling(hub.Locators()...), foreign...)
	if a := startDriver(t, py, "client", append(refused, "connect/timeout_ms", "0")...).opening(); a.Error == "" {
		t.Error("their client took our certificate though it does not trust who issued it")
	}
	if mutual {
		without := append(dialling(hub.Locators()...), settings[:2]...)
		if a := startDriver(t, py, "client", append(without, "connect/timeout_ms", "0")...).opening(); a.Error == "" {
			t.Error("our hub took a client without a certificate")
		}
	}
}

func testWeDialTLS(t *testing.T, py python, ours zenoh.TLS, settings []string, mutual bool) {
	at := overTLS(freePort(t))
	router := &theirs{startPeer(t, py, "router", append(listening(at), settings...)...), "their router"}
	c := config(zenoh.ModeClient)
	c.Connect, c.TLS = []string{at}, ours
	runScenarios(t, open(t, c), router, "publish", "replies", "sizes")
	c.ConnectTimeout = 0
	stranger, _ := newAuthority(t).ends(t, mutual)
	c.TLS = stranger
	if _, err := tryOpen(t, c); err == nil {
		t.Error("our client took their certificate though it does not trust who issued it")
	}
	if mutual {
		c.TLS = zenoh.TLS{RootCA: ours.RootCA}
		if _, err := tryOpen(t, c); err == nil {
			t.Error("their router took our client without a certificate")
		}
	}
}

func TestPassword(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		t.Run("they dial", func(t *testing.T) {
			c := config(zenoh.ModeRouter)
			c.Listen, c.Users = []zenoh.Listen{{Endpoint: anyPort}}, map[string]string{"alice": "wonder", "bob": ""}
			hub := open(t, c)
			auth := func(user, password string) []string {
				if user == "" {
					return dialling(hub.Locators()...)
				}
				return append(dialling(hub.Locators()...), "transport/auth/usrpwd/user", quoteOne(user),
					"transport/auth/usrpwd/password", quoteOne(password))
			}
			client := &theirs{startPeer(t, py, "client", auth("alice", "wonder")...), "their client"}
			runScenarios(t, hub, client, "publish", "replies")
			if got := hub.Transports()[0].User; got != "alice" {
				t.Errorf("the user is %q", got)
			}
			for _, x := range [][2]string{{"alice", "wrong"}, {"carol", "wonder"}, {"carol", ""}, {"", ""}} {
				bad := startDriver(t, py, "client", append(auth(x[0], x[1]), "connect/timeout_ms", "0")...)
				if a := bad.opening(); a.Error == "" {
					t.Errorf("our hub took user %q with password %q", x[0], x[1])
				}
			}
		})
		t.Run("we dial", func(t *testing.T) {
			at := freePort(t)
			users := filepath.Join(t.TempDir(), "users")
			must(t, os.WriteFile(users, []byte("alice:wonder\nbob:builder\n"), 0o600))
			router := &theirs{startPeer(t, py, "router", append(listening(at),
				"transport/auth/usrpwd/dictionary_file", quoteOne(users), "transport/auth/usrpwd/user", `"router"`,
				"transport/auth/usrpwd/password", `"router"`)...), "their router"}
			c := config(zenoh.ModeClient)
			c.Connect, c.User, c.Password = []string{at}, "bob", "builder"
			runScenarios(t, open(t, c), router, "publish", "replies")
			c.ConnectTimeout = 0
			for _, x := range [][2]string{{"bob", "wrong"}, {"carol", "builder"}, {"", ""}} {
				c.User, c.Password = x[0], x[1]
				if _, err := tryOpen(t, c); err == nil {
					t.Errorf("their router took user %q with password %q", x[0], x[1])
				}
			}
		})
	})
}
