package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"
)

// route is one path: the method it takes (GET takes HEAD too), who needs no
// token, and what is done.
type route struct {
	method string
	open   access
	serve  func(http.ResponseWriter, *http.Request)
	body   int64 // bytes at most; 0: maxBody
}

// table is all paths. One that ends in a slash stands for all that begin with
// it and go on.
func (s *Server) table() map[string]route {
	t := map[string]route{
		"/healthz":   {method: http.MethodGet, open: anybody, serve: s.serveHealthy},
		"/readyz":    {method: http.MethodGet, open: anybody, serve: s.serveReady},
		"/metrics":   {method: http.MethodGet, open: loopback, serve: s.serveMetrics},
		"/v1/status": {method: http.MethodGet, serve: s.serveStatus},
		"/v1/drain":  {method: http.MethodPost, serve: s.serveDrain},
	}
	if s.reloader != nil {
		t["/v1/reload"] = route{method: http.MethodPost, serve: s.serveReload}
	}
	if s.people.of != nil {
		t["/v1/push"] = route{method: http.MethodPost, serve: s.servePush, body: maxPush}
		t["/v1/users"] = route{method: http.MethodGet, serve: s.serveUsers}
		t[devicesPath] = route{method: http.MethodGet, serve: s.serveDevices}
		t["/v1/presence"] = route{method: http.MethodGet, serve: s.servePresence}
	}
	return t
}

// route finds the one of a path.
func (s *Server) route(path string) (route, bool) {
	t, known := s.routes[path]
	if known && !strings.HasSuffix(path, "/") {
		return t, true
	}
	if rest, ok := strings.CutPrefix(path, devicesPath); ok && rest != "" {
		t, known = s.routes[devicesPath]
		return t, known
	}
	return route{}, false
}

// ServeHTTP answers one request, of any listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("admin handler panicked", "path", r.URL.Path, "value", v, "stack", string(debug.Stack()))
			refuse(w, http.StatusInternalServerError, "internal error")
		}
	}()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	t, known := s.route(r.URL.Path)
	r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(t.body, maxBody))
	switch {
	case !s.allowed(t.open, r):
		s.refuseStranger(w)
	case !known:
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no %s", r.URL.Path))
	case !t.takes(r.Method):
		w.Header().Set("Allow", t.allow())
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s", r.URL.Path, t.allow()))
	default:
		t.serve(w, r)
	}
}

func (t route) takes(method string) bool {
	return method == t.method || t.method == http.MethodGet && method == http.MethodHead
}

func (t route) allow() string {
	if t.method == http.MethodGet {
		return "GET, HEAD"
	}
	return t.method
}

func (s *Server) refuseStranger(w http.ResponseWriter) {
	if s.token == "" {
		refuse(w, http.StatusForbidden, "no token is set: only /healthz, /readyz and, from this box, /metrics are served here")
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	refuse(w, http.StatusUnauthorized, "a token is needed here: Authorization: Bearer TOKEN")
}

func (s *Server) serveHealthy(w http.ResponseWriter, r *http.Request) {
	s.probe(w, r, &s.calls.healthy)
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	s.probe(w, r, &s.calls.ready)
}

// probe answers for load balancers and supervisors: "ok", or 503 and the reason.
func (s *Server) probe(w http.ResponseWriter, r *http.Request, c *shared[struct{}]) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := c.do(r.Context()); err != nil {
		s.report(err)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, err.Error()+"\n")
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	st, err := s.calls.status.do(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	reply(w, http.StatusOK, st)
}

// serveMetrics builds the whole answer before the first byte goes out, so that
// a scrape is right or an error, never a half.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	metrics, err := s.calls.metrics.do(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	form := expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)
	families, err := gather(s.runtime, metrics)
	var body []byte
	if err == nil {
		body, err = encode(families, form)
	}
	if err != nil {
		s.log.Error("metrics refused", "err", err)
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", string(form))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func (s *Server) serveDrain(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	d, err := parseDrain(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := s.drain(r.Context(), d); err != nil {
		s.fail(w, err)
		return
	}
	s.log.Info("drain ordered", "within", d.Within, "undo", d.Undo, "exit", d.Exit)
	reply(w, http.StatusOK, struct {
		OK bool `json:"ok"`
	}{true})
}

// refusedError is the Source's own no to an order.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// drain carries one order to the Source. Unlike a question it is not shared: a
// second one while the first hangs is refused. An order once given is not taken
// back when the client leaves, so its context is not the request's.
func (s *Server) drain(ctx context.Context, d DrainRequest) error {
	if !s.draining.CompareAndSwap(false, true) {
		return &refusedError{errors.New("the drain request before this one is still at work")}
	}
	order, cancel := context.WithTimeout(s.base, s.limits.source)
	f := func() (struct{}, error) {
		if err := s.src.Drain(order, d); err != nil {
			return struct{}{}, &refusedError{err}
		}
		return struct{}{}, nil
	}
	landed := func(*flight[struct{}]) {
		cancel()
		s.draining.Store(false)
	}
	_, err := launch("Drain", &s.working, f, landed).wait(ctx, s.limits.source)
	return err
}

// report logs the faults of a Source. That it is not healthy or not ready is an
// answer and no fault.
func (s *Server) report(err error) {
	var p *PanicError
	var b *BusyError
	switch {
	case errors.As(err, &p):
		s.log.Error("admin source panicked", "method", p.What, "value", p.Value, "stack", string(p.Stack))
	case errors.As(err, &b):
		s.log.Warn("admin source does not answer", "method", b.What, "for", b.For)
	}
}

// fail answers with an error of the Source.
func (s *Server) fail(w http.ResponseWriter, err error) {
	s.report(err)
	code := http.StatusServiceUnavailable // hung, or we are closing
	var p *PanicError
	var no *refusedError
	var bad *InvalidError
	var away *NotOnlineError
	switch {
	case errors.As(err, &p):
		code = http.StatusInternalServerError
	case errors.As(err, &no):
		code = http.StatusConflict
	case errors.As(err, &bad):
		code = http.StatusBadRequest
	case errors.As(err, &away):
		code = http.StatusNotFound
	}
	refuse(w, code, err.Error())
}

// refusal is the body of every answer that is not a success.
type refusal struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, code int, reason string) {
	reply(w, code, refusal{reason})
}

func reply(w http.ResponseWriter, code int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("admin: an answer of type %T does not fit into JSON: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes())
}
