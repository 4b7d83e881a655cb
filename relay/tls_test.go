package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edged/relay"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// files are a certificate, its key and its authority on disk.
type files struct{ ca, cert, key string }

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{key: newKey(t), file: filepath.Join(dir, "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes name.pem and name.key for a host.
func (a *authority) issue(t *testing.T, dir, name, host string) files {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := files{ca: a.file, cert: filepath.Join(dir, name+".pem"), key: filepath.Join(dir, name+".key")}
	writePEM(t, f.cert, "CERTIFICATE", der)
	writePEM(t, f.key, "EC PRIVATE KEY", keyDER)
	return f
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serveTLS starts a Manager that wants certificates of the authority.
func serveTLS(t *testing.T, m *manager, a *authority, f files) *server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return serve(t, listen(t, "tcp", "127.0.0.1:0"), m, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
}

func TestMutualTLS(t *testing.T) {
	dir, foreign := t.TempDir(), t.TempDir()
	a, b := newAuthority(t, dir), newAuthority(t, foreign)
	server := a.issue(t, dir, "server", "manager.example")
	good, bad := a.issue(t, dir, "gw", "gw"), b.issue(t, foreign, "gw", "gw")
	tests := []struct {
		name   string
		change func(c *relay.Config)
		up     bool
	}{
		{"good", func(*relay.Config) {}, true},
		{"no TLS at all", func(c *relay.Config) { *c = relay.Config{Addresses: c.Addresses, Buffer: c.Buffer, Grace: c.Grace} }, false},
		{"no certificate of our own", func(c *relay.Config) { c.Cert, c.Key = "", "" }, false},
		{"a foreign certificate of our own", func(c *relay.Config) { c.Cert, c.Key = bad.cert, bad.key }, false},
		{"a foreign authority", func(c *relay.Config) { c.CA = bad.ca }, false},
		{"another name", func(c *relay.Config) { c.ServerName = "other.example" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newManager(t, "m")
			s := serveTLS(t, m, a, server)
			g := newGateway(t, setup{addresses: []string{s.address}, change: func(o *relay.Options) {
				c := &o.Config
				c.CA, c.Cert, c.Key, c.ServerName = good.ca, good.cert, good.key, "manager.example"
				c.Grace = 300 * time.Millisecond
				tt.change(c)
			}})
			g.send(0, 0, "0")
			if !tt.up {
				for e := g.next(0); e.Kind != relay.EventGone; e = g.next(0) {
					if e.Kind != relay.EventUp { // TLS 1.3 tells a client late that its certificate is refused
						t.Fatalf("event %v", e.Kind)
					}
				}
				if got := m.payloads(0); len(got) != 0 {
					t.Fatalf("the Manager got %q", got)
				}
				return
			}
			g.want(0, relay.EventUp)
			same(t, m.untilPayloads(0, 1), series(0, 1))
		})
	}
}
