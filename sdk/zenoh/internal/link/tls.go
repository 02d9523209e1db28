package link

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
)

// tlsFiles are the contents of what a TLS and the config of an endpoint name.
type tlsFiles struct {
	TLS
	config map[string]string
}

// with lets the config of an endpoint override t.
func (t TLS) with(config map[string]string) *tlsFiles {
	if v, ok := config["enable_mtls"]; ok {
		t.Mutual = v == "true" || v == "1"
	}
	if v, ok := config["verify_name_on_connect"]; ok {
		t.SkipNameCheck = v == "false" || v == "0"
	}
	return &tlsFiles{TLS: t, config: config}
}

// pem returns what key names: in the config as it is, as key_file or as key_base64, else the file def; nil for nothing.
func (t *tlsFiles) pem(key, def string) ([]byte, error) {
	if s, ok := t.config[key+"_base64"]; ok {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("%s_base64: %w", key, err)
		}
		return b, nil
	}
	for _, k := range []string{key, key + "_file"} {
		if s, ok := t.config[k]; ok {
			def = s
		}
	}
	if def == "" {
		return nil, nil
	}
	b, err := os.ReadFile(def)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return b, nil
}

// pair returns a certificate with its key, or nil if neither is named.
func (t *tlsFiles) pair(certKey, cert, keyKey, key string) ([]tls.Certificate, error) {
	c, err := t.pem(certKey, cert)
	if err != nil {
		return nil, err
	}
	k, err := t.pem(keyKey, key)
	if err != nil {
		return nil, err
	}
	if c == nil && k == nil {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(c, k)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certKey, keyKey, err)
	}
	return []tls.Certificate{pair}, nil
}

// roots returns whom to trust; nil means whom the system trusts.
func (t *tlsFiles) roots() (*x509.CertPool, error) {
	b, err := t.pem("root_ca_certificate", t.RootCA)
	if b == nil || err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("root_ca_certificate: no certificate in it")
	}
	return pool, nil
}

func (t *tlsFiles) server() (*tls.Config, error) {
	pair, err := t.pair("listen_certificate", t.ListenCert, "listen_private_key", t.ListenKey)
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return nil, errors.New("listen_certificate and listen_private_key are needed")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair}
	if t.Mutual {
		if c.ClientCAs, err = t.roots(); err != nil {
			return nil, err
		}
		if c.ClientCAs == nil {
			return nil, errors.New("enable_mtls needs root_ca_certificate")
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func (t *tlsFiles) client(e Endpoint) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host}
	if c.RootCAs, err = t.roots(); err != nil {
		return nil, err
	}
	if t.Mutual {
		if c.Certificates, err = t.pair("connect_certificate", t.ConnectCert, "connect_private_key", t.ConnectKey); err != nil {
			return nil, err
		}
		if c.Certificates == nil {
			return nil, errors.New("enable_mtls needs connect_certificate and connect_private_key")
		}
	}
	if t.SkipNameCheck {
		verifyChain(c)
	}
	return c, nil
}

// verifyChain makes c verify that somebody trusted issued the certificate, but not for which name.
func verifyChain(c *tls.Config) {
	c.InsecureSkipVerify = true // the standard check, which includes the name; VerifyConnection does the rest of it
	c.VerifyConnection = func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
		for _, cert := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	}
}

// commonName is the name in the certificate of the peer, if it was verified.
func commonName(c *tls.Conn) string {
	s := c.ConnectionState()
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	return s.PeerCertificates[0].Subject.CommonName
}
