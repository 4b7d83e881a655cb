package admin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/admin"
)

// news is a stream of events that tests write and a folk reads, with IDs from 1 on.
type news struct {
	mu     sync.Mutex
	events []admin.PresenceEvent // guarded by mu, and so is what follows
	err    error
	more   chan struct{} // closed by the next change
	asked  []string      // after which IDs
}

func newNews() *news { return &news{more: make(chan struct{})} }

func (n *news) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.more)
	n.more = make(chan struct{})
}

func (n *news) tell(event, user string) {
	n.change(func() {
		n.events = append(n.events, admin.PresenceEvent{
			ID: fmt.Sprint(len(n.events)+1, "-0"), At: time.Unix(1774, 0).UTC(), Event: event, User: user, Device: "phone", Gateway: "gw-1", Epoch: "7", Uniq: 3,
		})
	})
}

func (n *news) fail(err error) { n.change(func() { n.err = err }) }

func (n *news) read(ctx context.Context, after string, wait time.Duration) ([]admin.PresenceEvent, string, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	n.mu.Lock()
	n.asked = append(n.asked, after)
	from := len(n.events)
	if after != "$" {
		number, _, _ := strings.Cut(after, "-")
		from, _ = strconv.Atoi(number)
	}
	n.mu.Unlock()
	for {
		n.mu.Lock()
		events, err, more := n.events[from:], n.err, n.more
		n.mu.Unlock()
		next := fmt.Sprint(from+len(events), "-0")
		switch {
		case err != nil:
			return nil, "", err
		case len(events) > 0:
			return events, next, nil
		}
		select {
		case <-more:
		case <-late.C:
			return nil, next, nil
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
}

func (n *news) folk() *folk { return &folk{presence: n.read} }

// follower is the lines of one GET /v1/presence.
type follower struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

func (b *box) follow(i int, query string) *follower {
	b.t.Helper()
	c := b.dial(i)
	fmt.Fprintf(c, "GET /v1/presence%s HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer %s\r\n\r\n", query, token)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/x-ndjson" {
		b.t.Fatalf("%s, %v", r.Status, r.Header)
	}
	return &follower{b.t, c, bufio.NewReader(r.Body)}
}

// line is the next one that is not empty.
func (f *follower) line() string {
	f.t.Helper()
	for {
		l, err := f.lines.ReadString('\n')
		if err != nil {
			f.t.Fatalf("the stream ended: %v", err)
		}
		if l != "\n" {
			return l
		}
	}
}

func (f *follower) want(part string) {
	f.t.Helper()
	if l := f.line(); !strings.Contains(l, part) {
		f.t.Errorf("got %q, want %q", l, part)
	}
}

func TestPresence(t *testing.T) {
	n := newNews()
	n.tell("online", "41")
	b := startBoth(t, n.folk(), admin.Limits{})
	all, now, of42 := b.follow(0, "?after=0"), b.follow(1, ""), b.follow(0, "?user=42&after=$")
	n.tell("offline", "41")
	n.tell("online", "42")
	for _, want := range []string{`"event":"online","user":"41"`, `"event":"offline","user":"41"`, `"event":"online","user":"42"`} {
		all.want(want)
	}
	now.want(`{"id":"2-0","at":"1970-01-01T00:29:34Z","event":"offline","user":"41","device":"phone","gateway":"gw-1","epoch":"7","uniq":3}`)
	now.want(`"id":"3-0"`)
	of42.want(`"id":"3-0"`)
	again := b.follow(0, "?after=2-0")
	again.want(`"id":"3-0"`)
}

func TestPresenceQueries(t *testing.T) {
	b := startBoth(t, newNews().folk(), admin.Limits{})
	for query, want := range map[string]string{
		"?after=x":         `after: \"x\" is not the id of an event, 0 or $`,
		"?after=":          "after: ",
		"?after=1-2-3":     "after: ",
		"?after=%2B":       "after: ",
		"?users=42":        `unknown key \"users\": presence takes user and after`,
		"?user=42&user=43": "user stands there more than once",
		"?a=%zz":           "the query is malformed",
	} {
		b.ask(0, "GET", "/v1/presence"+query, "").want(t, 400, want)
	}
	b.ask(0, "POST", "/v1/presence", "").want(t, 405, "takes GET, HEAD")
	if a := b.ask(0, "HEAD", "/v1/presence", ""); a.code != 200 || a.body != "" {
		t.Errorf("HEAD: %+v", a)
	}
}

// TestPresenceGoesOn: a failing Source is told once, and nothing that happens meanwhile is lost.
func TestPresenceGoesOn(t *testing.T) {
	n := newNews()
	b := startBoth(t, n.folk(), admin.Limits{Source: quick})
	f := b.follow(0, "")
	n.tell("online", "41")
	f.want(`"user":"41"`)
	n.fail(errors.New("redis is away"))
	f.want(`{"error":"redis is away"}`)
	n.tell("offline", "41")
	n.fail(nil)
	f.want(`"event":"offline"`)
	n.fail(errors.New("redis is away again"))
	f.want(`{"error":"redis is away again"}`)
}

// TestPresenceOutlivesTheLimits: those of a request end no stream, and an idle one shows that it lives.
func TestPresenceOutlivesTheLimits(t *testing.T) {
	const limit = 500 * time.Millisecond // a busy machine may stand still for a good part of it
	n := newNews()
	b := startBoth(t, n.folk(), admin.Limits{Source: limit, Read: limit, Write: limit, Beat: 20 * time.Millisecond})
	f := b.follow(0, "")
	for begin := time.Now(); time.Since(begin) < 3*limit; {
		if l, err := f.lines.ReadString('\n'); err != nil || l != "\n" {
			t.Fatalf("%q, %v", l, err)
		}
	}
	n.tell("online", "41")
	f.want(`"user":"41"`)
}

func TestPresenceBound(t *testing.T) {
	n := newNews()
	b := startBoth(t, n.folk(), admin.Limits{})
	var followers []*follower
	for range admin.MaxWatcher {
		followers = append(followers, b.follow(0, ""))
	}
	b.ask(1, "GET", "/v1/presence", "", "Authorization: Bearer "+token).want(t, 503, "8 others follow presence already")
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
	_ = followers[0].conn.Close()
	// It is noticed without an event.
	eventually(t, func() bool { return b.ask(0, "HEAD", "/v1/presence", "").code == 200 })
	b.follow(1, "")
}

// TestPresenceHangs: a Source that does not come back costs a follower its stream and one goroutine.
func TestPresenceHangs(t *testing.T) {
	leave := make(chan struct{})
	calls := 0
	src := &folk{presence: func(context.Context, string, time.Duration) ([]admin.PresenceEvent, string, error) {
		if calls++; calls > 1 {
			<-leave
		}
		return nil, "1-0", nil
	}}
	b := startBoth(t, src, admin.Limits{Source: quick})
	f := b.follow(0, "")
	if rest, err := io.ReadAll(f.lines); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("%q, %v", rest, err)
	}
	if n := src.most.Load(); n != 1 {
		t.Errorf("%d goroutines in the source", n)
	}
	close(leave)
}

