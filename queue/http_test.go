package queue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/queue"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

const token = "0123456789abcdef"

// poster is a server with a client of each of its addresses.
type poster struct {
	t       testing.TB
	handler *queue.Handler
	server  *queue.Server
	tcp     string
	socket  string
}

func serve(t testing.TB, client *redisconn.Client, change ...func(*queue.Config)) *poster {
	t.Helper()
	p := &poster{t: t, socket: filepath.Join(t.TempDir(), "q.sock")}
	c := queue.Default()
	c.Listen, c.Token, c.PayloadMax = []string{"127.0.0.1:0", "unix:" + p.socket}, token, payloadMax
	for _, f := range change {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.handler, err = queue.NewHandler(queue.NewWriter(client, c), c); err == nil {
		p.server, err = queue.NewServer(c, p.handler, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		t.Fatal(err)
	}
	p.tcp = p.server.Addresses()[0]
	p.server.Serve()
	t.Cleanup(func() {
		if err := p.server.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	IDs    []string `json:"ids"`
	Error  string   `json:"error"`
}

// post asks by the Unix socket.
func (p *poster) post(body string) answer {
	p.t.Helper()
	return p.ask("POST", "http://box/v1/messages", body, "")
}

// ask asks by the Unix socket if the URL's host is "box", with an Authorization if that is not empty.
func (p *poster) ask(method, url, body, authorization string) (a answer) {
	p.t.Helper()
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	if strings.HasPrefix(url, "http://box/") {
		client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		}}
	}
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && method != "HEAD" {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		p.t.Fatalf("%q: %v", text, err)
	}
	a.code, a.header = resp.StatusCode, resp.Header
	return a
}

// TestPost: what is posted is in the stream, whole and in order, under the IDs that are answered; what is wrong writes nothing.
func TestPost(t *testing.T) {
	s := redistest.Start(t)
	p := serve(t, dial(t, s.Addr))
	a := p.post(`{"to":"user:42","text":"hi"}` + "\n" + `{"to":"room:r","payload":"AP8=","ack":"sampled","gzip":false,"msg_id":"m","ttl_ms":5}` + "\n" +
		`{"to":"user:43","text":"","offline":true}`)
	if a.code != 200 || len(a.IDs) != 3 {
		t.Fatalf("%+v", a)
	}
	want := a.IDs[0] + "\nto\nuser:42\npayload\nhi\n" +
		a.IDs[1] + "\nto\nroom:r\npayload\n\x00\xff\nmsg_id\nm\nack\nsampled\nttl_ms\n5\ngzip\n0\n" + a.IDs[2] + "\nto\nuser:43\npayload\n\noffline\n1"
	if got := s.Do("XRANGE", "edged:in", "-", "+"); got != want {
		t.Errorf("the stream holds\n%q\nwant\n%q", got, want)
	}
	for _, tt := range []struct {
		method, path, body string
		code               int
		text               string
	}{
		{"POST", "/v1/messages", `{"to":"user:42","text":"hi"}` + "\n" + `{"to":"user:42"}`, 400, "line 2: payload: missing"},
		{"POST", "/v1/messages", "", 400, "there is no message"},
		{"POST", "/v1/messages", `{"to":"user:42","text":"` + strings.Repeat("x", 8<<20) + `"}`, 413, "the body has more than 8388608 bytes"},
		{"GET", "/v1/messages", "", 405, "takes POST"},
		{"HEAD", "/v1/messages", "", 405, ""},
		{"POST", "/v1/message", "", 404, "there is only /v1/messages"},
	} {
		a := p.ask(tt.method, "http://box"+tt.path, tt.body, "")
		if a.code != tt.code || !strings.Contains(a.Error, tt.text) || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %.50q: %+v, want %d %q", tt.method, tt.path, tt.body, a, tt.code, tt.text)
		}
	}
	if n := s.Do("XLEN", "edged:in"); n != "3" {
		t.Errorf("%s entries after refusals", n)
	}
	if codes, messages := p.handler.Answers(); codes[200] != 1 || codes[400] != 2 || codes[413] != 1 || messages != 3 {
		t.Errorf("counted %v, %d", codes, messages)
	}
}

// TestPostLarge: a thousand messages go in together.
func TestPostLarge(t *testing.T) {
	s := redistest.Start(t)
	p := serve(t, dial(t, s.Addr))
	var body strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&body, "{\"to\":\"user:%d\",\"text\":%q,\"msg_id\":\"%d\",\"ack\":\"required\",\"offline\":true,\"ttl_ms\":1,\"gzip\":false}\n", i, strings.Repeat("x", payloadMax), i)
	}
	if a := p.post(body.String()); a.code != 200 || len(a.IDs) != 1000 {
		t.Fatalf("%d %s", a.code, a.Error)
	}
	if n := s.Do("XLEN", "edged:in"); n != "1000" {
		t.Errorf("%s entries", n)
	}
}

