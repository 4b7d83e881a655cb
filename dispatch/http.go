package dispatch

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// addressesPath is the only path that there is.
const addressesPath = "/v1/addresses"

// allowed are the methods that it takes.
const allowed = "GET, HEAD, OPTIONS"

// errNobody is the answer of a service that neither its configuration nor any gateway has named a load balancer to.
var errNobody = errors.New("no load balancer is known")

// Header values that all answers share: net/http reads them only.
var (
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	typeJSON  = []string{"application/json"}
	typeText  = []string{"text/plain; charset=utf-8"}
	anyOrigin = []string{"*"}
	byOrigin  = []string{"Origin"}
	allow     = []string{allowed}
)

// Handler returns what answers clients: GET /v1/addresses.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	s.config.allowOrigin(h, r)
	code := s.route(w, r)
	s.count.add(code)
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.Debug("answered", "client", s.proxies.client(r), "method", r.Method, "path", r.URL.Path, "query", r.URL.RawQuery, "code", code)
	}
}

// route answers and returns the status.
func (s *Service) route(w http.ResponseWriter, r *http.Request) int {
	if r.URL.Path != addressesPath {
		return refuse(w, http.StatusNotFound, errors.New("there is only "+addressesPath))
	}
	switch r.Method {
	case http.MethodGet:
		return s.answer(w, r)
	case http.MethodHead:
		return s.probe(w, r)
	case http.MethodOptions:
		w.Header()["Allow"] = allow
		s.config.preflight(w.Header(), r)
		w.WriteHeader(http.StatusNoContent)
		return http.StatusNoContent
	}
	w.Header()["Allow"] = allow
	return refuse(w, http.StatusMethodNotAllowed, errors.New(addressesPath+" takes "+allowed))
}

// answer is the list, in the order in which this client shall try it.
func (s *Service) answer(w http.ResponseWriter, r *http.Request) int {
	n, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse(w, http.StatusBadRequest, err)
	}
	l := sheets.Get().(*sheet)
	defer sheets.Put(l)
	now := s.now()
	v := l.order(&s.order, now, n)
	if v.roster == nil {
		return s.refuseAll(w)
	}
	h := w.Header()
	if wantsText(r.Header) {
		h["Content-Type"] = typeText
		l.writeText(v, n)
	} else {
		h["Content-Type"] = typeJSON
		l.writeJSON(v, n, s.tails[tail(v.isStale(now), v.degraded)])
	}
	h["Content-Length"] = []string{strconv.Itoa(len(l.body))}
	_, _ = w.Write(l.body) // the client may have left
	return http.StatusOK
}

// probe answers HEAD: as GET would, but nobody is sent anywhere, and so nobody counts as sent.
func (s *Service) probe(w http.ResponseWriter, r *http.Request) int {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return refuse(w, http.StatusBadRequest, err)
	}
	if s.view().roster == nil {
		return s.refuseAll(w)
	}
	w.Header()["Content-Type"] = typeJSON
	if wantsText(r.Header) {
		w.Header()["Content-Type"] = typeText
	}
	w.WriteHeader(http.StatusOK)
	return http.StatusOK
}

func (s *Service) refuseAll(w http.ResponseWriter) int {
	seconds := max((s.config.Refresh+time.Second-1)/time.Second, 1)
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	return refuse(w, http.StatusServiceUnavailable, errNobody)
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, code int, err error) int {
	w.Header()["Content-Type"] = typeJSON
	body := append(appendJSON([]byte(`{"error":`), err.Error()), "}\n"...)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
	return code
}

func (s *Service) view() *view {
	s.order.mu.Lock()
	defer s.order.mu.Unlock()
	return s.order.view
}

func (v *view) isStale(now time.Duration) bool { return v.stale || v.expires > 0 && now >= v.expires }

// sheet is the memory that one answer takes. It belongs to the request until it goes back into the pool.
type sheet struct {
	places []int
	body   []byte
}

var sheets = sync.Pool{New: func() any { return new(sheet) }}

// order puts the first n load balancers at most into the order of this answer.
func (l *sheet) order(o *ordering, now time.Duration, n int) *view {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.view
	if v.roster == nil {
		return v
	}
	n = min(n, v.size())
	l.places = o.ranker.OrderFirst(now, o.random, n, l.places)
	// The idle ones follow in uniform order: the first steps of a shuffle.
	ranked := len(l.places)
	for i := range v.idle {
		l.places = append(l.places, len(v.serving)+i)
	}
	for rest := l.places[ranked:]; ranked < n; ranked++ {
		i := o.random.IntN(len(rest))
		rest[0], rest[i] = rest[i], rest[0]
		rest = rest[1:]
	}
	l.places = l.places[:n]
	v.face(l.places[0]).first.Add(1)
	return v
}

// writeJSON makes the answer of which the tail is ready. It has n addresses at most.
func (l *sheet) writeJSON(v *view, n int, tail []byte) {
	b := append(l.body[:0], `{"addresses":[`...)
	for i, place := range l.places {
		f := v.face(place)
		if i > 0 {
			b = append(b, ',')
		}
		if n <= f.addresses {
			b = append(b, f.json[:f.jsonEnd[n-1]]...)
			break
		}
		b = append(b, f.json...)
		n -= f.addresses
	}
	l.body = append(b, tail...)
}

// writeText makes an answer of lines.
func (l *sheet) writeText(v *view, n int) {
	b := l.body[:0]
	for _, place := range l.places {
		f := v.face(place)
		if n <= f.addresses {
			b = append(b, f.text[:f.textEnd[n-1]]...)
			break
		}
		b = append(b, f.text...)
		n -= f.addresses
	}
	l.body = b
}

// tails are the four ends that an answer can have.
func (c *Config) tails() (all [4][]byte) {
	for _, stale := range []bool{false, true} {
		for _, degraded := range []bool{false, true} {
			b := []byte(`],"ttl_s":`)
			b = appendDuration(b, c.TTL, time.Second)
			b = appendDuration(append(b, `,"backoff":{"base_ms":`...), c.Backoff.Base, time.Millisecond)
			b = appendDuration(append(b, `,"max_ms":`...), c.Backoff.Max, time.Millisecond)
			b = strconv.AppendFloat(append(b, `,"factor":`...), c.Backoff.Factor, 'f', -1, 64)
			b = strconv.AppendFloat(append(b, `,"jitter":`...), c.Backoff.Jitter, 'f', -1, 64)
			b = appendDuration(append(b, `},"heartbeat_ms":`...), c.Heartbeat, time.Millisecond)
			b = strconv.AppendBool(append(b, `,"stale":`...), stale)
			b = strconv.AppendBool(append(b, `,"degraded":`...), degraded)
			all[tail(stale, degraded)] = append(b, "}\n"...)
		}
	}
	return all
}

// tail is the number of an end.
func tail(stale, degraded bool) (i int) {
	if stale {
		i = 1
	}
	if degraded {
		i += 2
	}
	return i
}

func appendDuration(b []byte, d, unit time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d)/float64(unit), 'f', -1, 64)
}

// statuses are those that a Service answers with.
var statuses = [...]int{
	http.StatusOK, http.StatusNoContent, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusServiceUnavailable,
}

// tally counts answers by status.
type tally [len(statuses)]atomic.Uint64

func (t *tally) add(code int) {
	for i, c := range statuses {
		if c == code {
			t[i].Add(1)
			return
		}
	}
	panic("dispatch: an answer of status " + strconv.Itoa(code))
}

func (t *tally) read() map[int]uint64 {
	m := make(map[int]uint64, len(statuses))
	for i, c := range statuses {
		m[c] = t[i].Load()
	}
	return m
}
