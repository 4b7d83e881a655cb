package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/wire"
)

// sdkName goes into each Hello.
const sdkName = "edged-go/1"

// Options say whom a Client calls and who it is. The zero value of a field means its default. Either Addresses or Dispatch
// must be set.
type Options struct {
	Addresses []string     // "host:port" or "unix:/path"; tried in turn
	Dispatch  string       // http or https URL of a dispatch service, which tells the addresses; see NewDirectory
	HTTP      *http.Client // asks the dispatch service; nil: one without settings
	// Dial opens a connection instead of net.Dialer; for TLS, say. network is "tcp" or "unix".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	User, Device, Token string // go into the Hello, with the version of Synced
	Hello               []byte // the payload of HELLO as it is, instead of a Hello
	NoHello             bool   // send no HELLO: the gateway asks for no login
	Memory                     // of the user's stored messages

	OnData  func(payload []byte)
	OnPush  func(Push)            // nil: pushes are counted, and never acknowledged
	Hole    func(from, to uint64) // these versions, both ends included, were passed over: they come late or never
	OnState func(State, error)

	Heartbeat    time.Duration // default: as WELCOME says
	IdleTimeout  time.Duration // default: as WELCOME says
	LoginTimeout time.Duration // for connecting and until WELCOME; default 15 s, with Dispatch 3 s
	Backoff      Backoff       // with Dispatch its answer takes precedence

	QueueBytes int // of messages that wait to be sent; default 256 KiB
	MaxPayload int // of a push that came as gzip; default 8 MiB
}

// Memory lets the application keep what it has across restarts: without it a new Client knows nothing, and gets what this
// device has not acknowledged, as far as the gateway was told.
type Memory struct {
	// Synced is the version up to which the application has everything; New asks once. nil or 0: it does not know.
	Synced func() uint64
	// Load is asked instead of Synced, where more than that was kept.
	Load func() Progress
	// Save is told how far the Client is: from the goroutine of the callbacks, after those for all that was read at a time.
	// What it has not kept when the process ends comes once more, so that it need not keep each one.
	Save func(Progress)
}

// load asks the application what it has.
func (m *Memory) load() (Progress, error) {
	var p Progress
	switch {
	case m.Load != nil && m.Synced != nil:
		return p, errors.New("client: both Load and Synced")
	case m.Load != nil:
		p = m.Load()
	case m.Synced != nil:
		p.Synced = m.Synced()
	}
	return p, p.check()
}

// What holds where neither Options nor WELCOME say anything.
const (
	defaultHeartbeat = 25 * time.Second
	defaultIdle      = 30 * time.Second
)

// Where Options do not say for how long a link is being opened. One that has other addresses to try does not wait for long.
const (
	defaultLogin  = 15 * time.Second
	dispatchLogin = 3 * time.Second
)

func (o *Options) setDefaults() error {
	switch {
	case len(o.Addresses) > 0 && o.Dispatch != "":
		return errors.New("client: both addresses and a dispatch URL")
	case len(o.Addresses) == 0 && o.Dispatch == "":
		return errors.New("client: neither an address nor a dispatch URL")
	}
	for _, a := range o.Addresses {
		if _, _, err := splitAddress(a); err != nil {
			return err
		}
	}
	if o.Heartbeat < 0 || o.IdleTimeout < 0 || o.LoginTimeout < 0 || o.QueueBytes < 0 || o.MaxPayload < 0 {
		return errors.New("client: a time or size below 0")
	}
	var dialer net.Dialer
	login := defaultLogin
	if o.Dispatch != "" {
		dialer.FallbackDelay = -1 // a name with two addresses is one attempt at a time too
		login = dispatchLogin
	}
	if o.Dial == nil {
		o.Dial = dialer.DialContext
	}
	def(&o.LoginTimeout, login)
	def(&o.QueueBytes, 256<<10)
	def(&o.MaxPayload, 8<<20)
	if _, err := o.hello("", 0); err != nil {
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

// hello returns the payload of a HELLO; resume is the ID of the link before, synced the version to go on behind.
func (o *Options) hello(resume string, synced uint64) ([]byte, error) {
	b := o.Hello
	if b == nil {
		h := edgedpb.Hello{User: o.User, Device: o.Device, Token: o.Token, Sdk: sdkName, Resume: resume, SyncedVersion: synced}
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
