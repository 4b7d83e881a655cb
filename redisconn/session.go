package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	dialTimeout = time.Second     // for the connection, and once more for the greeting on it
	hungTimeout = 2 * time.Second // a connection that does not answer a PING so long is given up
	pingGap     = time.Second     // silence on a connection after which it is asked
	sentinelGap = 5 * time.Second // how often sentinels are asked for the master, in case their word was missed
	bufferBytes = 64 << 10        // each way, per connection
)

// session is one client of the library, with all its connections.
type session struct {
	rueidis.Client
	cancel context.CancelFunc // closes every connection
}

// open connects. Nothing of the session outlives ctx.
func open(ctx context.Context, c Config) (*session, error) {
	ctx, cancel := context.WithCancel(ctx)
	options, err := options(ctx, c)
	if err != nil {
		cancel()
		return nil, err
	}
	// The library asks for the slots of a Cluster. A single address whose server has none is a standalone server.
	client, err := rueidis.NewClient(options)
	if err != nil {
		cancel()
		if len(c.Addresses) > 1 && c.Sentinel == "" && strings.Contains(err.Error(), "cluster support disabled") {
			err = errors.New("several addresses, but the servers are no Cluster: give one, or sentinels and the key sentinel")
		}
		return nil, err
	}
	return &session{client, cancel}, nil
}

// close ends every connection and the calls that wait on them.
func (s *session) close() {
	s.cancel()
	s.Client.Close()
}

func options(ctx context.Context, c Config) (rueidis.ClientOption, error) {
	t, err := c.tlsConfig()
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: pingGap}
	const name = "edged"
	return rueidis.ClientOption{
		InitAddress:   c.Addresses,
		SelectDB:      c.Database,
		ClientName:    name,
		ClientSetInfo: rueidis.DisableClientSetInfo, // CLIENT SETINFO is an error before 7.2
		TLSConfig:     t,
		Dialer:        dialer,
		DialCtxFn: func(dctx context.Context, a string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			return dial(ctx, dctx, a, d, t)
		},
		ConnWriteTimeout: hungTimeout,
		AuthCredentialsFn: func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			p, err := c.password()
			return rueidis.AuthCredentials{Username: c.Username, Password: p}, err
		},
		Sentinel: rueidis.SentinelOption{
			MasterSet: c.Sentinel, TLSConfig: t, Dialer: dialer, ClientName: name, TopologyRefreshInterval: sentinelGap,
		},
		RetryDelay:          retryDelay,
		DisableCache:        true,
		AlwaysPipelining:    true, // a connection is always being read: its end is seen at once, not by the next call
		PipelineMultiplex:   -1,   // one connection, so that calls are carried out in their order
		ReadBufferEachConn:  bufferBytes,
		WriteBufferEachConn: bufferBytes,
	}, nil
}

// retryDelay lets the library repeat a read once, on a new connection. Nothing else is repeated: Receive's caller must know
// that messages were missed.
func retryDelay(attempts int, cmd rueidis.Completed, _ error) time.Duration {
	if attempts > 1 || !cmd.IsRetryable() {
		return -1
	}
	return 0
}

// dial connects within dctx; the connection ends with ctx.
func dial(ctx, dctx context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dctx, cancel := context.WithCancel(dctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	var conn net.Conn
	var err error
	if t != nil {
		conn, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(dctx, "tcp", address)
	} else {
		conn, err = d.DialContext(dctx, "tcp", address)
	}
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return &boundConn{conn, context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// boundConn is a connection that a context ends. Closed earlier, it leaves nothing behind at the context.
type boundConn struct {
	net.Conn
	release func() bool
}

func (b *boundConn) Close() error {
	b.release()
	return b.Conn.Close()
}
