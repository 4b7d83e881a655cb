package redisconn_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/redisconn"
	"edged/redisconn/redistest"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "secret")
	s.Do("ACL", "SETUSER", "edged", "on", ">word", "~edged:*", "&*", "+@all", "-cluster")
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		name     string
		config   redisconn.Config
		complain string // parts of errors, with | between; empty: it connects
	}{
		{"password", redisconn.Config{Password: "secret"}, ""},
		{"password in a file", redisconn.Config{PasswordFile: file("secret\n")}, ""},
		{"user, who may not ask for a Cluster", redisconn.Config{Username: "edged", Password: "word"}, ""},
		{"no password", redisconn.Config{}, "NOAUTH"},
		{"another password", redisconn.Config{Password: "other"}, "WRONGPASS"},
		{"another user", redisconn.Config{Username: "other", Password: "secret"}, "WRONGPASS"},
		{"no file", redisconn.Config{PasswordFile: "/nonexistent/password"}, "password_file: open /nonexistent/password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.config.Addresses = []string{s.Addr}
			cl, _ := open(t, c.config)
			if c.complain != "" {
				refused(t, cl, strings.Split(c.complain, "|")...)
				return
			}
			eventually(t, "a connection", cl.Connected)
			if err := set(cl, "edged:k", "v"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPasswordChanges: the file is read for each connection.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "first")
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	cl, _ := connect(t, redisconn.Config{Addresses: []string{s.Addr}, PasswordFile: file})
	s.Do("CONFIG", "SET", "requirepass", "second")
	s.Password = "second"
	s.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, "a refusal", func() bool {
		err := set(cl, "k", "v")
		return err != nil && strings.Contains(err.Error(), "WRONGPASS")
	})
	if cl.Connected() {
		t.Error("connected with the wrong password")
	}
	write("second")
	eventually(t, "a write", func() bool { return set(cl, "k", "v") == nil })
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, redisconn.Config{Addresses: []string{s.Addr}, Database: 3})
	if err := set(cl, "k", "v"); err != nil {
		t.Fatal(err)
	}
	if got := s.Do("INFO", "keyspace"); !strings.Contains(got, "db3:keys=1") || strings.Contains(got, "db0") {
		t.Errorf("keys: %s", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := redistest.StartTLS(t)
	otherCA, otherCert, otherKey := redistest.Certificates(t)
	for _, c := range []struct {
		name     string
		config   redisconn.Config
		complain string // parts of errors, with | between; empty: it connects
	}{
		{"address", redisconn.Config{TLS: true, CA: s.CA, Cert: s.Cert, Key: s.Key}, ""},
		{"name", redisconn.Config{TLS: true, CA: s.CA, Cert: s.Cert, Key: s.Key, ServerName: redistest.ServerName}, ""},
		{"another name", redisconn.Config{TLS: true, CA: s.CA, Cert: s.Cert, Key: s.Key, ServerName: "other.test"}, "other.test"},
		{"another authority", redisconn.Config{TLS: true, CA: otherCA, Cert: s.Cert, Key: s.Key}, "unknown authority"},
		{"the system's authorities", redisconn.Config{TLS: true, Cert: s.Cert, Key: s.Key}, "unknown authority"},
		{"no certificate", redisconn.Config{TLS: true, CA: s.CA}, "certificate required|reset|broken pipe"},
		{"a stranger's certificate", redisconn.Config{TLS: true, CA: s.CA, Cert: otherCert, Key: otherKey}, "remote error|reset|broken pipe"},
		{"no TLS", redisconn.Config{}, "EOF|reset"},
		{"no file", redisconn.Config{TLS: true, CA: "/nonexistent/ca.pem"}, "ca: open /nonexistent/ca.pem"},
		{"no certificate in the file", redisconn.Config{TLS: true, CA: s.Key}, "ca: no certificate in "},
		{"a key for a certificate", redisconn.Config{TLS: true, CA: s.CA, Cert: s.Key, Key: s.Key}, "cert: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.config.Addresses = []string{s.Addr}
			cl, _ := open(t, c.config)
			if c.complain != "" {
				refused(t, cl, strings.Split(c.complain, "|")...)
				return
			}
			eventually(t, "a connection", cl.Connected)
			if err := set(cl, "k", "v"); err != nil {
				t.Error(err)
			}
		})
	}
}
