package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edged/sdk/client"
)

// nobody is a dial that fails.
func nobody(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody") }

// limited bounds what a test waits for.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return ctx
}

// serve starts a dispatch service on loopback.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func directory(t testing.TB, url string, h *http.Client) *client.Directory {
	t.Helper()
	d, err := client.NewDirectory(url, h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirectoryAsks(t *testing.T) {
	var got string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.String()
		if a := r.Header.Get("Accept"); a != "application/json" {
			t.Errorf("accept %q", a)
		}
		_, _ = w.Write([]byte(usualAnswer))
	})
	for suffix, want := range map[string]string{
		"":                        "GET /v1/addresses?n=3",
		"/":                       "GET /v1/addresses?n=3",
		"/v1/addresses":           "GET /v1/addresses?n=3",
		"/v1/addresses?n=7":       "GET /v1/addresses?n=7",
		"/v1/addresses?n=":        "GET /v1/addresses?n=",
		"/eu/v1/addresses?key=x#": "GET /eu/v1/addresses?key=x&n=3",
	} {
		l, err := directory(t, url+suffix, nil).Ask(limited(t))
		if err != nil || !reflect.DeepEqual(l, usualList()) {
			t.Errorf("%q: %+v, %v", suffix, l, err)
		}
		if got != want {
			t.Errorf("%q: asked %q, want %q", suffix, got, want)
		}
	}
}

func TestDirectoryOfText(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "192.0.2.1:7000\n192.0.2.2:7000\n")
	})
	l, err := directory(t, url, nil).Ask(limited(t))
	if err != nil || len(l.Addresses) != 2 || l.Addresses[1].Address != "192.0.2.2:7000" {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestDirectoryURLs(t *testing.T) {
	for url, want := range map[string]string{
		"":                            "does not begin with http",
		"gate.example:7080":           "does not begin with http:// or https://",
		"192.0.2.7:7080":              "first path segment in URL cannot contain colon",
		"dispatch.example":            "does not begin with http:// or https://",
		"ftp://dispatch.example":      "does not begin with http:// or https://",
		"http://":                     "names no host",
		"https:///v1/addresses":       "names no host",
		"http://a b/":                 "invalid character",
		"http://x:port/":              "invalid port",
		"http://x/?n=%zz":             "invalid URL escape",
		"ftp://ann:secret@x.example/": `"ftp://ann:xxxxx@x.example/"`,
	} {
		_, err := client.NewDirectory(url, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v, want one with %q", url, err, want)
		}
		if url == "" {
			continue
		}
		if _, err := client.New(client.Options{Dispatch: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New with %q: error %v, want one with %q", url, err, want)
		}
	}
}

func TestDirectoryErrors(t *testing.T) {
	answer := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"not found":  {http.NotFound, `404 Not Found ("404 page not found")`},
		"broken":     {answer(502, "text/html", "<html>"), "502 Bad Gateway"},
		"no content": {answer(204, "", ""), "204 No Content"},
		"a page":     {answer(200, "text/html", "<html>log in first</html>"), "answer is not JSON"},
		"empty":      {answer(200, "application/json", `{"addresses":[]}`), "no address in the answer"},
		"huge":       {answer(200, "text/plain", strings.Repeat("gate.example:7000\n", 100_000)), "longer than 1048576 bytes"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		}, "unexpected EOF"},
		"gone":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"turns forever": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "too many redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, tc.h)
			_, err := directory(t, url, nil).Ask(limited(t))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "client: dispatch "+url+"/v1/addresses?n=3: ") {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestDirectoryStatusError(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "nothing is known yet"+strings.Repeat(" ", 500)+"x", http.StatusServiceUnavailable)
	})
	_, err := directory(t, url, nil).Ask(limited(t))
	var status *client.StatusError
	want := client.StatusError{Status: 503, RetryAfter: 7 * time.Second, Text: "nothing is known yet"}
	if !errors.As(err, &status) || *status != want {
		t.Errorf("%v", err)
	}
}

func TestDirectoryNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	d := directory(t, "http://ann:secret@"+address, nil)
	_, err = d.Ask(limited(t))
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error()+d.String(), "secret") ||
		strings.Count(err.Error(), address) != 2 { // in the URL, and in what the dialer says
		t.Errorf("error %v", err)
	}
}

// A service that hangs is waited for 3 s.
func TestDirectoryHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
		began := time.Now()
		_, err := directory(t, "http://dispatch.example", s.http()).Ask(context.Background())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDirectoryOverTLS(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(usualAnswer)) })
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/addresses", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(usualAnswer)) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1/addresses", http.StatusFound) })
	mux.HandleFunc("/bare", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain, http.StatusFound) })
	s := httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	if _, err := directory(t, s.URL, nil).Ask(limited(t)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
	for _, path := range []string{"", "/moved"} {
		if l, err := directory(t, s.URL+path, s.Client()).Ask(limited(t)); err != nil || len(l.Addresses) != 2 {
			t.Errorf("%q: %+v, %v", path, l, err)
		}
	}
	// The client of our own refuses to go where the list could be changed on its way.
	d := directory(t, s.URL+"/bare", nil)
	client.TrustForTest(d, &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	if _, err := d.Ask(limited(t)); err == nil || !strings.Contains(err.Error(), "redirected from https to http") {
		t.Errorf("a way down: %v", err)
	}
}
