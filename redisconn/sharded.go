package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// ErrNotSharded is part of ReceiveSharded's error when the server has no sharded pub/sub, as before Redis 7.0, or none for our
// user.
var ErrNotSharded = errors.New("no sharded pub/sub")

// ReceiveSharded is Receive for a channel of sharded pub/sub (SSUBSCRIBE). In a Cluster such a channel belongs to the node that
// has its slot, and the subscription ends when the slot moves. The error is ErrNotSharded where only Receive can be used.
func (c *Client) ReceiveSharded(ctx context.Context, channel string, f func(message string)) error {
	err := c.receive(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Ssubscribe().Channel(channel).Build() },
		func(_, message string) { f(message) })
	if IsRefused(err) {
		return fmt.Errorf("%w: %w", ErrNotSharded, err)
	}
	return err
}

// IsRefused reports whether err is the server's word that it does not know a command or does not allow it to our user. Calling
// again helps only after the server was changed.
func IsRefused(err error) bool {
	var said *rueidis.RedisError
	if !errors.As(err, &said) {
		return false
	}
	text := strings.TrimPrefix(said.Error(), "ERR ") // which the library takes off
	return strings.HasPrefix(text, "unknown command") || strings.HasPrefix(text, "NOPERM ")
}
