package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// streamSilence is after what time without a word a stream counts as dead: a daemon that lives says something more often.
const streamSilence = 20 * time.Second

// maxLine bounds one line of a stream.
const maxLine = 1 << 20

// Push has a message pushed, and says where it went.
func (c *Client) Push(ctx context.Context, r PushRequest) (Pushed, error) {
	if err := r.Validate(); err != nil {
		return Pushed{}, err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return Pushed{}, err
	}
	return decode[Pushed](c, func() ([]byte, error) { return c.do(ctx, http.MethodPost, "/v1/push", b) })
}

// Users asks how many people are on the gateway.
func (c *Client) Users(ctx context.Context) (Users, error) {
	return decode[Users](c, func() ([]byte, error) { return c.do(ctx, http.MethodGet, "/v1/users", nil) })
}

// Devices asks which devices of a user are online, in the whole fleet.
func (c *Client) Devices(ctx context.Context, user string) ([]Device, error) {
	return decode[[]Device](c, func() ([]byte, error) { return c.do(ctx, http.MethodGet, devicesPath+url.PathEscape(user), nil) })
}

// decode reads an answer of JSON.
func decode[T any](c *Client, ask func() ([]byte, error)) (T, error) {
	var v, none T
	b, err := ask()
	if err != nil {
		return none, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return none, fmt.Errorf("what answers at %s is not edged: %w", c.name(), err)
	}
	return v, nil
}

// Watch calls f for each event of presence, until ctx ends, f returns an error or the daemon is gone; it returns why. The
// request tells where to go on after that: the ID of the last event.
func (c *Client) Watch(ctx context.Context, r WatchRequest, f func(e PresenceEvent) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(c.silence, cancel)
	defer silent.Stop()
	gone := func(err error) error {
		if !silent.Stop() {
			return fmt.Errorf("edged at %s has fallen silent: %w", c.name(), context.DeadlineExceeded)
		}
		return err
	}
	body, err := c.open(ctx, http.MethodGet, "/v1/presence?"+r.query(), nil)
	if err != nil {
		return gone(err)
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	for ; lines.Scan(); silent.Reset(c.silence) {
		silent.Stop() // f may take its time
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e PresenceEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("what answers at %s is not edged: %w", c.name(), err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return gone(c.explain(err))
	}
	return errors.New("edged at " + c.name() + " has ended the stream")
}
