package manager_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edged/sdk/manager"
)

// line is a message as the queue layer reads it.
type line struct {
	To      string `json:"to"`
	Payload []byte `json:"payload"`
	MsgID   string `json:"msg_id"`
	Ack     string `json:"ack"`
	Offline bool   `json:"offline"`
	TTLMs   int    `json:"ttl_ms"`
	Gzip    bool   `json:"gzip"`
}

// queueLayer plays one, as the transport of a Sender: answer says what becomes of each request.
type queueLayer struct {
	t      *testing.T
	answer func(try int, lines []line) (status int, header http.Header, body string, err error)

	mu       sync.Mutex
	requests [][]line // guarded by mu
}

// got are the requests so far.
func (q *queueLayer) got() [][]line {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.requests)
}

func (q *queueLayer) RoundTrip(r *http.Request) (*http.Response, error) {
	var lines []line
	for scan := bufio.NewScanner(r.Body); scan.Scan(); {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			q.t.Errorf("%q: %v", scan.Bytes(), err)
		}
		lines = append(lines, l)
	}
	q.mu.Lock()
	q.requests = append(q.requests, lines)
	try := len(q.requests)
	q.mu.Unlock()
	status, header, body, err := q.answer(try, lines)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// written is the answer that takes all lines; their IDs are their MsgIDs with a dash before.
func written(_ int, lines []line) (int, http.Header, string, error) {
	ids := make([]string, len(lines))
	for i, l := range lines {
		ids[i] = "-" + l.MsgID
	}
	b, _ := json.Marshal(map[string]any{"ids": ids})
	return http.StatusOK, nil, string(b), nil
}

// sent is a Sender to that queue layer, and what became of its messages.
type sent struct {
	*manager.Sender
	t       *testing.T
	results []string
}

func (q *queueLayer) sender(o manager.SenderOptions) *sent {
	q.t.Helper()
	o.URL, o.HTTP = "http://queue.example", &http.Client{Transport: q}
	s, err := manager.NewSender(o)
	if err != nil {
		q.t.Fatal(err)
	}
	return &sent{Sender: s, t: q.t}
}

func (s *sent) post(id string, ttl time.Duration) {
	s.t.Helper()
	m := manager.Message{To: manager.ToUser("42"), Push: manager.Push{MsgID: id, Payload: []byte(id), TTL: ttl}, Offline: true}
	err := s.Post(m, func(name string, err error) {
		if err != nil {
			name = err.Error()
		}
		s.results = append(s.results, id+": "+name)
	})
	if err != nil {
		s.t.Errorf("%s: %v", id, err)
	}
}

// close ends the Sender and compares what became of the messages.
func (s *sent) close(want ...string) {
	s.t.Helper()
	if err := s.Close(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	if !slices.Equal(s.results, want) {
		s.t.Errorf("results\n%s\nwant\n%s", strings.Join(s.results, "\n"), strings.Join(want, "\n"))
	}
	st := s.Stats()
	if st.Posted != st.Written+st.Refused+st.Expired+st.Dropped || int(st.Posted) != len(want) {
		s.t.Errorf("%+v do not add up", st)
	}
}

func (q *queueLayer) sizes() (n []int) {
	for _, r := range q.got() {
		n = append(n, len(r))
	}
	return n
}

// Over a real connection: where requests go, with what, and what a message looks like.
func TestSenderRequest(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { testSenderRequest(t, network) })
	}
}

