package relay_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/relay"
)

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	files := newAuthority(t, dir).issue(t, dir, "gw", "gw")
	rubbish := filepath.Join(dir, "rubbish")
	if err := os.WriteFile(rubbish, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	tests := []struct {
		name   string
		change func(c *relay.Config)
		want   string // "": valid
	}{
		{"default", func(*relay.Config) {}, ""},
		{"addresses", func(c *relay.Config) {
			c.Addresses = []string{"127.0.0.1:7100", "[::1]:7100", "m.example:1", "unix:/run/m.sock"}
		}, ""},
		{"mutual TLS", func(c *relay.Config) { c.CA, c.Cert, c.Key, c.ServerName = files.ca, files.cert, files.key, "m" }, ""},
		{"no port", func(c *relay.Config) { c.Addresses = []string{"127.0.0.1"} }, `addresses: "127.0.0.1" is neither host:port nor unix:/path`},
		{"no host", func(c *relay.Config) { c.Addresses = []string{":7100"} }, `addresses: ":7100" is neither`},
		{"port 0", func(c *relay.Config) { c.Addresses = []string{"h:0"} }, `addresses: "h:0" has no port`},
		{"port name", func(c *relay.Config) { c.Addresses = []string{"h:http"} }, `addresses: "h:http" has no port`},
		{"relative socket", func(c *relay.Config) { c.Addresses = []string{"unix:m.sock"} }, "addresses: \"unix:m.sock\" needs an absolute path"},
		{"twice", func(c *relay.Config) { c.Addresses = []string{"h:1", "h:1"} }, `addresses: "h:1" stands there twice`},
		{"too many", func(c *relay.Config) { c.Addresses = make([]string, 65) }, "addresses: 65 are more than 64"},
		{"small buffer", func(c *relay.Config) { c.Buffer = 1000 }, "buffer: 1000 is not between 65536 and"},
		{"large buffer", func(c *relay.Config) { c.Buffer = 1 << 31 }, "buffer: 2147483648 is not between"},
		{"no grace", func(c *relay.Config) { c.Grace = 0 }, "grace: 0s is not between"},
		{"long grace", func(c *relay.Config) { c.Grace = 2 * time.Hour }, "grace: 2h0m0s is not between"},
		{"name without TLS", func(c *relay.Config) { c.ServerName = "m" }, "server_name: needs ca or cert"},
		{"missing ca", func(c *relay.Config) { c.CA = missing }, "ca: open " + missing + ": no such file"},
		{"no PEM", func(c *relay.Config) { c.CA = rubbish }, "ca: " + rubbish + " holds no certificate"},
		{"key without cert", func(c *relay.Config) { c.Key = files.key }, "cert: missing"},
		{"cert without key", func(c *relay.Config) { c.Cert = files.cert }, "key: missing"},
		{"missing key", func(c *relay.Config) { c.Cert, c.Key = files.cert, missing }, "key: open " + missing},
		{"missing cert", func(c *relay.Config) { c.Cert, c.Key = missing, files.key }, "cert: open " + missing},
		{"no pair", func(c *relay.Config) { c.Cert, c.Key = files.cert, files.ca }, "cert: " + files.cert + " with key"},
		{"two problems", func(c *relay.Config) { c.Grace, c.Buffer = 0, 0 }, "buffer: 0 is not between 65536 and 1073741824\ngrace: 0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := relay.Default()
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v, want %s", err, tt.want)
			}
			if _, err := relay.New(relay.Options{Config: c, Shards: 1}); err == nil {
				t.Error("New takes it")
			}
		})
	}
}

func TestNames(t *testing.T) {
	for kind, want := range map[relay.EventKind]string{
		relay.EventItems: "items", relay.EventUp: "up", relay.EventNew: "new", relay.EventGone: "gone",
		relay.EventRoom: "room", relay.EventCast: "cast", 0: "unknown",
	} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", kind, got, want)
		}
	}
	for state, want := range map[relay.State]string{
		relay.StateDown: "down", relay.StateWaiting: "waiting", relay.StateUp: "up", relay.StateStopped: "stopped", 9: "unknown",
	} {
		if got := state.String(); got != want {
			t.Errorf("state %d is %q, want %q", state, got, want)
		}
	}
}
