package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"edged/admin"
)

func TestProbes(t *testing.T) {
	var health, ready error
	b := startBoth(t, &source{
		healthy: func() error { return health },
		ready:   func() error { return ready },
	}, admin.Limits{})
	b.ask(1, "GET", "/healthz", "").want(t, 200, "ok\n")
	b.ask(1, "GET", "/readyz", "").want(t, 200, "ok\n")
	health, ready = errors.New("reactor 1 is stuck"), errors.New("draining")
	b.ask(1, "GET", "/healthz", "").want(t, 503, "reactor 1 is stuck\n")
	a := b.ask(1, "GET", "/readyz", "")
	a.want(t, 503, "draining\n")
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		t.Error(ct)
	}
	if l := b.log.String(); l != "" {
		t.Errorf("an answer is no fault, but logged: %s", l)
	}
}

func TestStatusJSON(t *testing.T) {
	b := startBoth(t, &source{status: func() admin.Status { return exampleStatus() }}, admin.Limits{})
	a := b.ask(0, "GET", "/v1/status", "")
	a.want(t, 200, `"messages_in":1234567`)
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		t.Error(ct)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"id", "version", "state", "pid", "started", "listeners", "reactors", "capacity", "links", "managers", "epoch"} {
		if _, ok := got[k]; !ok {
			t.Errorf("no %s in %s", k, a.body)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	for _, path := range []string{"/", "/v1", "/v1/status/", "/metrics/x", "/%2e%2e/healthz", "//healthz", "/debug/pprof/"} {
		a := b.ask(0, "GET", path, "")
		a.want(t, 404, `{"error":"there is no /`)
	}
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/healthz", "GET, HEAD"},
		{"DELETE", "/metrics", "GET, HEAD"},
		{"PUT", "/v1/status", "GET, HEAD"},
		{"GET", "/v1/drain", "POST"},
		{"HEAD", "/v1/drain", "POST"},
		{"OPTIONS", "/v1/status", "GET, HEAD"},
	} {
		a := b.ask(0, c.method, c.path, "")
		if a.code != 405 || a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, a.code, a.header.Get("Allow"))
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/status"} {
		if a := b.ask(0, "HEAD", path, ""); a.code != 200 || a.body != "" {
			t.Errorf("HEAD %s: %d %q", path, a.code, a.body)
		}
	}
}