// TestPostFull: a stream gets as long as the settings allow and no longer, by requests that go in whole.
func TestPostFull(t *testing.T) {
	s := redistest.Start(t)
	p := serve(t, dial(t, s.Addr), func(c *queue.Config) { c.MaxLen = 5 })
	const one = `{"to":"user:42","text":"hi"}`
	if a := p.post(one + one + one); a.code != 200 {
		t.Fatalf("%+v", a)
	}
	if a := p.post(one + one + one); a.code != 503 || a.header.Get("Retry-After") != "5" || !strings.Contains(a.Error, "the queue is full: 5 entries") {
		t.Errorf("%+v", a)
	}
	if a := p.post(one + one); a.code != 200 {
		t.Errorf("%+v", a)
	}
	s.Do("DEL", "edged:in")
	if a := p.post(one); a.code != 200 {
		t.Errorf("%+v", a)
	}
}

// TestPostFaults: while Redis is away, or has something else there, writers are told to come again.
func TestPostFaults(t *testing.T) {
	s := redistest.Start(t)
	p := serve(t, dial(t, s.Addr))
	const one = `{"to":"user:42","text":"hi"}`
	s.Do("SET", "edged:in", "text")
	if a := p.post(one); a.code != 503 || a.header.Get("Retry-After") != "1" || !strings.Contains(a.Error, "write edged:in: ") {
		t.Errorf("%+v", a)
	}
	s.Kill()
	if a := p.post(one); a.code != 503 || a.header.Get("Retry-After") != "1" {
		t.Errorf("%+v", a)
	}
	s.Restart()
	eventually(t, "it is taken again", func() bool { return p.post(one).code == 200 })
}

// TestToken: TCP wants the token, the Unix socket has its mode.
func TestToken(t *testing.T) {
	s := redistest.Start(t)
	p := serve(t, dial(t, s.Addr))
	const one = `{"to":"user:42","text":"hi"}`
	for authorization, code := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer " + token: 200, "bearer " + token + " ": 200, "Basic " + token: 401, "Bearer " + token + "x": 401, "Bearer 0": 401,
	} {
		if a := p.ask("POST", "http://"+p.tcp+"/v1/messages", one, authorization); a.code != code {
			t.Errorf("%q: %+v, want %d", authorization, a, code)
		}
	}
	if a := p.ask("GET", "http://"+p.tcp+"/", "", ""); a.code != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%+v", a)
	}
	if info, err := os.Stat(p.socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestServer: what cannot be bound is one error, what a dead process left is no hindrance.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	stale, file := filepath.Join(dir, "stale"), filepath.Join(dir, "file")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := queue.NewServer(queue.Config{Listen: []string{"unix:" + stale}}, http.NotFoundHandler(), log)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"unix:" + stale, "unix:" + file, "unix:" + dir + "/none/q.sock"} {
		if _, err := queue.NewServer(queue.Config{Listen: []string{"unix:" + dir + "/other", a}}, http.NotFoundHandler(), log); err == nil || !strings.HasPrefix(err.Error(), "listen "+a) {
			t.Errorf("%s: error %v", a, err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestSlowBody: whoever does not send what he promised holds one connection, and not for ever; the others go on.
func TestSlowBody(t *testing.T) {
	s := redistest.Start(t)
	p := serve(t, dial(t, s.Addr))
	for range 20 {
		c, err := net.DialTimeout("unix", p.socket, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	}
	if a := p.post(`{"to":"user:42","text":"hi"}`); a.code != 200 {
		t.Errorf("%+v", a)
	}
}
