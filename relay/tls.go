package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/credentials"
)

// credentials tells gRPC how to secure a connection. Nil: not at all, because no file is named.
func (c Config) credentials() (credentials.TransportCredentials, error) {
	t, err := c.tls()
	if err != nil || t == nil {
		return nil, err
	}
	return credentials.NewTLS(t), nil
}

// tls reads the files. It returns nil where none is named. Files are read once: a renewed
// certificate comes with the next reload.
func (c Config) tls() (*tls.Config, error) {
	if c.CA == "" && c.Cert == "" && c.Key == "" {
		if c.ServerName != "" {
			return nil, errors.New("server_name: needs ca or cert")
		}
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	return t, errors.Join(c.trust(t), c.identify(t))
}

func (c Config) trust(t *tls.Config) error {
	if c.CA == "" {
		return nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s holds no certificate", c.CA)
	}
	return nil
}

func (c Config) identify(t *tls.Config) error {
	if c.Cert == "" && c.Key == "" {
		return nil
	}
	if c.Cert == "" {
		return errors.New("cert: missing, but key is set")
	}
	if c.Key == "" {
		return errors.New("key: missing, but cert is set")
	}
	cert, err := os.ReadFile(c.Cert)
	if err != nil {
		return fmt.Errorf("cert: %w", err)
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("cert: %s with key %s: %w", c.Cert, c.Key, err)
	}
	t.Certificates = []tls.Certificate{pair}
	return nil
}
