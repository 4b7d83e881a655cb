package h2

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const userAgent = "edged"

// Dial connects, waits until the peer says that it speaks HTTP/2, and asks for the method. network is "tcp" or "unix". Where
// a name has several addresses each of them is tried, in the order in which they were found, and gets an equal share of
// the time that ctx leaves. ctx counts for Dial alone. What goes wrong is a gRPC status, Unavailable.
func Dial(ctx context.Context, network, address string, o Options) (*Call, error) {
	o.check()
	targets, err := find(ctx, network, address, o.Lookup)
	if err != nil {
		return nil, undialled(err)
	}
	for i, target := range targets {
		var c *Call
		if c, err = try(ctx, len(targets)-i, network, target, o); err == nil || ctx.Err() != nil {
			return c, err
		}
	}
	return nil, err
}

func (o *Options) check() {
	if o.Window < firstWindow || o.Window > maxWindow || o.MaxMessage <= 0 {
		panic(fmt.Sprintf("h2: a window of %d bytes, messages of %d", o.Window, o.MaxMessage))
	}
}

func undialled(err error) error { return lost("transport: Error while dialing: " + err.Error()) }

// find returns the addresses of address.
func find(ctx context.Context, network, address string, lookup func(context.Context, string) ([]netip.Addr, error)) ([]string, error) {
	if network != "tcp" {
		return []string{address}, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{address}, nil
	}
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range addrs {
		out = append(out, net.JoinHostPort(a.Unmap().String(), port))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return out, nil
}

// try makes a call at one of so many addresses that are left.
func try(ctx context.Context, left int, network, address string, o Options) (*Call, error) {
	if at, ok := ctx.Deadline(); ok {
		share := time.Now().Add(time.Until(at) / time.Duration(left))
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, share)
		defer cancel()
	}
	d := net.Dialer{KeepAlive: -1} // ours tells more
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, undialled(err)
	}
	c, err := newCall(conn, o)
	if err == nil {
		err = c.open(ctx)
	}
	if err != nil {
		_ = conn.Close() // the error says more
		return nil, err
	}
	return c, nil
}

// open exchanges the first frames.
func (c *Call) open(ctx context.Context) error {
	conn := c.conn.(*pooled)
	if err := setUserTimeout(conn, c.options.KeepAliveTimeout); err != nil {
		return undialled(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := c.greet()
	if !stop() && err == nil {
		err = lost(context.Cause(ctx).Error())
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = lost("error reading server preface: " + cause.Error())
		}
		return err
	}
	if c.options.Polled {
		polled, err := newPolled(conn)
		if err != nil {
			return undialled(err)
		}
		c.conn, c.in.polled = polled, true
	}
	c.probe.start(c)
	return nil
}

// greet says what we are and want, and waits for the peer's first frame in between: it may bound what we say.
func (c *Call) greet() error {
	if _, err := c.conn.Write(c.greeting()); err != nil {
		return lost("transport: failed to write client preface: " + err.Error())
	}
	for c.in.first {
		if err := c.frame(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.requestLocked()
	c.mu.Unlock()
	c.flush()
	return nil
}

// greeting is the preface of a connection (RFC 9113, section 3.4), with our settings and the window of the connection.
func (c *Call) greeting() []byte {
	return c.settled([]byte(http2.ClientPreface),
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.options.Window)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHead},
		http2.Setting{ID: settingAlone, Val: 1},
	)
}

// settled appends settings, and what makes the connection's window as large as the call's.
func (c *Call) settled(b []byte, settings ...http2.Setting) []byte {
	w := bytes.NewBuffer(b)
	f := http2.NewFramer(w, nil)
	_ = f.WriteSettings(settings...) // a buffer takes everything
	if more := c.options.Window - firstWindow; more > 0 {
		_ = f.WriteWindowUpdate(0, uint32(more))
	}
	return w.Bytes()
}

// requestLocked appends the head of the call to the answers. The mutex is held.
func (c *Call) requestLocked() {
	c.headLocked(false,
		hpack.HeaderField{Name: ":method", Value: "POST"},
		hpack.HeaderField{Name: ":scheme", Value: "http"},
		hpack.HeaderField{Name: ":path", Value: c.options.Path},
		hpack.HeaderField{Name: ":authority", Value: c.options.Authority},
		hpack.HeaderField{Name: "content-type", Value: "application/grpc+proto"},
		hpack.HeaderField{Name: "user-agent", Value: userAgent},
		hpack.HeaderField{Name: "te", Value: "trailers"},
	)
}
