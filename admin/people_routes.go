package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// devicesPath stands before a user, which may hold slashes itself.
const devicesPath = "/v1/users/"

// Bounds of what goes on at a time.
const (
	maxAsking  = 16 // questions and pushes in the Source
	maxWatcher = 8  // who follow presence; each has a connection to Redis of its own
)

// people is the Server's side of a Source that has People.
type people struct {
	// Static after construction.
	of      People          // nil: it has not
	asking  chan struct{}   // holds one for each goroutine in the Source
	streams context.Context // ends when the Server begins to close
	end     context.CancelFunc

	watchers atomic.Int32
}

func newPeople(base context.Context, src Source) *people {
	p := &people{asking: make(chan struct{}, maxAsking)}
	p.of, _ = src.(People)
	p.streams, p.end = context.WithCancel(base)
	return p
}

// askPeople carries one question or order to the Source. As an order that was given is not taken back when the client leaves,
// f's context is not the request's. Where the Source hangs, so many goroutines wait for it and further requests are refused.
func askPeople[T any](ctx context.Context, s *Server, what string, f func(ctx context.Context) (T, error)) (T, error) {
	began := time.Now()
	full := time.NewTimer(s.limits.source)
	defer full.Stop()
	var none T
	select {
	case s.people.asking <- struct{}{}:
	case <-ctx.Done():
		return none, ctx.Err()
	case <-full.C:
		return none, &BusyError{What: what, For: time.Since(began)}
	}
	order, cancel := context.WithTimeout(s.base, s.limits.order())
	landed := func(*flight[T]) {
		cancel()
		<-s.people.asking
	}
	return launch(what, &s.working, func() (T, error) { return f(order) }, landed).wait(ctx, s.limits.source)
}

func (s *Server) servePush(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	p, err := parsePush(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	done, err := askPeople(r.Context(), s, "Push", func(ctx context.Context) (Pushed, error) { return s.people.of.Push(ctx, p) })
	if err != nil {
		s.fail(w, err)
		return
	}
	if done.Gateways == nil {
		done.Gateways = []string{}
	}
	reply(w, http.StatusOK, done)
}

func (s *Server) serveUsers(w http.ResponseWriter, r *http.Request) {
	users, err := askPeople(r.Context(), s, "Users", s.people.of.Users)
	if err != nil {
		s.fail(w, err)
		return
	}
	reply(w, http.StatusOK, users)
}

func (s *Server) serveDevices(w http.ResponseWriter, r *http.Request) {
	user := strings.TrimPrefix(r.URL.Path, devicesPath)
	if _, err := ParseTarget(string(ToUser) + ":" + user); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("%q is not a user", user))
		return
	}
	devices, err := askPeople(r.Context(), s, "Devices", func(ctx context.Context) ([]Device, error) { return s.people.of.Devices(ctx, user) })
	if err != nil {
		s.fail(w, err)
		return
	}
	if devices == nil {
		devices = []Device{}
	}
	reply(w, http.StatusOK, devices)
}
