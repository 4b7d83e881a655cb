package dispatch_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/dispatch"
)

// one is a service of one load balancer with an address of each family, and one behind it in any answer.
func one(t testing.TB, change ...func(*dispatch.Options)) *service {
	t.Helper()
	f := &fleets{}
	f.put(gate("a", "sh-1", 0.5))
	s := run(t, f, []dispatch.SLB{slb("sh-1", "203.0.113.7:7000", "[2001:db8::7]:7000"), slb("zz", "gw.example.com:443")}, change...)
	<-s.Began()
	return s
}

// TestAnswer pins the whole of an answer, in both forms.
func TestAnswer(t *testing.T) {
	s := one(t)
	a := s.ask("GET", "/v1/addresses")
	const want = `{"addresses":[{"address":"203.0.113.7:7000","slb":"sh-1"},{"address":"[2001:db8::7]:7000","slb":"sh-1"},{"address":"gw.example.com:443","slb":"zz"}],` +
		`"ttl_s":30,"backoff":{"base_ms":1000,"max_ms":300000,"factor":1.8,"jitter":0.3},"heartbeat_ms":25000,"stale":false,"degraded":false}` + "\n"
	if a.body != want {
		t.Errorf("got\n%swant\n%s", a.body, want)
	}
	header := http.Header{
		"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"},
		"Content-Length": {fmt.Sprint(len(want))},
	}
	if fmt.Sprint(a.header) != fmt.Sprint(header) {
		t.Errorf("header %v, want %v", a.header, header)
	}
	a = s.ask("GET", "/v1/addresses", "Accept: text/plain")
	if want := "203.0.113.7:7000\n[2001:db8::7]:7000\ngw.example.com:443\n"; a.body != want || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s: %q", a.header.Get("Content-Type"), a.body)
	}
}

// TestAnswerSettings: what the configuration says to clients arrives, with a name that needs care.
func TestAnswerSettings(t *testing.T) {
	f := &fleets{}
	name := `a"<&>` + "\u2028é"
	s := run(t, f, []dispatch.SLB{slb(`a"<&>é`, "203.0.113.7:7000")}, func(o *dispatch.Options) {
		o.Config.TTL, o.Config.Heartbeat = 1500*time.Millisecond, 2*time.Minute
		o.Config.Backoff = dispatch.Backoff{Base: 1500 * time.Microsecond, Max: time.Hour, Factor: 2, Jitter: 0}
	})
	<-s.Began()
	a := s.list()
	for _, part := range []string{`"ttl_s":1.5,`, `"base_ms":1.5,"max_ms":3600000,"factor":2,"jitter":0}`, `"heartbeat_ms":120000,`, `"slb":"a\"<&>é"`} {
		if !strings.Contains(a.body, part) {
			t.Errorf("no %s in %s", part, a.body)
		}
	}
	if _, err := dispatch.NewService(dispatch.Options{Config: dispatch.Default(), SLBs: []dispatch.SLB{slb(name, "203.0.113.7:7000")}}); err == nil {
		t.Error("a name with a line separator is accepted")
	}
}

func TestCount(t *testing.T) {
	s := one(t)
	for _, tt := range []struct {
		query string
		want  int    // addresses; 0: refused
		err   string // that begins so
	}{
		{"", 3, ""}, {"?", 3, ""}, {"?&", 3, ""},
		{"?n=1", 1, ""}, {"?n=2", 2, ""}, {"?n=3", 3, ""}, {"?n=4", 3, ""}, {"?n=10000", 3, ""}, {"?n=%32", 2, ""}, {"?n=02&", 2, ""}, {"?%6e=1", 1, ""},
		{"?n=0", 0, `n: "0" is not a number from 1 to 10000`},
		{"?n=10001", 0, `n: "10001" is not`}, {"?n=99999999999999999999999", 0, `n: "99999999999999999999999" is not`},
		{"?n=-1", 0, `n: "-1" is not`}, {"?n=+1", 0, `n: " 1" is not`}, {"?n=%2b1", 0, `n: "+1" is not`}, {"?n=1.0", 0, `n: "1.0"`}, {"?n=0x1", 0, `n: "0x1"`}, {"?n=1_0", 0, `n: "1_0"`},
		{"?n=", 0, `n: "" is not`}, {"?n", 0, `n: "" is not`}, {"?n=three", 0, `n: "three" is not`}, {"?n=1&n=2", 0, "n: stands there twice"},
		{"?n=" + strings.Repeat("9", 5000), 0, `n: "999`},
		{"?m=1", 0, `"m": unknown key`}, {"?n=1&limit=2", 0, `"limit": unknown key`}, {"?N=1", 0, `"N": unknown key`}, {"?n%5B%5D=1", 0, `"n[]": unknown key`},
		{"?%00%1b[31m=1", 0, `"\x00\x1b[31m": unknown key`}, {"?=1", 0, `"": unknown key`},
		{"?n=1;n=2", 0, "the query cannot be read: "}, {"?n=%zz", 0, "the query cannot be read: "},
	} {
		t.Run(tt.query[:min(len(tt.query), 30)], func(t *testing.T) {
			r := httptest.NewRequest("GET", "/v1/addresses", nil)
			r.URL.RawQuery = strings.TrimPrefix(tt.query, "?")
			a := s.request(r)
			if tt.want > 0 {
				if a.code != 200 || len(a.Addresses) != tt.want {
					t.Errorf("%d with %d addresses, want %d: %s", a.code, len(a.Addresses), tt.want, a.body)
				}
				return
			}
			if a.code != 400 || !strings.HasPrefix(a.Error, tt.err) || len(a.body) > 300 {
				t.Errorf("%d %q, want 400 %q", a.code, a.Error, tt.err)
			}
			if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", a.header)
			}
		})
	}
}

