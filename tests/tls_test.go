//go:build e2e

package tests

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM of cert
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), file: filepath.Join(t.TempDir(), "ca.pem")}
	c := template("authority")
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage |= x509.KeyUsageCertSign
	der := must(x509.CreateCertificate(rand.Reader, c, c, a.key.Public(), a.key))(t)
	a.cert = must(x509.ParseCertificate(der))(t)
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// sign makes a certificate for ownHost, and the files of it and its key.
func (a *authority) sign(name string) (pair tls.Certificate, cert, key string) {
	a.t.Helper()
	own := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(a.t)
	c := template(name)
	c.IPAddresses = []net.IP{net.ParseIP(ownHost)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der := must(x509.CreateCertificate(rand.Reader, c, a.cert, own.Public(), a.key))(a.t)
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(a.t, cert, "CERTIFICATE", der)
	writePEM(a.t, key, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(own))(a.t))
	return must(tls.LoadX509KeyPair(cert, key))(a.t), cert, key
}

// secured makes a Manager's server show pair and ask for a certificate that the authority has signed; tried counts who came.
func (a *authority) secured(pair tls.Certificate, tried *atomic.Int64) grpc.ServerOption {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		tried.Add(1)
		return nil, nil
	}
	return grpc.Creds(credentials.NewTLS(c))
}

// TestTLS talks to a Manager with certificates on both sides, and not to one that is somebody else.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	good, _, _ := ours.sign("manager")
	bad, _, _ := theirs.sign("impostor")
	_, cert, key := ours.sign("gateway")
	_, foreignCert, foreignKey := theirs.sign("stranger")
	with := func(ca, cert, key string) string {
		return fmt.Sprintf("ca = %q\ncert = %q\nkey = %q\ngrace = \"200ms\"", ca, cert, key)
	}
	for name, c := range map[string]struct {
		shown   tls.Certificate
		manager string
		works   bool
	}{
		"both good":          {good, with(ours.file, cert, key), true},
		"impostor":           {bad, with(ours.file, cert, key), false},
		"stranger":           {good, with(ours.file, foreignCert, foreignKey), false},
		"no TLS on our side": {good, `grace = "200ms"`, false},
		"another name":       {good, with(ours.file, cert, key) + "\nserver_name = \"manager.example\"", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tried atomic.Int64
			k := newKit(t, echoHandler(), ours.secured(c.shown, &tried))
			g := start(t, setup{managers: []string{k.address}, manager: c.manager, gateway: `login_timeout = "500ms"`})
			if c.works {
				check(t, dialIn(t, g.address(), "ann/phone").exchange([]byte("in confidence")))
				return
			}
			notConnected(t, g, k, &tried)
		})
	}
}

// notConnected waits for some attempts, which the operator reads of once, and looks that no client gets through.
func notConnected(t *testing.T, g *gateway, k *kit, tried *atomic.Int64) {
	t.Helper()
	waitFor(t, "no Manager reachable", func() bool {
		status, text := g.probe("/readyz")
		return status == 503 && strings.Contains(text, "no Manager reachable")
	})
	if g.metric("edged_manager_stream_up") != 0 || k.m.Stats().ItemsIn != 0 {
		t.Error("a stream is up")
	}
	before := tried.Load()
	if before > 0 { // else it does not get as far as a hello
		waitFor(t, "two more attempts", func() bool { return tried.Load() >= before+2 })
	}
	said := g.log.lines("level=WARN", k.address, "text=")
	if len(said) != 1 {
		t.Errorf("the log says %d times why there is no Manager:\n%s", len(said), strings.Join(said, ""))
	}
}
