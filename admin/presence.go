package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"
)

// streamID is what an entry of a Redis stream is called, and the two words for before and behind all of them.
var streamID = regexp.MustCompile(`^(\$|0|[0-9]{1,20}(-[0-9]{1,20})?)$`)

// WatchRequest says what to follow.
type WatchRequest struct {
	User  string // only this one's devices; empty: all
	After string // the event to go on from; empty: what comes from now on
}

func (r WatchRequest) query() string {
	v := url.Values{}
	if r.User != "" {
		v.Set("user", r.User)
	}
	if r.After != "" {
		v.Set("after", r.After)
	}
	return v.Encode()
}

// parseWatch reads the query of GET /v1/presence.
func parseWatch(query string) (WatchRequest, error) {
	r := WatchRequest{After: "$"}
	values, err := url.ParseQuery(query)
	if err != nil {
		return r, errors.New("the query is malformed")
	}
	for key, v := range values {
		if len(v) != 1 {
			return r, fmt.Errorf("%s stands there more than once", key)
		}
		switch key {
		case "user":
			r.User = v[0]
		case "after":
			r.After = v[0]
		default:
			return r, fmt.Errorf("unknown key %q: presence takes user and after", key)
		}
	}
	if !streamID.MatchString(r.After) {
		return r, fmt.Errorf("after: %q is not the id of an event, 0 or $", r.After)
	}
	return r, nil
}

// servePresence answers with a line of JSON for each event, until the client leaves or the Server closes.
func (s *Server) servePresence(w http.ResponseWriter, r *http.Request) {
	q, err := parseWatch(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if s.people.watchers.Add(1) > maxWatcher {
		s.people.watchers.Add(-1)
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%d others follow presence already", maxWatcher))
		return
	}
	defer s.people.watchers.Add(-1)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.people.streams, cancel)()
	st := &stream{s: s, w: w, to: http.NewResponseController(w), user: q.User, after: q.After}
	events, err := st.read(ctx, 0) // so that "$" is this moment, and that it works at all is known before the answer begins
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		return
	}
	_ = st.to.SetReadDeadline(time.Time{}) // that of the request, which would end it
	if st.send(events, true) == nil {
		st.run(ctx)
	}
}

// stream is one follower of presence.
type stream struct {
	s     *Server
	w     http.ResponseWriter
	to    *http.ResponseController
	user  string
	after string
	last  time.Time // when something was written
	lines bytes.Buffer
}

// read waits for events, at most for what leaves the Source time for its answer.
func (st *stream) read(ctx context.Context, wait time.Duration) ([]PresenceEvent, error) {
	type page struct {
		events []PresenceEvent
		next   string
	}
	p, err := askStream(ctx, st.s, func(order context.Context) (p page, err error) {
		p.events, p.next, err = st.s.people.of.Presence(order, st.after, wait)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	st.after = p.next
	return p.events, nil
}

// askStream is askPeople for who has a place among the followers already. What waits for events may be left when the client
// goes.
func askStream[T any](ctx context.Context, s *Server, f func(ctx context.Context) (T, error)) (T, error) {
	order, cancel := context.WithTimeout(ctx, s.limits.order())
	landed := func(*flight[T]) { cancel() }
	return launch("Presence", &s.working, func() (T, error) { return f(order) }, landed).wait(ctx, s.limits.source)
}

// run sends what comes. While the Source fails it says so once and goes on asking: what happens meanwhile is read later.
func (st *stream) run(ctx context.Context) {
	wait := st.s.limits.source / 2
	failing := false
	for {
		events, err := st.read(ctx, wait)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failing = false
			err = st.send(events, false)
		case errors.As(err, new(*BusyError)), errors.As(err, new(*PanicError)):
			st.s.report(err) // it may hang for ever: no further goroutine is sent after this one
			return
		case !failing:
			failing = true
			err = st.fail(err)
		default:
			err = st.send(nil, false)
		}
		if err != nil {
			return
		}
		if failing {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// send writes the events that are wanted; an empty line where there was nothing for a while, or where it is the first.
func (st *stream) send(events []PresenceEvent, first bool) error {
	st.lines.Reset()
	for i := range events {
		if st.user == "" || events[i].User == st.user {
			st.line(&events[i])
		}
	}
	if st.lines.Len() == 0 {
		if !first && time.Since(st.last) < st.s.limits.beat {
			return nil
		}
		st.lines.WriteByte('\n')
	}
	return st.flush()
}

func (st *stream) fail(err error) error {
	st.lines.Reset()
	st.line(refusal{err.Error()})
	return st.flush()
}

func (st *stream) line(e any) {
	enc := json.NewEncoder(&st.lines)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		panic(fmt.Sprintf("admin: an event does not fit into JSON: %v", err))
	}
}

// flush writes the lines. A follower that does not read is cut off like any other client.
func (st *stream) flush() error {
	st.last = time.Now()
	if err := st.to.SetWriteDeadline(st.last.Add(st.s.limits.write)); err != nil {
		return err
	}
	if _, err := st.w.Write(st.lines.Bytes()); err != nil {
		return err
	}
	return st.to.Flush()
}
