package admin_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/admin"
)

func TestWhoMayAskWhat(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	const good, bad = "Authorization: Bearer " + token, "Authorization: Bearer " + token + "x"
	for _, c := range []struct {
		name   string
		at     int
		method string
		path   string
		head   string
		want   int
	}{
		{"unix status", 0, "GET", "/v1/status", "", 200},
		{"unix drain", 0, "POST", "/v1/drain", "", 200},
		{"unix unknown", 0, "GET", "/x", "", 404},
		{"tcp healthz", 1, "GET", "/healthz", "", 200},
		{"tcp readyz", 1, "GET", "/readyz", "", 200},
		{"tcp loopback metrics", 1, "GET", "/metrics", "", 200},
		{"tcp status", 1, "GET", "/v1/status", "", 401},
		{"tcp drain", 1, "POST", "/v1/drain", "", 401},
		{"tcp unknown", 1, "GET", "/x", "", 401},
		{"token status", 1, "GET", "/v1/status", good, 200},
		{"token drain", 1, "POST", "/v1/drain", good, 200},
		{"token unknown", 1, "GET", "/x", good, 404},
		{"scheme in small letters", 1, "GET", "/v1/status", "Authorization: bearer " + token, 200},
		{"wrong token", 1, "GET", "/v1/status", bad, 401},
		{"half a token", 1, "GET", "/v1/status", "Authorization: Bearer " + token[:10], 401},
		{"no token after the scheme", 1, "GET", "/v1/status", "Authorization: Bearer", 401},
		{"other scheme", 1, "GET", "/v1/status", "Authorization: Basic " + token, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.ask(c.at, c.method, c.path, "", "X-Nothing: 1", orNothing(c.head))
			a.want(t, c.want, "")
			if got := a.header.Get("WWW-Authenticate"); (c.want == 401) != (got == "Bearer") {
				t.Errorf("WWW-Authenticate: %q", got)
			}
		})
	}
	if strings.Contains(b.log.String(), token) {
		t.Error("the token stands in the log")
	}
}

func orNothing(head string) string {
	if head == "" {
		return "X-Nothing: 2"
	}
	return head
}

// A peer from outside, as the kernel would show it.
func TestMetricsFromOutsideNeedTheToken(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	for remote, want := range map[string]int{
		"192.0.2.1:1000":          401,
		"[2001:db8::1]:1000":      401,
		"[::ffff:192.0.2.1]:1000": 401,
		"127.0.0.1:1000":          200,
		"[::1]:1000":              200,
		"[::ffff:127.0.0.1]:1000": 200,
		"nonsense":                401,
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{}))
		r.RemoteAddr = remote
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", remote, w.Code, want)
		}
		if w.Code == 200 {
			continue
		}
		r.Header.Set("Authorization", "Bearer "+token)
		w = httptest.NewRecorder()
		if b.ServeHTTP(w, r); w.Code != 200 {
			t.Errorf("%s with token: %d", remote, w.Code)
		}
	}
}

// The same over a real address of this machine, where it has one.
func TestMetricsOverTheBoxesOwnAddress(t *testing.T) {
	var own net.IP
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			own = n.IP
		}
	}
	if own == nil {
		t.Skip("no address but loopback here")
	}
	b := start(t, admin.Config{Listen: []string{own.String() + ":0"}, Token: token}, &source{}, admin.Limits{})
	b.ask(0, "GET", "/metrics", "").want(t, 401, "token")
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
}

func TestTokenIsMadeBesideTheSocket(t *testing.T) {
	path := sock(t)
	cfg := admin.Config{Listen: []string{"127.0.0.1:0", "unix:" + path}}
	file := filepath.Join(filepath.Dir(path), "admin.token")
	var seen []string
	for range 2 {
		b := start(t, cfg, &source{}, admin.Limits{})
		fi, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != 0o600 {
			t.Errorf("mode %v", fi.Mode())
		}
		content, _ := os.ReadFile(file)
		made := strings.TrimSpace(string(content))
		if len(made) < admin.MinToken {
			t.Errorf("a token of %d characters", len(made))
		}
		b.ask(0, "GET", "/v1/status", "", "Authorization: Bearer "+made).want(t, 200, "")
		b.ask(0, "GET", "/v1/status", "").want(t, 401, "")
		if l := b.log.String(); strings.Contains(l, made) || !strings.Contains(l, file) {
			t.Errorf("log: %s", l)
		}
		seen = append(seen, made)
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := names(t, path); n != "" {
			t.Errorf("left behind: %s", n)
		}
	}
	if seen[0] == seen[1] {
		t.Error("the same token twice")
	}
}

func TestWithoutAnyTokenOnlyOpenPathsAreServed(t *testing.T) {
	b := start(t, admin.Config{Listen: []string{"127.0.0.1:0"}}, &source{}, admin.Limits{})
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
	b.ask(0, "GET", "/metrics", "").want(t, 200, "go_goroutines")
	b.ask(0, "GET", "/v1/status", "").want(t, 403, "no token is set")
	b.ask(0, "GET", "/v1/status", "", "Authorization: Bearer ").want(t, 403, "no token is set")
	if l := b.log.String(); !strings.Contains(l, "only /healthz") {
		t.Errorf("log: %s", l)
	}
}

func TestTokenFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("  "+token+"\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, admin.Config{Listen: []string{"127.0.0.1:0"}, TokenFile: file}, &source{}, admin.Limits{})
	b.ask(0, "GET", "/v1/status", "", "Authorization: Bearer "+token).want(t, 200, "")
	b.ask(0, "GET", "/v1/status", "").want(t, 401, "")
}

func TestTokenCannotBeLeft(t *testing.T) {
	path := sock(t)
	file := filepath.Join(filepath.Dir(path), "admin.token")
	if err := os.MkdirAll(file+"/full", 0o700); err != nil { // a directory there cannot be replaced
		t.Fatal(err)
	}
	_, err := admin.New(admin.Config{Listen: []string{"unix:" + path, "127.0.0.1:0"}}, &source{}, (&logs{}).logger())
	if err == nil || !strings.Contains(err.Error(), "admin token: ") {
		t.Fatalf("got %v", err)
	}
	if n := names(t, path); n != "admin.token" {
		t.Errorf("left behind: %s", n)
	}
}