// TestCountOfAddresses: an answer that is cut off within a load balancer is whole all the same.
func TestCountOfAddresses(t *testing.T) {
	s := one(t)
	for n, want := range []string{1: "203.0.113.7:7000\n", 2: "203.0.113.7:7000\n[2001:db8::7]:7000\n", 3: "203.0.113.7:7000\n[2001:db8::7]:7000\ngw.example.com:443\n"} {
		if n == 0 {
			continue
		}
		if got := s.ask("GET", fmt.Sprintf("/v1/addresses?n=%d", n), "Accept: text/plain").body; got != want {
			t.Errorf("n=%d: %q", n, got)
		}
		var lines string
		for _, e := range s.ask("GET", fmt.Sprintf("/v1/addresses?n=%d", n)).Addresses {
			lines += e.Address + "\n"
		}
		if lines != want {
			t.Errorf("n=%d: %q in JSON", n, lines)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	s := one(t)
	for _, tt := range []struct {
		method, target string
		code           int
		part           string // of the body
	}{
		{"GET", "/v1/addresses", 200, `{"addresses":[`},
		{"HEAD", "/v1/addresses", 200, ""},
		{"HEAD", "/v1/addresses?n=x", 400, "n: "},
		{"OPTIONS", "/v1/addresses", 204, ""},
		{"OPTIONS", "/v1/addresses?m=1", 204, ""},
		{"POST", "/v1/addresses", 405, `{"error":"/v1/addresses takes GET, HEAD, OPTIONS"}`},
		{"DELETE", "/v1/addresses", 405, "error"},
		{"BREW", "/v1/addresses", 405, "error"},
		{"GET", "/", 404, `{"error":"there is only /v1/addresses"}`},
		{"GET", "/v1/addresses/", 404, "error"},
		{"GET", "/v1", 404, "error"},
		{"GET", "/V1/addresses", 404, "error"},
		{"GET", "/metrics", 404, "error"},
		{"POST", "/healthz", 404, "error"},
		{"OPTIONS", "/nothing", 404, "error"},
	} {
		a := s.ask(tt.method, tt.target)
		if a.code != tt.code || !strings.Contains(a.body, tt.part) {
			t.Errorf("%s %s: %d %q, want %d with %q", tt.method, tt.target, a.code, a.body, tt.code, tt.part)
		}
		if allow := a.header.Get("Allow"); (tt.code == 405 || tt.code == 204) != (allow == "GET, HEAD, OPTIONS") {
			t.Errorf("%s %s: Allow %q", tt.method, tt.target, allow)
		}
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: Cache-Control %q", tt.method, tt.target, a.header.Get("Cache-Control"))
		}
	}
	st := s.Stats()
	for code, want := range map[int]uint64{200: 2, 204: 2, 400: 1, 404: 7, 405: 3, 503: 0} {
		if st.Answers[code] != want {
			t.Errorf("%d answers of status %d, want %d", st.Answers[code], code, want)
		}
	}
	if n := st.Balancers[0].First; n != 1 {
		t.Errorf("%d first places: a HEAD sends nobody anywhere", n)
	}
}

func TestAccept(t *testing.T) {
	s := one(t)
	for _, tt := range []struct {
		accept string
		text   bool
	}{
		{"", false}, {"*/*", false}, {"application/json", false}, {"text/plain", true},
		{"TEXT/Plain; charset=utf-8", true}, {"text/*", true}, {"text/plain;q=0", false}, {"text/plain;q=0.5", true},
		{"text/plain, */*", true}, {"text/plain, */*;q=0.01", true}, {"text/plain;q=0.5, */*", false},
		{"application/json, text/plain, */*", false}, {"application/json;q=0.5, text/plain", true}, {"text/plain, application/json;q=0.9", true},
		{"application/*, text/plain;q=0.9", false}, {"text/*;q=0.9, text/plain;q=0, application/json;q=0.1", false},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false},
		{"image/png", false}, {"text/plain;q=high", false}, {"text/plain;q=2", false}, {";;;,,,q=", false},
	} {
		a := s.ask("GET", "/v1/addresses", "Accept: "+tt.accept)
		if got := a.header.Get("Content-Type") == "text/plain; charset=utf-8"; a.code != 200 || got != tt.text {
			t.Errorf("Accept: %s: %d %s", tt.accept, a.code, a.header.Get("Content-Type"))
		}
		if h := s.ask("HEAD", "/v1/addresses", "Accept: "+tt.accept); h.header.Get("Content-Type") != a.header.Get("Content-Type") {
			t.Errorf("Accept: %s: HEAD says %s", tt.accept, h.header.Get("Content-Type"))
		}
	}
	if a := s.ask("GET", "/v1/addresses", "Accept: text/html", "Accept: text/plain"); strings.HasPrefix(a.body, "{") {
		t.Error("the second line of Accept is not read")
	}
}

