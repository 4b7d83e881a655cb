package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/admin"
)

func dialled(t *testing.T, addr, token string) *admin.Client {
	t.Helper()
	c, err := admin.Dial(addr, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientStatusAndDrain(t *testing.T) {
	var got admin.DrainRequest
	b := startBoth(t, &source{
		status: func() admin.Status { return exampleStatus() },
		drain:  func(_ context.Context, r admin.DrainRequest) error { got = r; return nil },
	}, admin.Limits{})
	path := b.Addresses()[0]
	for _, c := range []*admin.Client{
		dialled(t, path, ""),
		dialled(t, strings.TrimPrefix(path, "unix:"), ""),
		dialled(t, b.Addresses()[1], token),
	} {
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := exampleStatus(); !reflect.DeepEqual(s, want) {
			t.Errorf("got %+v, want %+v", s, want)
		}
		for _, want := range []admin.DrainRequest{{}, {Within: 90 * time.Second, Exit: true}, {Undo: true}} {
			if err := c.Drain(t.Context(), want); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		}
	}
	noneLeftOfClients(t)
}

// noneLeftOfClients: a Client keeps nothing open, so it needs no Close.
func noneLeftOfClients(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return !strings.Contains(stacks(), "persistConn") })
}

func TestDialRefusesWhatIsNoAddress(t *testing.T) {
	for _, addr := range []string{"", "a.sock", "unix:a.sock", "http://box:7070", "127.0.0.1:x"} {
		if _, err := admin.Dial(addr, ""); err == nil {
			t.Errorf("%q is taken", addr)
		}
	}
	if _, err := admin.Dial("127.0.0.1:1", "short"); err == nil {
		t.Error("a token that no edged has is taken")
	}
}

func TestClientSaysThatNobodyIsThere(t *testing.T) {
	path := sock(t)
	_, err := dialled(t, path, "").Status(t.Context())
	if want := "no edged answers at " + path + ": is it running?"; err == nil || err.Error() != want || !errors.Is(err, admin.ErrAbsent) {
		t.Errorf("got %v, want %s", err, want)
	}
	corpse(t, path)
	if err := dialled(t, path, "").Drain(t.Context(), admin.DrainRequest{}); !errors.Is(err, admin.ErrAbsent) {
		t.Errorf("behind a dead socket: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := dialled(t, l.Addr().String(), "").Status(t.Context()); !errors.Is(err, admin.ErrAbsent) {
		t.Errorf("at a closed port: %v", err)
	}
}

func TestClientTellsWhyItWasRefused(t *testing.T) {
	b := startBoth(t, &source{drain: func(context.Context, admin.DrainRequest) error {
		return errors.New("not draining")
	}}, admin.Limits{})
	tcp := b.Addresses()[1]
	_, err := dialled(t, tcp, "").Status(t.Context())
	wantError(t, err, "edged at "+tcp+": a token is needed here")
	_, err = dialled(t, tcp, token+"x").Status(t.Context())
	wantError(t, err, "edged at "+tcp+" does not know this token")
	err = dialled(t, tcp, token).Drain(t.Context(), admin.DrainRequest{Undo: true})
	wantError(t, err, "edged at "+tcp+": not draining")
	err = dialled(t, tcp, token).Drain(t.Context(), admin.DrainRequest{Undo: true, Exit: true})
	wantError(t, err, "undo goes with neither within nor exit")
}

// wantError checks an error's words, and that it is one sentence.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClientWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may open everything")
	}
	path := sock(t)
	start(t, unixConfig(path), &source{}, admin.Limits{})
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err := dialled(t, path, "").Status(t.Context())
	wantError(t, err, path+" may not be opened: ask as root")
}

// pretender answers each connection with the same bytes; nil: with nothing.
func pretender(t *testing.T, answer []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if answer == nil {
				t.Cleanup(func() { _ = c.Close() })
				continue
			}
			r := make([]byte, 4096)
			_, _ = c.Read(r)
			_, _ = c.Write(answer)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func TestClientMeetsSomethingElse(t *testing.T) {
	page := func(code int, body string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n\r\n%s", code, http.StatusText(code), len(body), body)
	}
	for name, c := range map[string]struct {
		answer []byte
		want   string
	}{
		"page":      {page(200, "<html>"), "what answers at %s is not edged"},
		"not found": {page(404, "404 page not found"), "what answers at %s is not edged: it says 404 Not Found"},
		"ssh":       {[]byte("SSH-2.0-OpenSSH\r\n"), "edged at %s: malformed HTTP"},
		"cut":       {page(200, "{}")[:25], "edged at %s: "},
	} {
		t.Run(name, func(t *testing.T) {
			addr := pretender(t, c.answer)
			_, err := dialled(t, addr, "").Status(t.Context())
			wantError(t, err, fmt.Sprintf(c.want, addr))
		})
	}
}

func TestClientDoesNotWaitForEver(t *testing.T) {
	addr := pretender(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), quick)
	defer cancel()
	_, err := dialled(t, addr, "").Status(ctx)
	wantError(t, err, "edged at "+addr+" does not answer in time")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := dialled(t, addr, "").Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestClientReadsNoEndlessAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
				return
			}
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	if _, err := dialled(t, l.Addr().String(), "").Status(t.Context()); err == nil {
		t.Error("no error")
	}
}
