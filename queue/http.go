package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// messagesPath is the only path that there is.
const messagesPath = "/v1/messages"

const (
	maxBody    = 8 << 20 // bytes of a request
	mostAtWork = 16      // requests whose messages are held at a time
)

// Handler answers POST /v1/messages: it puts messages into edged:in.
type Handler struct {
	writer     *Writer
	payloadMax int
	token      string // empty: no token opens anything
	work       chan struct{}

	mu       sync.Mutex // guards what follows
	answers  map[int]uint64
	accepted uint64
}

// NewHandler returns a Handler by the settings, which must be valid: a TCP client must show the token, one of a Unix socket need not.
func NewHandler(w *Writer, c Config) (*Handler, error) {
	token, err := c.secret()
	return &Handler{writer: w, payloadMax: c.PayloadMax, token: token, work: make(chan struct{}, mostAtWork), answers: make(map[int]uint64)}, err
}

// Answers returns how many requests were answered with each status, and how many messages were taken.
func (h *Handler) Answers() (byStatus map[int]uint64, messages uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byStatus = map[int]uint64{http.StatusOK: 0, http.StatusBadRequest: 0, http.StatusServiceUnavailable: 0}
	for code, n := range h.answers {
		byStatus[code] = n
	}
	return byStatus, h.accepted
}

// refusal is an answer that is not a success.
type refusal struct {
	code  int
	after string // Retry-After in seconds; empty: repeating it does not help
	text  string
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "application/json")
	ids, no := h.take(w, r)
	code, answer := http.StatusOK, any(map[string][]string{"ids": ids})
	if no != nil {
		code, answer = no.code, map[string]string{"error": no.text}
		if no.after != "" {
			w.Header().Set("Retry-After", no.after)
		}
	}
	h.mu.Lock()
	h.answers[code]++
	h.accepted += uint64(len(ids))
	h.mu.Unlock()
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(answer) // whoever has left does not hear it
}

// take does what the request asks and returns the IDs, or why not.
func (h *Handler) take(w http.ResponseWriter, r *http.Request) ([]string, *refusal) {
	switch {
	case !h.allowed(r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		return nil, &refusal{http.StatusUnauthorized, "", "a token is needed here: Authorization: Bearer TOKEN"}
	case r.URL.Path != messagesPath:
		return nil, &refusal{http.StatusNotFound, "", "there is only " + messagesPath}
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return nil, &refusal{http.StatusMethodNotAllowed, "", messagesPath + " takes POST"}
	}
	var text bytes.Buffer
	if _, err := io.Copy(&text, http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, &refusal{http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body has more than %d bytes", maxBody)}
		}
		return nil, &refusal{http.StatusBadRequest, "", "the body did not come to its end"}
	}
	h.work <- struct{}{} // after the body has come: one that is slow to come holds nobody up
	defer func() { <-h.work }()
	messages, err := parseBody(text.Bytes(), h.payloadMax)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "", err.Error()}
	}
	// A client that leaves now would not know whether it was done: the order stands.
	ids, err := h.writer.Write(context.WithoutCancel(r.Context()), messages)
	if errors.Is(err, ErrFull) {
		return nil, &refusal{http.StatusServiceUnavailable, "5", fmt.Sprintf("the queue is full: %s entries at most", h.writer.maxLen)}
	}
	if err != nil {
		return nil, &refusal{http.StatusServiceUnavailable, "1", err.Error()}
	}
	return ids, nil
}

// allowed decides over one request. A Unix socket lets in whom its mode let in. Hashes are compared, so that the time it takes
// tells nothing of the token.
func (h *Handler) allowed(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if ok && local.Network() == "unix" {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if h.token == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(h.token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
