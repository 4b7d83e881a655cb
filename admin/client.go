package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// ErrAbsent says that nobody listens at the address.
var ErrAbsent = errors.New("no edged answers")

// clientTimeout bounds one request: longer than a daemon needs to find out that
// its own insides hang, so that its answer to that is still heard.
const clientTimeout = 10 * time.Second

// maxAnswer bounds what a Client reads of an answer. A service that is one user may have a hundred thousand devices.
const maxAnswer = 64 << 20

// Client asks a running daemon. Its methods may be called from any goroutine;
// nothing stays open between them.
type Client struct {
	endpoint endpoint
	token    string
	http     *http.Client
	silence  time.Duration // after which a stream counts as dead
}

// Dial makes a Client for the daemon at addr: the path of its control socket,
// with or without "unix:" before it, or "host:port", where token is shown.
// The first request connects.
func Dial(addr, token string) (*Client, error) {
	if strings.HasPrefix(addr, "/") {
		addr = "unix:" + addr
	}
	e, err := parseEndpoint(addr)
	if err != nil {
		return nil, err
	}
	if token != "" {
		if err := checkToken("token", token); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, e.network, e.address)
		},
		DisableKeepAlives: true,
	}
	return &Client{endpoint: e, token: token, http: &http.Client{Transport: t}, silence: streamSilence}, nil
}

// Status asks how the daemon is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	b, err := c.do(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fmt.Errorf("what answers at %s is not edged: %w", c.name(), err)
	}
	return s, nil
}

// Drain orders a drain, or its end. It returns when the daemon has taken the
// order, not when the links are gone.
func (c *Client) Drain(ctx context.Context, r DrainRequest) error {
	if err := r.Validate(); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, "/v1/drain", b)
	return err
}

// do makes one request and returns the body of a good answer.
func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	return c.request(ctx, method, path, body)
}

// request is do for what may take as long as ctx allows.
func (c *Client) request(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	w, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	b, err := io.ReadAll(io.LimitReader(w, maxAnswer))
	if err != nil {
		return nil, c.explain(err)
	}
	return b, nil
}

// open makes one request and returns the body of a good answer while it comes.
func (c *Client) open(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url(path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	w, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if w.StatusCode == http.StatusOK {
		return w.Body, nil
	}
	defer w.Body.Close()
	b, err := io.ReadAll(io.LimitReader(w.Body, maxAnswer))
	if err != nil {
		return nil, c.explain(err)
	}
	return nil, c.refused(w, b)
}

func (c *Client) url(path string) string {
	if c.endpoint.network == "unix" {
		return "http://edged" + path // the name is never looked up
	}
	return "http://" + c.endpoint.address + path
}

// name is the address as a person wrote it.
func (c *Client) name() string { return c.endpoint.address }

// explain turns a failed exchange into one sentence. The URL that net/http puts
// before the cause tells an operator nothing.
func (c *Client) explain(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w at %s: is it running?", ErrAbsent, c.name())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened: ask as root or as a member of the socket's group: %w", c.name(), fs.ErrPermission)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("edged at %s does not answer in time: %w", c.name(), context.DeadlineExceeded)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		err = e
	}
	return fmt.Errorf("edged at %s: %w", c.name(), err)
}

// refused turns an answer that is no success into one sentence.
func (c *Client) refused(w *http.Response, body []byte) error {
	var why refusal
	if json.Unmarshal(body, &why) != nil || why.Error == "" {
		return fmt.Errorf("what answers at %s is not edged: it says %s", c.name(), w.Status)
	}
	if w.StatusCode == http.StatusUnauthorized && c.token != "" {
		return fmt.Errorf("edged at %s does not know this token", c.name())
	}
	return &RefusalError{c.name(), why.Error}
}

// RefusalError is a daemon's own no, in its words.
type RefusalError struct{ At, Reason string }

func (e *RefusalError) Error() string { return fmt.Sprintf("edged at %s: %s", e.At, e.Reason) }
