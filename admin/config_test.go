package admin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/admin"
)

func TestDefaultIsValid(t *testing.T) {
	c := admin.Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(c.Listen) != 1 || c.Listen[0] != "unix:/run/edged/admin.sock" {
		t.Fatalf("listen = %q", c.Listen)
	}
	c.Listen[0] = "changed"
	if admin.Default().Listen[0] == "changed" {
		t.Fatal("two configurations share their list")
	}
}

func TestConfigValidate(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	listen := func(l ...string) admin.Config { return admin.Config{Listen: l} }
	open := []string{"0.0.0.0:7070"}
	for _, c := range []struct {
		name string
		cfg  admin.Config
		want []string // parts of the error; none: valid
	}{
		{"nothing", admin.Config{}, nil},
		{"unix", listen("unix:/run/a.sock"), nil},
		{"loopback", listen("127.0.0.1:7070", "[::1]:7070", "localhost:0", "127.8.9.1:1"), nil},
		{"mapped loopback", listen("[::ffff:127.0.0.1]:7070"), nil},
		{"relative", listen("unix:a.sock"), []string{"listen: unix:a.sock is not an absolute path"}},
		{"winding", listen("unix:/run/../a.sock"), []string{"plain form unix:/a.sock"}},
		{"long path", listen("unix:/" + strings.Repeat("x", 99)), []string{"more than 99 bytes"}},
		{"longest path", listen("unix:/" + strings.Repeat("x", 98)), nil},
		{"no port", listen("127.0.0.1"), []string{`"127.0.0.1" is neither unix:/absolute/path nor host:port`}},
		{"bad port", listen("127.0.0.1:http"), []string{"the port is not a number"}},
		{"big port", listen("127.0.0.1:65536"), []string{"the port is not a number"}},
		{"twice", listen("127.0.0.1:1", "127.0.0.1:1"), []string{"stands there twice"}},
		{"open without token", listen("0.0.0.0:7070"), []string{"listen: 0.0.0.0:7070 is not a loopback address and needs a token"}},
		{"every address", listen(":7070"), []string{":7070 is not a loopback address"}},
		{"name", listen("box.example:7070"), []string{"needs a token"}},
		{"open with token", admin.Config{Listen: open, Token: token}, nil},
		{"open with file", admin.Config{Listen: open, TokenFile: file(token + "\n")}, nil},
		{"short", admin.Config{Listen: open, Token: "123456789012345"}, []string{"token: shorter than 16"}},
		{"just long enough", admin.Config{Listen: open, Token: "1234567890123456"}, nil},
		{"blank", admin.Config{Token: "12345678 12345678"}, []string{"token: holds a blank"}},
		{"not ASCII", admin.Config{Token: "12345678901234567ä"}, []string{"token: holds a blank or"}},
		{"both", admin.Config{Token: token, TokenFile: "/x"}, []string{"token and token_file exclude each other"}},
		{"short file", admin.Config{TokenFile: file("short\n")}, []string{"token_file: shorter than 16"}},
		{"big file", admin.Config{TokenFile: file(strings.Repeat("x", 5000))}, []string{"is not a file of at most 4096 bytes"}},
		{"no file", admin.Config{TokenFile: "/does/not/exist"}, []string{"token_file: ", "no such file"}},
		{"device", admin.Config{TokenFile: "/dev/zero"}, []string{"is not a file of"}},
		{"several", admin.Config{Listen: []string{"x", "unix:y"}, Token: "short"}, []string{`"x"`, "unix:y", "token: shorter"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.cfg.Validate()
			if (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %v, want %q", err, w)
				}
			}
		})
	}
}

func TestConfigNeverTellsTheToken(t *testing.T) {
	for _, secret := range []string{"hunter2", "a secret with blanks"} {
		if err := (admin.Config{Token: secret}).Validate(); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzListen(f *testing.F) {
	for _, s := range []string{"unix:/a", "unix:", "127.0.0.1:1", "[::1%lo]:1", ":", "", "unix:/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := (admin.Config{Listen: []string{s}}).Validate()
		_, dialErr := admin.Dial(s, "")
		if err == nil && dialErr != nil {
			t.Fatalf("%q may be listened on, but not dialled: %v", s, dialErr)
		}
	})
}