func TestOrigins(t *testing.T) {
	const page, other = "https://shop.example.com", "https://evil.example.com"
	for _, tt := range []struct {
		origins []string
		origin  string
		want    string // Access-Control-Allow-Origin
	}{
		{nil, page, ""}, {nil, "", ""},
		{[]string{"*"}, page, "*"}, {[]string{"*"}, "", "*"}, {[]string{"*"}, "null", "*"},
		{[]string{"http://a.example.com:8080", page}, page, page}, {[]string{page}, other, ""}, {[]string{page}, "", ""}, {[]string{page}, "null", ""},
	} {
		s := one(t, func(o *dispatch.Options) { o.Config.Origins = tt.origins })
		var head []string
		if tt.origin != "" {
			head = append(head, "Origin: "+tt.origin)
		}
		for _, target := range []string{"/v1/addresses", "/v1/addresses?n=0", "/nothing"} {
			a := s.ask("GET", target, head...)
			if got := a.header.Get("Access-Control-Allow-Origin"); got != tt.want {
				t.Errorf("%v, %s: %s allows %q, want %q", tt.origins, tt.origin, target, got, tt.want)
			}
			if listed := len(tt.origins) > 0 && tt.origins[0] != "*"; listed != (a.header.Get("Vary") == "Origin") {
				t.Errorf("%v: Vary %q", tt.origins, a.header.Get("Vary"))
			}
		}
		p := s.ask("OPTIONS", "/v1/addresses", append(head, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-app")...)
		methods, headers := p.header.Get("Access-Control-Allow-Methods"), p.header.Get("Access-Control-Allow-Headers")
		if p.code != 204 || (tt.want != "") != (methods == "GET, HEAD, OPTIONS" && headers == "*" && p.header.Get("Access-Control-Max-Age") == "3600") {
			t.Errorf("%v, %s: preflight %d %v", tt.origins, tt.origin, p.code, p.header)
		}
	}
}

// TestClientAddress: who asked is taken from a header only if a trusted proxy has written it.
func TestClientAddress(t *testing.T) {
	for _, tt := range []struct{ remote, forwarded, want string }{
		{"198.51.100.9:1234", "", "198.51.100.9"},
		{"198.51.100.9:1234", "192.0.2.1", "198.51.100.9"},
		{"10.1.2.3:1234", "", "10.1.2.3"},
		{"10.1.2.3:1234", "192.0.2.1", "192.0.2.1"},
		{"10.1.2.3:1234", "203.0.113.66, 192.0.2.1", "192.0.2.1"},
		{"10.1.2.3:1234", "192.0.2.1, 10.9.9.9", "192.0.2.1"},
		{"10.1.2.3:1234", "192.0.2.1,[2001:db8::5]:443", "192.0.2.1"},
		{"10.1.2.3:1234", "192.0.2.1:5555, 10.9.9.9:80", "192.0.2.1"},
		{"10.1.2.3:1234", "192.0.2.1, rubbish, 10.9.9.9", "10.9.9.9"},
		{"10.1.2.3:1234", "10.8.8.8, 10.9.9.9", "10.8.8.8"},
		{"10.1.2.3:1234", strings.Repeat("10.0.0.1,", 3000), "10.1.2.3"},
		{"[::ffff:10.1.2.3]:1234", "192.0.2.1", "192.0.2.1"},
		{"[2001:db8::5]:1234", "2001:db8:1::1", "2001:db8:1::1"},
		{"[2001:db8::6]:1234", "2001:db8:1::1", "2001:db8::6"},
		{"@", "192.0.2.1", "192.0.2.1"},
		{"", "", "unix"},
	} {
		log := &book{}
		s := one(t, func(o *dispatch.Options) {
			o.Config.TrustedProxies, o.Log = []string{"10.0.0.0/8", "2001:db8::5"}, log.debugLog()
		})
		r := httptest.NewRequest("GET", "/v1/addresses?n=1", nil)
		r.RemoteAddr = tt.remote
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		s.request(r)
		if got := log.lines("msg=answered client=" + tt.want + " method=GET path=/v1/addresses query=\"n=1\" code=200"); len(got) != 1 {
			t.Errorf("%s, %s: want %s, got %q", tt.remote, tt.forwarded, tt.want, log.lines("answered"))
		}
	}
}

// TestAnswersDuringReadings: answers and readings at the same time give whole answers; the race detector looks on.
func TestAnswersDuringReadings(t *testing.T) {
	f := &fleets{}
	all, slbs := row(40, 0.5)
	f.put(all...)
	s := run(t, f, slbs, func(o *dispatch.Options) { o.Config.Refresh = 100 * time.Millisecond })
	<-s.Began()
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for i := range 300 {
				names := s.list().sorted()
				if len(slices.Compact(names)) != 40 {
					t.Errorf("answer names %d", len(names))
				}
				g := all[(w*300+i)%40]
				f.put(g)
				f.says(g.ID, []string{dispatch.StateDraining, dispatch.StateUp}[i%2])
				s.Stats()
			}
		})
	}
	work.Wait()
}

