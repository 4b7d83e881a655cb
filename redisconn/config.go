package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// Config is the [redis] section.
type Config struct {
	Addresses    []string `toml:"addresses"`     // host:port of the server, of Cluster nodes, or of sentinels; empty: no Redis
	Username     string   `toml:"username"`      // empty: the server's default user
	Password     string   `toml:"password"`      // sentinels must take the same, or have none
	PasswordFile string   `toml:"password_file"` // instead of password; read for each connection
	Sentinel     string   `toml:"sentinel"`      // name of the master set; then the addresses are sentinels
	Database     int      `toml:"database"`      // a Cluster has 0 alone
	TLS          bool     `toml:"tls"`
	CA           string   `toml:"ca"`          // file of the authorities; empty: the system's
	Cert         string   `toml:"cert"`        // file of our own certificate, where the server asks for one
	Key          string   `toml:"key"`         // file of its key
	ServerName   string   `toml:"server_name"` // name in the server's certificate; empty: the address's host
}

// Default returns the settings of a process without Redis.
func Default() Config { return Config{} }

// Enabled reports whether there is a Redis to talk to.
func (c Config) Enabled() bool { return len(c.Addresses) > 0 }

// Validate reports every setting that cannot be meant, each with its key. It reads no file: they are read for each connection.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, a := range c.Addresses {
		if !isHostPort(a) {
			bad("addresses: %q is not host:port", a)
		}
	}
	if c.Sentinel != "" && !c.Enabled() {
		bad("sentinel: needs the addresses of the sentinels")
	}
	if strings.ContainsAny(c.Sentinel, " \t\r\n") {
		bad("sentinel: %q has a space in it", c.Sentinel)
	}
	if c.Password != "" && c.PasswordFile != "" {
		bad("password_file: there is a password too")
	}
	if c.Database < 0 {
		bad("database: %d is negative", c.Database)
	}
	if c.Database > 0 && c.Sentinel == "" && len(c.Addresses) > 1 {
		bad("database: %d, but several addresses are a Cluster, which has 0 alone", c.Database)
	}
	if (c.Cert == "") != (c.Key == "") {
		bad("cert: it and key need each other")
	}
	if !c.TLS {
		for _, set := range [][2]string{{"ca", c.CA}, {"cert", c.Cert}, {"key", c.Key}, {"server_name", c.ServerName}} {
			if set[1] != "" {
				bad("%s: without effect while tls is false", set[0])
			}
		}
	}
	return errors.Join(errs...)
}

func isHostPort(a string) bool {
	host, port, err := net.SplitHostPort(a)
	n, numErr := strconv.ParseUint(port, 10, 16)
	return err == nil && numErr == nil && host != "" && n > 0
}

// password returns the password as it is now.
func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// tlsConfig returns nil when TLS is off.
func (c Config) tlsConfig() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate in %s", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
