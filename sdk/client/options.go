package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/wire"
)

// sdkName goes into each Hello.
const sdkName = "edged-go/1"

// Options say whom a Client calls and who it is. The zero value of a field means its default.
type Options struct {
	Addresses []string // "host:port" or "unix:/path"; tried in turn
	// Dial opens a connection instead of net.Dialer; for TLS, say. network is "tcp" or "unix".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	User, Device, Token string        // go into the Hello
	Synced              func() uint64 // the version up to which the application has everything; asked for each Hello; nil: 0
	Hello               []byte        // the payload of HELLO as it is, instead of the four above
	NoHello             bool          // send no HELLO: the gateway asks for no login

	OnData  func(payload []byte)
	OnPush  func(Push) // nil: pushes are counted, and never acknowledged
	OnState func(State, error)

	Heartbeat    time.Duration // default: as WELCOME says
	IdleTimeout  time.Duration // default: as WELCOME says
	LoginTimeout time.Duration // for connecting and until WELCOME; default 15 s
	Backoff      Backoff

	QueueBytes int // of messages that wait to be sent; default 256 KiB
	MaxPayload int // of a push that came as gzip; default 8 MiB
}

// What holds where neither Options nor WELCOME say anything.
const (
	defaultHeartbeat = 25 * time.Second
	defaultIdle      = 30 * time.Second
)

func (o *Options) setDefaults() error {
	if len(o.Addresses) == 0 {
		return errors.New("client: no address")
	}
	for _, a := range o.Addresses {
		if _, _, err := splitAddress(a); err != nil {
			return err
		}
	}
	if o.Heartbeat < 0 || o.IdleTimeout < 0 || o.LoginTimeout < 0 || o.QueueBytes < 0 || o.MaxPayload < 0 {
		return errors.New("client: a time or size below 0")
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	def(&o.LoginTimeout, 15*time.Second)
	def(&o.QueueBytes, 256<<10)
	def(&o.MaxPayload, 8<<20)
	if _, err := o.hello(""); err != nil {
		return err
	}
	return o.Backoff.setDefaults()
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// hello returns the payload of a HELLO; resume is the ID of the link before.
func (o *Options) hello(resume string) ([]byte, error) {
	b := o.Hello
	if b == nil {
		h := edgedpb.Hello{User: o.User, Device: o.Device, Token: o.Token, Sdk: sdkName, Resume: resume}
		if o.Synced != nil {
			h.SyncedVersion = o.Synced()
		}
		var err error
		if b, err = proto.Marshal(&h); err != nil {
			return nil, fmt.Errorf("client: hello: %w", err) // a string that is not UTF-8
		}
	}
	if len(b) > wire.MaxRest {
		return nil, fmt.Errorf("client: hello of %d bytes: %w", len(b), ErrTooLong)
	}
	return b, nil
}

func splitAddress(a string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		if path == "" {
			return "", "", fmt.Errorf("client: address %q has no path", a)
		}
		return "unix", path, nil
	}
	if _, _, err := net.SplitHostPort(a); err != nil {
		return "", "", fmt.Errorf("client: address %q: %w", a, err)
	}
	return "tcp", a, nil
}
