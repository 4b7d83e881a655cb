package client

import (
	"errors"
	"fmt"
	"time"

	"edged/wire"
)

var (
	// ErrFull means that Options.QueueBytes wait to be sent already; this message does not.
	ErrFull = errors.New("client: send queue is full")
	// ErrTooLong means that a message is longer than the gateway takes.
	ErrTooLong = errors.New("client: message longer than max_frame")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("client: closed")
	// ErrLost means that a request was sent, or begun to be, and the link broke before its answer came: whether
	// it was carried out is not known.
	ErrLost = errors.New("client: link broke before the answer")
	// ErrSilent means that nothing was heard for the idle timeout although the gateway was asked.
	ErrSilent = errors.New("client: gateway is silent")
	// ErrProtocol means that the gateway sent what no gateway may send.
	ErrProtocol = errors.New("client: protocol error")
	// ErrLoginTimeout means that no WELCOME came in time.
	ErrLoginTimeout = errors.New("client: no welcome in time")
	// ErrStalled means that the gateway does not read what it asks for.
	ErrStalled = errors.New("client: gateway does not read")
)

// ByeError is the end of a link for which the gateway gave a reason.
type ByeError struct {
	Reason     wire.Reason
	RetryAfter time.Duration
	Text       string
}

// Error tells the reason and the gateway's words, if there are any.
func (e *ByeError) Error() string {
	s := "client: gateway ended the link: " + e.Reason.String()
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(", retry after %v", e.RetryAfter)
	}
	if e.Text != "" {
		s += fmt.Sprintf(" (%q)", e.Text)
	}
	return s
}
