package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The waits between tries: they double from the first to the last one, and half of each is left to chance, so that many
// Managers do not come back together.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
	longWait  = 30 * time.Second // the longest that is waited because the queue layer asks for it
)

// maxAnswer bounds what is read of an answer: 1,000 names and some.
const maxAnswer = 1 << 20

// RefusedError is why the queue layer did not take a message, and will not.
type RefusedError struct {
	Status int    // of HTTP
	Text   string // the queue layer's words
}

// Error tells the status and the queue layer's words.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("manager: queue layer refused it with status %d: %s", e.Status, e.Text)
}

// busyError is a failure that may pass.
type busyError struct {
	status     int
	text       string
	retryAfter time.Duration
}

func (e *busyError) Error() string {
	return fmt.Sprintf("queue layer answered with status %d: %s", e.status, e.text)
}

// run is the Sender's goroutine.
func (s *Sender) run() {
	defer close(s.done)
	defer s.http.CloseIdleConnections() // nothing of ours is left behind
	var batch []*posting
	for try := 0; ; try++ {
		more := s.fill(&batch)
		if len(batch) == 0 {
			if !more {
				return
			}
			<-s.wake
		}
		if batch = s.attempt(batch, try); len(batch) == 0 {
			try = -1
		}
	}
}

// fill adds to the messages of the next request as many as fit; more is false when there will be none later. A request that
// is tried again takes along what has come meanwhile, so that what waits behind it is given up in time too.
func (s *Sender) fill(batch *[]*posting) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := 0
	for _, p := range *batch {
		size += len(p.line)
	}
	n := 0
	for n < len(s.queue) && len(*batch) < maxPerRequest {
		p := s.queue[n]
		if size += len(p.line); size > maxRequestBytes && len(*batch) > 0 {
			break
		}
		*batch = append(*batch, p)
		n++
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return !s.closed
}

// attempt sends messages once, and waits if that failed. It returns those that have no result yet.
func (s *Sender) attempt(batch []*posting, try int) (rest []*posting) {
	if batch = s.expire(batch); len(batch) == 0 {
		return nil
	}
	if try > 0 {
		s.count.retries.Add(1)
	}
	ids, err := s.request(batch)
	var refused *RefusedError
	switch {
	case err == nil:
		s.why = ErrExpired
		s.count.written.Add(uint64(len(batch)))
		for i, p := range batch {
			s.finish(p, ids[i], nil)
		}
	case s.ctx.Err() != nil:
		s.count.dropped.Add(uint64(len(batch)))
		s.fail(batch, ErrStopped)
	case errors.As(err, &refused):
		s.refuse(batch, refused)
	default:
		s.why = fmt.Errorf("%w: %w", ErrExpired, err)
		s.pause(batch, try, err)
		return batch
	}
	return nil
}

// refuse ends what the queue layer does not want. One bad message has all of its request refused: the others are sent
// without it.
func (s *Sender) refuse(batch []*posting, why *RefusedError) {
	perMessage := why.Status == http.StatusBadRequest || why.Status == http.StatusRequestEntityTooLarge
	if n := len(batch); n > 1 && perMessage {
		for _, half := range [][]*posting{batch[:n/2], batch[n/2:]} {
			for try := 0; len(half) > 0; try++ {
				half = s.attempt(half, try)
			}
		}
		return
	}
	s.count.refused.Add(uint64(len(batch)))
	s.fail(batch, why)
}

// expire ends those whose time is over. It may be over before the first try, if others took so long.
func (s *Sender) expire(batch []*posting) (rest []*posting) {
	now := time.Now()
	for _, p := range batch {
		if now.Before(p.until) {
			rest = append(rest, p)
			continue
		}
		s.count.expired.Add(1)
		s.finish(p, "", s.why)
	}
	return rest
}

func (s *Sender) fail(batch []*posting, why error) {
	for _, p := range batch {
		s.finish(p, "", why)
	}
}

func (s *Sender) finish(p *posting, id string, err error) {
	s.mu.Lock()
	s.bytes -= len(p.line)
	s.mu.Unlock()
	if p.done != nil {
		p.done(id, err)
	}
}

// pause waits before the next try, but not beyond the time of any message.
func (s *Sender) pause(batch []*posting, try int, why error) {
	wait := min(firstWait<<min(try, 16), lastWait)
	wait = wait/2 + rand.N(wait/2+1)
	var busy *busyError
	if errors.As(why, &busy) {
		wait = max(wait, min(busy.retryAfter, longWait))
	}
	for _, p := range batch {
		wait = min(wait, time.Until(p.until))
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// request sends messages once. ids has a name for each of them.
func (s *Sender) request(batch []*posting) (ids []string, err error) {
	var body bytes.Buffer
	for _, p := range batch {
		body.Write(p.line)
	}
	ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	s.count.requests.Add(1)
	w, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(w.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return answered(w, b, len(batch))
}

// answered reads the answer to n messages.
func answered(w *http.Response, b []byte, n int) (ids []string, err error) {
	switch code := w.StatusCode; {
	case code == http.StatusOK:
		var answer struct {
			IDs []string `json:"ids"`
		}
		if err := json.Unmarshal(b, &answer); err != nil || len(answer.IDs) != n {
			return nil, fmt.Errorf("an answer to %d messages with %d ids: is that a queue layer?", n, len(answer.IDs))
		}
		return answer.IDs, nil
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		seconds, _ := strconv.ParseUint(w.Header.Get("Retry-After"), 10, 16)
		return nil, &busyError{code, words(b), time.Duration(seconds) * time.Second}
	default:
		return nil, &RefusedError{code, words(b)}
	}
}

// words is what an error answer says, in one line: {"error": "..."} or plain text.
func words(b []byte) string {
	const most = 300
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(b, &answer) == nil && answer.Error != "" {
		b = []byte(answer.Error)
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(b[:min(len(b), most)]), "?")), " ")
}