func testSenderRequest(t *testing.T, network string) {
	before := runtime.NumGoroutine()
	var got bytes.Buffer
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "queue.sock")
	}
	lis, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(&got, "%s %s %s %s ", r.Method, r.URL, r.Header.Get("Authorization"), r.Header.Get("Content-Type"))
		_, _ = io.Copy(&got, r.Body)
		_, _ = io.WriteString(w, `{"ids":["1-0"]}`)
	}))
	_ = srv.Listener.Close()
	srv.Listener = lis
	srv.Start()
	url := srv.URL
	if network == "unix" {
		url = "unix:" + address
	}
	s, err := manager.NewSender(manager.SenderOptions{URL: url, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	id, err := s.Send(ctx, manager.Message{To: manager.ToDevice("42", "a/b"), Push: manager.Push{
		Payload: []byte{0xff, 'x'}, MsgID: "m", Ack: manager.AckRequired, AllowGzip: true, TTL: 1500 * time.Microsecond}})
	if id != "1-0" || err != nil {
		t.Errorf("Send: %q, %v", id, err)
	}
	want := `POST /v1/messages Bearer secret application/x-ndjson {"to":"device:42/a/b","payload":"/3g=","msg_id":"m",` +
		`"ack":"required","offline":false,"ttl_ms":2,"gzip":true}` + "\n"
	if got.String() != want {
		t.Errorf("got  %s\nwant %s", got.String(), want)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.Send(ctx, manager.Message{To: manager.ToEveryone()}); !errors.Is(err, manager.ErrStopped) {
		t.Errorf("after Close: %v", err)
	}
	srv.Close()
	settle(t, before)
}

// What comes while a request is under way goes together in the next ones, in order, at most 1,000 at a time.
func TestSenderGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		q := &queueLayer{t: t, answer: func(try int, lines []line) (int, http.Header, string, error) {
			if try == 1 {
				<-gate
			}
			return written(try, lines)
		}}
		s := q.sender(manager.SenderOptions{})
		var want []string
		for i := range 2501 {
			id := fmt.Sprint(i)
			s.post(id, 0)
			want = append(want, id+": -"+id)
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		close(gate)
		s.close(want...)
		if got := q.sizes(); !slices.Equal(got, []int{1, 1000, 1000, 500}) {
			t.Errorf("requests of %v messages", got)
		}
		if l := q.got()[3][499]; l.To != "user:42" || string(l.Payload) != "2500" || !l.Offline || l.Ack != "none" {
			t.Errorf("%+v", l)
		}
	})
}