func TestDrainRequests(t *testing.T) {
	var got *admin.DrainRequest
	b := startBoth(t, &source{drain: func(_ context.Context, r admin.DrainRequest) error {
		got = &r
		return nil
	}}, admin.Limits{})
	for _, c := range []struct {
		body string
		want *admin.DrainRequest // nil: refused with 400 and the text
		text string
	}{
		{"", &admin.DrainRequest{}, ""},
		{" \r\n", &admin.DrainRequest{}, ""},
		{"{}", &admin.DrainRequest{}, ""},
		{`{"within":"90s"}`, &admin.DrainRequest{Within: 90 * time.Second}, ""},
		{`{"within":"0s","exit":true}`, &admin.DrainRequest{Exit: true}, ""},
		{`{"undo":true}`, &admin.DrainRequest{Undo: true}, ""},
		{`{"share":0.2,"within":"90s"}`, &admin.DrainRequest{Share: 0.2, Within: 90 * time.Second}, ""},
		{`{"share":1.1}`, nil, "share: 1.1 is not between 0 and 1"},
		{`{"share":-0.1}`, nil, "share: -0.1 is not between 0 and 1"},
		{`{"share":0.2,"exit":true}`, nil, "share goes not with exit"},
		{`{"share":0.2,"undo":true}`, nil, "undo goes with neither"},
		{`{"undo":true,"exit":true}`, nil, "undo goes with neither"},
		{`{"undo":true,"within":"1s"}`, nil, "undo goes with neither"},
		{`{"within":"-1s"}`, nil, "within: -1s is not between"},
		{`{"within":"25h"}`, nil, "within: 25h0m0s is not between"},
		{`{"within":"soon"}`, nil, `within: \"soon\" is not a duration such as \"30s\"`},
		{`{"within":30}`, nil, "within: a number does not fit there"},
		{`{"undo":"yes"}`, nil, "undo: a string does not fit there"},
		{`{"undoo":true}`, nil, `unknown field \"undoo\": a drain takes within, undo, exit and share`},
		{`{"within":"1s"} {}`, nil, "the body is not JSON"},
		{`{"within":"1s"`, nil, "the body is not JSON"},
		{`[1]`, nil, "the body is not a JSON object"},
		{`"drain"`, nil, "the body is not a JSON object"},
		{"\x00\xff\xfe garbage", nil, "the body is not JSON"},
		{strings.Repeat("[", 60_000), nil, "the body is not JSON"},
	} {
		t.Run(c.body[:min(len(c.body), 30)], func(t *testing.T) {
			got = nil
			a := b.ask(0, "POST", "/v1/drain", c.body)
			if c.want == nil {
				a.want(t, 400, c.text)
				if got != nil {
					t.Errorf("drained all the same: %+v", *got)
				}
				return
			}
			a.want(t, 200, `{"ok":true}`)
			if got == nil || *got != *c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestDrainNullIsThePlainDrain(t *testing.T) {
	r, err := admin.ParseDrain([]byte("null"))
	if err != nil || r != (admin.DrainRequest{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDrainRefusedByTheSource(t *testing.T) {
	b := startBoth(t, &source{drain: func(context.Context, admin.DrainRequest) error {
		return errors.New("not draining")
	}}, admin.Limits{})
	b.ask(0, "POST", "/v1/drain", `{"undo":true}`).want(t, 409, `{"error":"not draining"}`)
}

func TestBodyLimit(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	pad := func(n int) string { return `{"exit":true}` + strings.Repeat(" ", n-13) }
	b.ask(0, "POST", "/v1/drain", pad(64<<10)).want(t, 200, "ok")
	b.ask(0, "POST", "/v1/drain", pad(64<<10+1)).want(t, 413, "more than 65536 bytes")
	b.ask(0, "GET", "/healthz", pad(64<<10+1)).want(t, 200, "ok")
}

func TestGarbageInsteadOfHTTP(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	for _, junk := range []string{
		"\x00\x00\x00\x00\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"GET /healthz HTTP/1.1\r\n\r\n", // no Host
		"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
		"GET /" + strings.Repeat("x", 40_000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		c := b.dial(1)
		_, _ = io.WriteString(c, junk)
		if _, err := fmt.Fscan(c, new(string)); err == io.EOF {
			continue // closed without a word is fine too
		}
		_ = c.Close()
	}
	b.ask(1, "GET", "/healthz", "").want(t, 200, "ok")
}

func TestSlowHeadIsCutOff(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{Header: 100 * time.Millisecond, Conns: 2})
	for range 2 {
		slow := b.dial(1)
		_, _ = io.WriteString(slow, "GET /healthz HTTP/1.1\r\nHo")
	}
	// The port is full, the Unix socket is not; the port's turn comes when the slow ones are gone.
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
	b.ask(1, "GET", "/healthz", "").want(t, 200, "ok")
}

func TestSilentConnectionsAreCutOff(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{Header: 100 * time.Millisecond, Conns: 1})
	silent := b.dial(1)
	if n, err := silent.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %d, %v; want the end", n, err)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{Read: 100 * time.Millisecond})
	c := b.dial(0)
	_, _ = io.WriteString(c, "POST /v1/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\n{\"exit\"")
	b.read(c, "POST").want(t, 400, "")
}

func TestSlowReaderIsCutOff(t *testing.T) {
	big := admin.Status{Reason: strings.Repeat("x", 4<<20)}
	b := startBoth(t, &source{status: func() admin.Status { return big }}, admin.Limits{Write: 200 * time.Millisecond, Conns: 1})
	c := b.dial(0)
	_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok") // only one at a time: the slow one was dropped
}

func TestCloseDoesNotWaitForASlowClient(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{Grace: 50 * time.Millisecond})
	c := b.dial(1)
	_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\n")
	b.dial(0)
	begin := time.Now()
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	noneLeft(t)
}

func TestCloseLetsARequestFinish(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	b := startBoth(t, &source{status: func() admin.Status {
		close(inside)
		<-leave
		return admin.Status{ID: "finished"}
	}}, admin.Limits{})
	c := b.dial(0)
	_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
	<-inside
	closed := make(chan error)
	go func() { closed <- b.Close(context.Background()) }()
	close(leave)
	b.read(c, "GET").want(t, 200, "finished")
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

func TestAnswersAreNotCached(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	for _, path := range []string{"/healthz", "/v1/status", "/metrics", "/nothing"} {
		if h := b.ask(0, "GET", path, "").header; h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestAnswerThatDoesNotFitIntoJSON(t *testing.T) {
	b := startBoth(t, &source{status: func() admin.Status {
		return admin.Status{Started: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}
	}}, admin.Limits{})
	b.ask(0, "GET", "/v1/status", "").want(t, http.StatusInternalServerError, "internal error")
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
}

func FuzzDrain(f *testing.F) {
	for _, s := range []string{"", "{}", `{"within":"1h","exit":true}`, `{"undo":true}`, `{"a":1}`, "null", `{"within":"9999999h"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := admin.ParseDrain(b)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := admin.ParseDrain(out); err != nil || again != r {
			t.Fatalf("%+v became %s and then %+v, %v", r, out, again, err)
		}
	})
}
