package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Reloader is a Source whose process can be replaced by a fresh one that goes on with its links.
type Reloader interface {
	// Reload replaces the process and returns when another one serves; this one leaves when the answer is out. With an
	// error, which is one sentence, it serves as before. It takes as long as it takes, and bounds that itself.
	Reload(ctx context.Context) (Reloaded, error)
}

// Reloaded is what a reload did.
type Reloaded struct {
	PID    int           // of the process that serves now
	Bytes  int           // that were handed over beside the files
	Check  time.Duration // the new binary took to prove itself, while everything went on
	Paused time.Duration // in which nobody was accepted
	Frozen time.Duration // of this, in which the links stood still
}

// reloadedJSON is a Reloaded on the wire: durations are strings there.
type reloadedJSON struct {
	PID    int    `json:"pid"`
	Bytes  int    `json:"state_bytes"`
	Check  string `json:"check"`
	Paused string `json:"paused"`
	Frozen string `json:"frozen"`
}

// MarshalJSON writes the form in which POST /v1/reload answers.
func (r Reloaded) MarshalJSON() ([]byte, error) {
	return json.Marshal(reloadedJSON{r.PID, r.Bytes, r.Check.String(), r.Paused.String(), r.Frozen.String()})
}

// UnmarshalJSON reads that form.
func (r *Reloaded) UnmarshalJSON(b []byte) error {
	var w reloadedJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*r = Reloaded{PID: w.PID, Bytes: w.Bytes}
	var errs []error
	for _, d := range []struct {
		to   *time.Duration
		text string
	}{{&r.Check, w.Check}, {&r.Paused, w.Paused}, {&r.Frozen, w.Frozen}} {
		v, err := time.ParseDuration(d.text)
		*d.to = v
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// String says it to an operator.
func (r Reloaded) String() string {
	tenth := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("process %d serves; links stood still for %v, accepting for %v", r.PID, tenth(r.Frozen), tenth(r.Paused))
}

// serveReload answers when it is done, which may take longer than any other answer.
func (s *Server) serveReload(w http.ResponseWriter, r *http.Request) {
	if body, ok := readBody(w, r); !ok {
		return
	} else if len(body) > 0 {
		refuse(w, http.StatusBadRequest, "a reload takes nothing")
		return
	}
	limits := http.NewResponseController(w) // where they cannot be lifted they end the wait, not the reload
	_ = errors.Join(limits.SetReadDeadline(time.Time{}), limits.SetWriteDeadline(time.Time{}))
	f := func() (Reloaded, error) {
		done, err := s.reloader.Reload(s.base)
		if err != nil {
			err = &refusedError{err}
		}
		return done, err
	}
	done, err := launch("Reload", &s.working, f, func(*flight[Reloaded]) {}).wait(r.Context(), reloadLimit)
	if err != nil {
		s.fail(w, err)
		return
	}
	reply(w, http.StatusOK, done)
}

// reloadLimit is longer than any reload takes.
const reloadLimit = 10 * time.Minute

// lookAgain is how often a Client looks for the process that took over.
const lookAgain = 20 * time.Millisecond

// ErrStartedAnew says that the gateway was started anew instead of handed over.
var ErrStartedAnew = errors.New("the gateway has been started anew: its links are gone")

// Reload has the process replaced and returns when another one serves.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	before, err := c.Status(ctx)
	if err != nil {
		return Reloaded{}, err
	}
	b, err := c.request(ctx, http.MethodPost, "/v1/reload", nil)
	var no *RefusalError
	switch {
	case err == nil:
		var done Reloaded
		if err := json.Unmarshal(b, &done); err != nil {
			return Reloaded{}, fmt.Errorf("what answers at %s is not edged: %w", c.name(), err)
		}
		return done, nil
	case errors.As(err, &no), ctx.Err() != nil:
		return Reloaded{}, err
	}
	return c.succeeded(ctx, &before, err)
}

// succeeded waits for the process that took over from one that ended without an answer, as it does where its program is
// replaced in place.
func (c *Client) succeeded(ctx context.Context, before *Status, lost error) (Reloaded, error) {
	for {
		now, err := c.Status(ctx)
		switch {
		case err == nil && now.Epoch != before.Epoch:
			return Reloaded{}, fmt.Errorf("edged at %s: %w", c.name(), ErrStartedAnew)
		case err == nil && now.Reloads > before.Reloads && now.Reload != nil:
			return *now.Reload, nil
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return Reloaded{}, lost
		}
	}
}
