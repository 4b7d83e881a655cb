package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of one question to a dispatch service.
const (
	askTimeout    = 3 * time.Second // in all; a client that has an older list does not wait for longer
	mostAnswer    = 1 << 20         // bytes
	mostText      = 200             // bytes of a refusal that an error tells
	mostRedirects = 3
)

// Where a dispatch service is asked, and for how many addresses, unless the URL says so.
const (
	addressesPath = "/v1/addresses"
	usualCount    = "3"
)

// StatusError means that a dispatch service answered, but not with 200.
type StatusError struct {
	Status     int
	RetryAfter time.Duration // 0: it does not say
	Text       string        // the beginning of its answer
}

// Error tells the status and the service's words.
func (e *StatusError) Error() string {
	s := strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	if e.Text != "" {
		s += fmt.Sprintf(" (%q)", e.Text)
	}
	return s
}

// Directory asks a dispatch service for addresses. It may be used by any number of goroutines; a Client asks its own one
// question at a time.
type Directory struct {
	url  string
	name string // the URL without a password
	http *http.Client
}

// NewDirectory makes a Directory of an http or https URL. One without a path is asked at /v1/addresses, one without an n for
// three addresses. h does the asking; nil: a client of its own, which keeps no connection.
func NewDirectory(rawURL string, h *http.Client) (*Directory, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("client: dispatch: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("client: dispatch URL %q does not begin with http:// or https://", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("client: dispatch URL %q names no host", u.Redacted())
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("client: dispatch URL %q: %w", u.Redacted(), err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = addressesPath
	}
	if !q.Has("n") {
		q.Set("n", usualCount)
		u.RawQuery = q.Encode()
	}
	u.Fragment = ""
	if h == nil {
		h = &http.Client{
			// A question every TTL at most: a connection that waits for the next one costs both sides more than it saves.
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			CheckRedirect: checkRedirect,
		}
	}
	return &Directory{url: u.String(), name: u.Redacted(), http: h}, nil
}

// checkRedirect follows a service that has moved, but not from https to http.
func checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > mostRedirects:
		return errors.New("too many redirects")
	case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
		return errors.New("redirected from https to " + r.URL.Scheme)
	}
	return nil
}

// String returns the URL that is asked, without a password.
func (d *Directory) String() string { return d.name }

// Ask gets a list. It takes 3 s at most. The error is a StatusError if the service refused, ErrNoAddress if the list is
// empty.
func (d *Directory) Ask(ctx context.Context) (List, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	l, err := d.ask(ctx)
	if err != nil {
		return List{}, fmt.Errorf("client: dispatch %s: %w", d.name, err)
	}
	return l, nil
}

func (d *Directory) ask(ctx context.Context) (List, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return List{}, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", sdkName)
	res, err := d.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is told already
		}
		return List{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer+1))
	switch {
	case res.StatusCode != http.StatusOK:
		return List{}, refusal(res, body)
	case err != nil:
		return List{}, fmt.Errorf("read: %w", err)
	case len(body) > mostAnswer:
		return List{}, fmt.Errorf("answer is longer than %d bytes", mostAnswer)
	}
	return ParseList(res.Header.Get("Content-Type"), body)
}

func refusal(res *http.Response, body []byte) error {
	e := &StatusError{Status: res.StatusCode}
	if s, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		e.Text = strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), mostText)]), ""))
	}
	return e
}