// FuzzRequest: no query and no header make the handler panic, answer anything but its statuses, or name anybody twice.
func FuzzRequest(f *testing.F) {
	for _, q := range []string{"", "n=3", "n=0", "n=1&n=1", "m", "n=%zz", "n=1;2", "&&=", "n=10000"} {
		f.Add(q, "text/plain, */*;q=0.1", "10.0.0.1, x", "https://a.example")
	}
	s := one(f, func(o *dispatch.Options) {
		o.Config.TrustedProxies, o.Config.Origins, o.Log = []string{"192.0.2.0/24"}, []string{"https://a.example"}, (&book{}).debugLog()
	})
	f.Fuzz(func(t *testing.T, query, accept, forwarded, origin string) {
		r := httptest.NewRequest("GET", "/v1/addresses", nil)
		r.URL.RawQuery = query
		r.Header["Accept"], r.Header["X-Forwarded-For"], r.Header["Origin"] = []string{accept}, []string{forwarded}, []string{origin}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		body := w.Body.String()
		switch w.Code {
		case 200:
			if !strings.Contains(body, "203.0.113.7:7000") || strings.Count(body, "203.0.113.7:7000") > 1 {
				t.Errorf("%q: %s", query, body)
			}
		case 400:
			if !strings.HasPrefix(body, `{"error":"`) || len(body) > 1000 {
				t.Errorf("%q: %s", query, body)
			}
		default:
			t.Errorf("%q: status %d", query, w.Code)
		}
	})
}

// TestGuardsRemember: the guards' memory is one for all requests.
func TestGuardsRemember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{live: 1}
		all, slbs := row(50, 0.2)
		all[7].Availability = 1
		f.put(all...)
		s := run(t, f, slbs)
		pass(500 * time.Millisecond)
		for range 5000 {
			s.ask("GET", "/v1/addresses?n=1")
			time.Sleep(200 * time.Microsecond)
		}
		for _, b := range s.Stats().Balancers {
			// By the rule alone the empty one would have 80 %; the cap leaves it ten times its fair share.
			if b.Name == "sh-7" && (b.First < 500 || b.First > 1300) {
				t.Errorf("the empty one was first %d times of 5,000", b.First)
			}
		}
	})
}