// What a request did not bring there is sent again, with the same names and in the same order.
func TestSenderRepeats(t *testing.T) {
	broken := errors.New("connection reset")
	for _, c := range []struct {
		name   string
		answer func(try int, lines []line) (int, http.Header, string, error)
		tries  int
		after  time.Duration // at least, from the first to the last try
	}{
		{"broken", func(int, []line) (int, http.Header, string, error) { return 0, nil, "", broken }, 4, 100 * time.Millisecond},
		{"busy", func(int, []line) (int, http.Header, string, error) { return 503, nil, "full", nil }, 4, 100 * time.Millisecond},
		{"busy until", func(int, []line) (int, http.Header, string, error) {
			return 503, http.Header{"Retry-After": {"7"}}, "full", nil
		}, 3, 14 * time.Second},
		{"too many", func(int, []line) (int, http.Header, string, error) { return 429, nil, "", nil }, 4, 100 * time.Millisecond},
		{"no answer", func(int, []line) (int, http.Header, string, error) { return 200, nil, "<html>", nil }, 4, 100 * time.Millisecond},
		{"half an answer", func(int, []line) (int, http.Header, string, error) { return 200, nil, `{"ids":[]}`, nil }, 4, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &queueLayer{t: t, answer: func(try int, lines []line) (int, http.Header, string, error) {
					if try < c.tries {
						return c.answer(try, lines)
					}
					return written(try, lines)
				}}
				began := time.Now()
				s := q.sender(manager.SenderOptions{})
				s.post("", 0)
				synctest.Wait()
				s.post("b", 0)
				id := q.got()[0][0].MsgID
				s.close(": -"+id, "b: -b")
				if took := time.Since(began); took < c.after || took > 30*time.Second {
					t.Errorf("it took %v", took)
				}
				for i, r := range q.got() {
					if r[0].MsgID != id || id == "" || i > 0 && (len(r) != 2 || r[1].MsgID != "b") {
						t.Errorf("try %d of %v", i+1, r)
					}
				}
				if st := s.Stats(); int(st.Requests) != c.tries || int(st.Retries) != c.tries-1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestSenderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		q := &queueLayer{t: t, answer: func(try int, lines []line) (int, http.Header, string, error) {
			if time.Since(began) <= time.Minute {
				return 503, nil, `{"error":"no room"}`, nil
			}
			return written(try, lines)
		}}
		s := q.sender(manager.SenderOptions{Patience: time.Minute})
		s.post("a", 0)
		s.post("short", 3*time.Second)
		s.post("long", time.Hour)
		synctest.Wait()
		time.Sleep(30 * time.Second)
		s.post("b", 0)
		const why = "manager: given up: queue layer answered with status 503: no room"
		s.close("short: "+why, "a: "+why, "long: "+why, "b: -b")
		if took := time.Since(began); took > 66*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// One bad message costs only itself; a wrong token or address costs all, at once.
func TestSenderRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		q := &queueLayer{t: t}
		q.answer = func(try int, lines []line) (int, http.Header, string, error) {
			<-gate
			bad := slices.IndexFunc(lines, func(l line) bool { return strings.HasPrefix(l.MsgID, "bad") })
			if bad >= 0 {
				return 400, nil, fmt.Sprintf(`{"error":"line %d:\n to"}`, bad+1), nil
			}
			return written(try, lines)
		}
		s := q.sender(manager.SenderOptions{})
		var want []string
		for i := range 20 {
			id := fmt.Sprint(i)
			if i%7 == 3 {
				id = "bad" + id
				want = append(want, id+": manager: queue layer refused it with status 400: line 1: to")
			} else {
				want = append(want, id+": -"+id)
			}
			s.post(id, 0)
		}
		synctest.Wait()
		close(gate)
		s.close(want...)
		if st := s.Stats(); st.Refused != 3 || st.Retries != 0 {
			t.Errorf("%+v", st)
		}

		q = &queueLayer{t: t, answer: func(int, []line) (int, http.Header, string, error) { return 401, nil, strings.Repeat("who? ", 99), nil }}
		s = q.sender(manager.SenderOptions{})
		_, err := s.Send(t.Context(), manager.Message{To: manager.ToRoom("r")})
		var refused *manager.RefusedError
		if !errors.As(err, &refused) || refused.Status != 401 || len(refused.Text) > 300 {
			t.Errorf("%v", err)
		}
		_ = s.Close(t.Context())
	})
}

// Close waits as long as its context says; then the rest is dropped.
func TestSenderClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queueLayer{t: t, answer: func(int, []line) (int, http.Header, string, error) { return 500, nil, "", nil }}
		s := q.sender(manager.SenderOptions{Patience: time.Hour})
		s.post("a", 0)
		synctest.Wait()
		s.post("b", 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.close("a: manager: stopped", "b: manager: stopped")

		ctx, cancel = context.WithCancel(t.Context())
		s = q.sender(manager.SenderOptions{})
		cancel()
		if _, err := s.Send(ctx, manager.Message{To: manager.ToUser("42")}); !errors.Is(err, context.Canceled) {
			t.Errorf("Send: %v", err)
		}
		_ = s.Close(ctx)
	})
}

func TestSenderIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		q := &queueLayer{t: t, answer: func(try int, lines []line) (int, http.Header, string, error) { <-gate; return written(try, lines) }}
		s := q.sender(manager.SenderOptions{KeepBytes: 1000})
		big := manager.Message{To: manager.ToUser("42"), Push: manager.Push{Payload: make([]byte, 5000)}}
		for i, want := range []error{nil, manager.ErrFull, manager.ErrFull} { // one that is too large for the bound goes alone
			if err := s.Post(big, nil); !errors.Is(err, want) {
				t.Errorf("message %d: %v, want %v", i, err, want)
			}
			synctest.Wait()
		}
		close(gate)
		synctest.Wait()
		if err := s.Post(big, nil); err != nil {
			t.Error(err)
		}
		_ = s.Close(t.Context())
	})
}

