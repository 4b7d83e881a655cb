package dispatch_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
)

// served is a Server under test, of a handler that says hello.
type served struct {
	*dispatch.Server
	t   testing.TB
	log *book
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.Proto) })

func serve(t testing.TB, conns int, change func(c *dispatch.Config)) *served {
	t.Helper()
	c := dispatch.Default()
	c.Listen = []string{"127.0.0.1:0"}
	change(&c)
	s := &served{t: t, log: &book{}}
	var err error
	if s.Server, err = dispatch.NewServer(c, hello, conns, s.log.log()); err != nil {
		t.Fatal(err)
	}
	s.Serve()
	t.Cleanup(s.close)
	return s
}

func (s *served) close() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.t.Error(err)
	}
}

// get asks at address number i, over TLS if pool is set, and returns the body and the certificate.
func (s *served) get(i int, pool *x509.CertPool) (string, *x509.Certificate) {
	s.t.Helper()
	scheme, a := "http://", s.Addresses()[i]
	if pool != nil {
		scheme = "https://"
	}
	client := &http.Client{Timeout: limit, Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			if path, ok := strings.CutPrefix(a, "unix:"); ok {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
			return new(net.Dialer).DialContext(ctx, network, a)
		},
	}}
	r, err := client.Get(scheme + "127.0.0.1/")
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.TLS != nil {
		return string(body), r.TLS.PeerCertificates[0]
	}
	return string(body), nil
}

// certificate writes a self-signed certificate of 127.0.0.1 and its key, and returns a pool that trusts it.
func certificate(t testing.TB, cert, key string, serial int64) *x509.CertPool {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServerAddresses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d.sock")
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	pool := certificate(t, cert, key, 1)
	s := serve(t, 100, func(c *dispatch.Config) {
		c.Listen, c.Cert, c.Key = []string{"127.0.0.1:0", "unix:" + path, "127.0.0.1:0"}, cert, key
	})
	a := s.Addresses()
	if len(a) != 3 || a[1] != "unix:"+path || strings.HasSuffix(a[0], ":0") || a[0] == a[2] {
		t.Fatalf("addresses %q", a)
	}
	for _, i := range []int{0, 2} {
		if body, _ := s.get(i, pool); body != "hello HTTP/2.0" {
			t.Errorf("over TLS: %q", body)
		}
	}
	if body, _ := s.get(1, nil); body != "hello HTTP/1.1" {
		t.Errorf("over the Unix socket: %q", body)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	s.close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

// TestServerBothKinds: HTTP/2 is there over TLS whichever listener begins first, the plain one or the other.
func TestServerBothKinds(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	pool := certificate(t, cert, key, 1)
	for range 30 {
		s := serve(t, 100, func(c *dispatch.Config) {
			c.Listen, c.Cert, c.Key = []string{"unix:" + filepath.Join(dir, "d.sock"), "127.0.0.1:0"}, cert, key
		})
		if body, _ := s.get(1, pool); body != "hello HTTP/2.0" {
			t.Fatalf("over TLS: %q", body)
		}
		s.close()
	}
}

// TestServerSockets: a dead process's socket is taken over, a living one's is not, nor is a file.
func TestServerSockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	s := serve(t, 100, func(c *dispatch.Config) { c.Listen = []string{"unix:" + path} })
	c := dispatch.Default()
	c.Listen = []string{"127.0.0.1:0", "unix:" + path}
	if _, err := dispatch.NewServer(c, hello, 100, s.log.log()); err == nil || !strings.Contains(err.Error(), "listen unix:"+path) {
		t.Errorf("error %v", err)
	}
	if body, _ := s.get(0, nil); body != "hello HTTP/1.1" {
		t.Errorf("the living one says %q", body)
	}
	file := filepath.Join(dir, "file")
	write(t, file, []byte("precious"))
	c.Listen = []string{"unix:" + file}
	if _, err := dispatch.NewServer(c, hello, 100, s.log.log()); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

// TestServerTaken: an address that cannot be bound is an error that names it, and leaves none of the others bound.
func TestServerTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "d.sock")
	c := dispatch.Default()
	c.Listen = []string{"unix:" + path, l.Addr().String()}
	if _, err := dispatch.NewServer(c, hello, 100, (&book{}).log()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket of a server that did not start is left")
	}
}

// TestServerReload: a changed certificate is used without a restart; one that does not load is not.
func TestServerReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	pool := certificate(t, cert, key, 1)
	s := serve(t, 100, func(c *dispatch.Config) { c.Cert, c.Key = cert, key })
	if _, got := s.get(0, pool); got.SerialNumber.Int64() != 1 {
		t.Fatalf("certificate %v", got.SerialNumber)
	}
	// A renewal writes one file after the other: between the two they do not fit together.
	next := certificate(t, filepath.Join(dir, "c2.pem"), filepath.Join(dir, "k2.pem"), 2)
	rename(t, filepath.Join(dir, "c2.pem"), cert)
	eventually(t, "a line about the halves", func() bool {
		if _, got := s.get(0, pool); got.SerialNumber.Int64() != 1 {
			t.Fatalf("certificate %v", got.SerialNumber)
		}
		return len(s.log.lines("not taken")) == 1
	})
	rename(t, filepath.Join(dir, "k2.pem"), key)
	eventually(t, "the next certificate", func() bool { return len(s.log.lines("certificate read again")) == 1 || s.handshake() })
	if _, got := s.get(0, next); got.SerialNumber.Int64() != 2 {
		t.Errorf("certificate %v", got.SerialNumber)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line about the missing key", func() bool {
		_, got := s.get(0, next)
		return got.SerialNumber.Int64() == 2 && len(s.log.lines("not taken")) == 2
	})
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// handshake makes the server look at its files; it returns false.
func (s *served) handshake() bool {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", s.Addresses()[0], &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_ = c.Close()
	}
	return false
}

func TestServerBadCertificate(t *testing.T) {
	dir := t.TempDir()
	c := dispatch.Default()
	c.Listen, c.Cert, c.Key = []string{"127.0.0.1:0"}, filepath.Join(dir, "c"), filepath.Join(dir, "k")
	write(t, c.Cert, []byte("no certificate"))
	write(t, c.Key, []byte("no key"))
	if _, err := dispatch.NewServer(c, hello, 100, (&book{}).log()); err == nil || !strings.Contains(err.Error(), c.Cert) {
		t.Errorf("error %v", err)
	}
	wantError(t, c.Validate(), "cert: "+c.Cert)
}

// TestServerCrowded: while many are connected, each gets one answer, and none is kept for the next.
func TestServerCrowded(t *testing.T) {
	s := serve(t, 6, func(*dispatch.Config) {})
	answer := func(c net.Conn) string {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(limit))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	for i := range 5 {
		c, err := net.Dial("tcp", s.Addresses()[0])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := strings.Contains(answer(c), "Connection: close"); got != (i >= 3) {
			t.Errorf("connection %d of 6 is closed: %v", i+1, got)
		}
	}
}

// TestServerSlow: a client that never ends its request does not keep the server from ending.
func TestServerSlow(t *testing.T) {
	s := serve(t, 100, func(*dispatch.Config) {})
	c, err := net.Dial("tcp", s.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	s.get(0, nil) // the server has seen the first by now
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}