// TestPresenceSlowFollower is cut off when it takes nothing for the time of an answer.
func TestPresenceSlowFollower(t *testing.T) {
	src := &folk{presence: func(ctx context.Context, _ string, _ time.Duration) ([]admin.PresenceEvent, string, error) {
		events := make([]admin.PresenceEvent, 1000)
		for i := range events {
			events[i].User = strings.Repeat("x", 1000)
		}
		return events, "1-0", nil
	}}
	b := startBoth(t, src, admin.Limits{Write: quick, Conns: 1})
	c := b.dial(0)
	_, _ = io.WriteString(c, "GET /v1/presence HTTP/1.1\r\nHost: box\r\n\r\n")
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok") // only one at a time: the slow one was dropped
}

// TestPresenceAtTheEnd: followers do not hold the end up.
func TestPresenceAtTheEnd(t *testing.T) {
	b := startBoth(t, newNews().folk(), admin.Limits{Grace: time.Minute})
	f := b.follow(0, "")
	begin := time.Now()
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	if rest, err := io.ReadAll(f.lines); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestWatch(t *testing.T) {
	n := newNews()
	n.tell("online", "41")
	b := startBoth(t, n.folk(), admin.Limits{Source: quick})
	enough := errors.New("enough")
	for _, c := range []*admin.Client{dialled(t, b.Addresses()[0], ""), dialled(t, b.Addresses()[1], token)} {
		var got []admin.PresenceEvent
		err := c.Watch(t.Context(), admin.WatchRequest{User: "41", After: "0"}, func(e admin.PresenceEvent) error {
			if got = append(got, e); len(got) == 2 {
				return enough
			}
			n.fail(errors.New("redis is away"))
			return nil
		})
		n.fail(nil)
		if !errors.Is(err, enough) || len(got) != 2 || got[0].User != "41" || got[0].ID != "1-0" || got[1].Error != "redis is away" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	noneLeftOfClients(t)
}

// TestWatchEnds: with the context, with the daemon, and when that says nothing any more.
func TestWatchEnds(t *testing.T) {
	n := newNews()
	n.tell("online", "41")
	b := startBoth(t, n.folk(), admin.Limits{Beat: time.Hour})
	c := dialled(t, b.Addresses()[0], "")
	ctx, cancel := context.WithCancel(t.Context())
	all := admin.WatchRequest{After: "0"}
	if err := c.Watch(ctx, all, func(admin.PresenceEvent) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("with its context: %v", err)
	}
	c.SetSilence(quick)
	err := c.Watch(t.Context(), all, func(admin.PresenceEvent) error { return nil })
	wantError(t, err, "edged at "+c.Name()+" has fallen silent")
	err = dialled(t, pretender(t, nil), "").Watch(expired(t), all, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at one who never answers: %v", err)
	}
	c.SetSilence(time.Minute)
	closed := make(chan error, 1)
	err = c.Watch(t.Context(), all, func(admin.PresenceEvent) error {
		go func() { closed <- b.Close(context.Background()) }()
		return nil
	})
	wantError(t, err, "edged at "+c.Name()+" has ended the stream")
	if err := <-closed; err != nil {
		t.Error(err)
	}
	wantError(t, c.Watch(t.Context(), all, nil), "no edged answers at "+c.Name())
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), quick)
	t.Cleanup(cancel)
	return ctx
}

func TestWatchMeetsSomethingElse(t *testing.T) {
	addr := pretender(t, []byte("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<html>\n"))
	wantError(t, dialled(t, addr, "").Watch(t.Context(), admin.WatchRequest{}, nil), "what answers at "+addr+" is not edged")
	addr = pretender(t, []byte("HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 2<<20)))
	if err := dialled(t, addr, "").Watch(t.Context(), admin.WatchRequest{}, nil); err == nil {
		t.Error("an endless line is taken")
	}
}