func TestBadMessages(t *testing.T) {
	q := &queueLayer{t: t, answer: written}
	s := q.sender(manager.SenderOptions{})
	user := manager.ToUser("42")
	for name, c := range map[string]struct {
		m    manager.Message
		want error
	}{
		"no target":       {manager.Message{}, manager.ErrTarget},
		"no user":         {manager.Message{To: manager.ToUser("")}, manager.ErrTarget},
		"no device":       {manager.Message{To: manager.ToDevice("42", "")}, manager.ErrTarget},
		"ambiguous":       {manager.Message{To: manager.ToDevice("4/2", "a")}, manager.ErrTarget},
		"no room":         {manager.Message{To: manager.ToRoom("")}, manager.ErrTarget},
		"stored for room": {manager.Message{To: manager.ToRoom("r"), Offline: true}, manager.ErrTarget},
		"stored for all":  {manager.Message{To: manager.ToEveryone(), Offline: true}, manager.ErrTarget},
		"user":            {manager.Message{To: manager.ToUser("\xff")}, manager.ErrText},
		"msg id":          {manager.Message{To: user, Push: manager.Push{MsgID: "\xff"}}, manager.ErrText},
		"long msg id":     {manager.Message{To: user, Push: manager.Push{MsgID: strings.Repeat("x", 256)}}, manager.ErrTooLarge},
		"payload":         {manager.Message{To: user, Push: manager.Push{Payload: make([]byte, 2<<20)}}, manager.ErrTooLarge},
		"ack":             {manager.Message{To: user, Push: manager.Push{Ack: 3}}, manager.ErrAck},
	} {
		if err := s.Post(c.m, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := s.Close(t.Context()); err != nil || len(q.got()) != 0 {
		t.Errorf("%v, %v", err, q.got())
	}
	for _, bad := range []string{"", "queue.example", "unix:", "ftp://x", "http://", "http://\x7f"} {
		if _, err := manager.NewSender(manager.SenderOptions{URL: bad}); err == nil {
			t.Errorf("URL %q was taken", bad)
		}
	}
}

// Whatever goes wrong, each message has one result, those that are written are written in order, and none twice for who
// looks at MsgIDs.
func TestSenderRandomly(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd, fate := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // each of them is one goroutine's
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]bool{}
		var store []string
		q := &queueLayer{t: t}
		q.answer = func(try int, lines []line) (int, http.Header, string, error) {
			time.Sleep(time.Duration(fate.IntN(50)) * time.Millisecond)
			dice := fate.IntN(10)
			if dice < 3 {
				return 503, nil, "", nil
			}
			if slices.ContainsFunc(lines, func(l line) bool { return strings.HasPrefix(l.MsgID, "bad") }) {
				return 400, nil, "bad", nil
			}
			for _, l := range lines {
				if !seen[l.MsgID] {
					seen[l.MsgID] = true
					store = append(store, l.MsgID)
				}
			}
			if dice < 5 {
				return 0, nil, "", io.ErrUnexpectedEOF // written, and the answer got lost
			}
			return written(try, lines)
		}
		s := q.sender(manager.SenderOptions{Patience: time.Hour})
		var good, results []string
		for i := range 1000 {
			id := fmt.Sprintf("%04d", i)
			want := id + ": -" + id
			if rnd.IntN(50) == 0 {
				id = "bad" + id
				want = id + ": manager: queue layer refused it with status 400: bad"
			} else {
				good = append(good, id)
			}
			results = append(results, want)
			s.post(id, 0)
			if rnd.IntN(20) == 0 {
				time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
			}
		}
		s.close(results...)
		if !slices.Equal(store, good) {
			t.Errorf("%d messages in the store, want %d, in their order", len(store), len(good))
		}
		t.Logf("%+v", s.Stats())
	})
}
