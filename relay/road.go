package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"edged/h2"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
)

// road is the way to a Manager: package h2's without TLS, which takes the fewest steps, else the gRPC library's.
type road interface {
	// ready waits until open would not wait. It returns false if ctx ended before. Each time that the Manager cannot be
	// reached it tells explain why.
	ready(ctx context.Context, explain func(error)) bool
	// open begins a stream that lives until ctx ends.
	open(ctx context.Context) (call, error)
	Close() error
}

// call is a stream: one goroutine sends, one receives.
type call interface {
	SendMsg(m any) error // *Batch or []byte; io.EOF: the receiver learns why
	RecvMsg(m any) error // *inbound
	CloseSend() error
}

func newRoad(address string, cred credentials.TransportCredentials, polled bool) (road, error) {
	if cred == nil {
		p := newPlain(address)
		p.options.Polled = polled
		return p, nil
	}
	cc, err := grpc.NewClient(target(address), dialOptions(cred)...)
	return library{cc}, err
}

// library is the road of the gRPC library.
type library struct{ *grpc.ClientConn }

func (l library) ready(ctx context.Context, explain func(error)) bool {
	for {
		st := l.GetState()
		switch st {
		case connectivity.Ready:
			return true
		case connectivity.Idle:
			l.Connect()
		case connectivity.TransientFailure:
			l.explain(ctx, explain)
		}
		if !l.WaitForStateChange(ctx, st) {
			return false
		}
	}
}

// explain opens a stream that fails at once, because that is how gRPC tells why it cannot connect.
func (l library) explain(ctx context.Context, explain func(error)) {
	within, cancel := context.WithCancel(ctx)
	defer cancel() // it may have come up just now; the next look at the connection finds that
	if _, err := l.open(within); err != nil && ctx.Err() == nil {
		explain(err)
	}
}

func (l library) open(ctx context.Context) (call, error) {
	return l.NewStream(ctx, &relayDesc, relayMethod)
}

// plain is the road without TLS: a connection for each stream.
type plain struct {
	network, address string
	options          h2.Options

	// Owned by the stream's sender.
	next      *h2.Call // made by ready for open
	last      *h2.Call // the latest one
	backoff   time.Duration
	notBefore time.Time

	calls sync.WaitGroup // of those that have yet to be closed
}

func newPlain(address string) *plain {
	p := &plain{network: "tcp", address: address, backoff: minBackoff, options: h2.Options{
		Path: relayMethod, Authority: address, Window: window, MaxMessage: maxMessage,
		KeepAlive: keepAlive, KeepAliveTimeout: keepAliveTimeout,
	}}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		p.network, p.address, p.options.Authority = "unix", path, "localhost"
	}
	return p
}

// ready dials until it has a connection, with the gRPC library's waits in between.
func (p *plain) ready(ctx context.Context, explain func(error)) bool {
	p.heed()
	for p.next == nil {
		if !sleep(ctx, time.Until(p.notBefore)) {
			return false
		}
		begin := time.Now()
		dialling, cancel := context.WithTimeout(ctx, maxBackoff)
		c, err := h2.Dial(dialling, p.network, p.address, p.options)
		cancel()
		if err == nil {
			p.next, p.backoff = c, minBackoff
			break
		}
		if ctx.Err() != nil {
			return false
		}
		explain(err)
		jitter := 1 + backoffJitter*(2*rand.Float64()-1)
		p.notBefore = begin.Add(time.Duration(float64(p.backoff) * jitter))
		p.backoff = min(time.Duration(float64(p.backoff)*backoffFactor), maxBackoff)
	}
	return true
}

// heed probes half as often from now on, if that was why the last call ended.
func (p *plain) heed() {
	if p.last != nil && p.last.TooManyPings() {
		p.options.KeepAlive *= 2
	}
	p.last = nil
}

// sleep returns false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *plain) open(ctx context.Context) (call, error) {
	c := p.next
	p.next, p.last = nil, c
	p.calls.Add(1)
	context.AfterFunc(ctx, func() {
		defer p.calls.Done()
		c.Close()
	})
	return plainCall{c}, nil
}

// Close waits for the ends of the calls, whose contexts must have ended.
func (p *plain) Close() error {
	if p.next != nil {
		p.next.Close()
	}
	p.calls.Wait()
	return nil
}

// plainCall sends and receives what the codec of the other road does.
type plainCall struct{ *h2.Call }

func (c plainCall) SendMsg(m any) error {
	switch m := m.(type) {
	case *Batch:
		return c.Send(m.wire)
	case []byte:
		return c.Send(m)
	}
	panic(fmt.Sprintf("relay: %T cannot be sent", m))
}

func (c plainCall) RecvMsg(m any) (err error) {
	in := m.(*inbound)
	in.b, err = c.Recv(in.b)
	return err
}
