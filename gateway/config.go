package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"edged/netpoll"
)

// Limits of this implementation; PROTOCOL.md names those of the wire.
const (
	maxReactors  = 256               // the top 8 bits of a link's index name its shard
	maxCapacity  = maxReactors << 24 // the other 24 bits its place
	maxListeners = 255               // a link keeps the number of its own in a byte
	minFrame     = 64
	maxFrame     = 65535
	minLinkRate  = 1000 // below, a client that says what it has saved up would stand still for long
	maxLinkRate  = 10_000_000
	maxTimeout   = 24 * time.Hour // deadlines are 32-bit milliseconds that wrap after 49 days
)

// Config is the [gateway] section.
type Config struct {
	ID             string        `toml:"id"`              // name towards Managers and in Redis; empty: the advertised address
	Advertise      string        `toml:"advertise"`       // IP:port of every link ID; empty: the first listener's
	Reactors       int           `toml:"reactors"`        // 0: one per CPU
	Capacity       int           `toml:"capacity"`        // links; 0: what files allow
	Login          string        `toml:"login"`           // "required" or "none"
	LoginTimeout   time.Duration `toml:"login_timeout"`   // from accept to bind
	Heartbeat      time.Duration `toml:"heartbeat"`       // told to the client in WELCOME
	HeartbeatSlack time.Duration `toml:"heartbeat_slack"` // how late heartbeats may be answered, many at once; 0: each as it comes
	IdleTimeout    time.Duration `toml:"idle_timeout"`    // silence after which a link is closed
	FrameTimeout   time.Duration `toml:"frame_timeout"`   // from a frame's first byte to its last
	WriteTimeout   time.Duration `toml:"write_timeout"`   // pending output without progress
	MaxFrame       int           `toml:"max_frame"`       // largest body, both ways
	DrainTimeout   time.Duration `toml:"drain_timeout"`   // from SIGTERM to the end
	SessionMax     int           `toml:"session_max"`     // bytes of all keys and values of a session
	StallTimeout   time.Duration `toml:"stall_timeout"`   // how long a link may wait for room towards its Manager
	LinkRate       int           `toml:"link_rate"`       // messages a second that one link may say, larger ones counted per KiB; 0: no limit
	SchedBatch     bool          `toml:"sched_batch"`     // reactors under SCHED_BATCH
	Steering       string        `toml:"steering"`        // "auto", or how new links find their reactor: netpoll.Steer
	BusyPoll       time.Duration `toml:"busy_poll"`       // how long a reactor asks its queue for packets before it sleeps; 0: not at all
	Coalesce       time.Duration `toml:"coalesce"`        // how long a reactor that waits for CPUs rests at most; 0: never
	RetryAfterMax  time.Duration `toml:"retry_after_max"` // window over which clients are told to come back
}

// Default returns the settings of a gateway whose file says nothing.
func Default() Config {
	return Config{
		Login:          "required",
		LoginTimeout:   10 * time.Second,
		Heartbeat:      25 * time.Second,
		HeartbeatSlack: time.Second,
		IdleTimeout:    30 * time.Second,
		FrameTimeout:   30 * time.Second,
		WriteTimeout:   30 * time.Second,
		MaxFrame:       maxFrame,
		DrainTimeout:   30 * time.Second,
		SessionMax:     4096,
		StallTimeout:   15 * time.Second,
		LinkRate:       50_000,
		Coalesce:       30 * time.Microsecond,
		RetryAfterMax:  30 * time.Second,
		Steering:       SteeringAuto,
	}
}

// SteeringAuto steers by queue where the network card has several of them whose CPUs are known, and else not at all.
const SteeringAuto = "auto"

// maxBusyPoll bounds what a reactor may burn before each sleep.
const maxBusyPoll = 10 * time.Millisecond

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Advertise != "" {
		if _, err := netip.ParseAddrPort(c.Advertise); err != nil {
			bad("advertise: %q is not IP:port", c.Advertise)
		}
	}
	if strings.ContainsAny(c.ID, " \t\r\n{}") || len(c.ID) > 255 {
		bad("id: %q has a space or a brace in it or is longer than 255 bytes", c.ID)
	}
	inRange := func(key string, v, lo, hi int) {
		if v < lo || v > hi {
			bad("%s: %d is not between %d and %d", key, v, lo, hi)
		}
	}
	inRange("reactors", c.Reactors, 0, maxReactors)
	inRange("capacity", c.Capacity, 0, maxCapacity)
	inRange("max_frame", c.MaxFrame, minFrame, maxFrame)
	if c.LinkRate != 0 {
		inRange("link_rate", c.LinkRate, minLinkRate, maxLinkRate)
	}
	inRange("session_max", c.SessionMax, 512, maxFrame)
	if _, err := c.steer(); err != nil {
		bad("steering: %q is neither \"auto\" nor \"off\", \"hash\", \"cpu\" or \"queue\"", c.Steering)
	}
	if c.BusyPoll < 0 || c.BusyPoll > maxBusyPoll || c.BusyPoll%time.Microsecond != 0 {
		bad("busy_poll: %v is not between 0 and %v, in whole microseconds", c.BusyPoll, maxBusyPoll)
	}
	if c.Coalesce < 0 || c.Coalesce > netpoll.MaxCoalesce {
		bad("coalesce: %v is not between 0 and %v", c.Coalesce, netpoll.MaxCoalesce)
	}
	if c.Login != "required" && c.Login != "none" {
		bad("login: %q is neither \"required\" nor \"none\"", c.Login)
	}
	c.eachTimeout(func(key string, d, least time.Duration) {
		if d < least || d > maxTimeout {
			bad("%s: %v is not between %v and %v", key, d, least, maxTimeout)
		}
	})
	if c.Heartbeat >= c.IdleTimeout {
		bad("heartbeat: %v is not shorter than idle_timeout (%v): every healthy link would be closed", c.Heartbeat, c.IdleTimeout)
	}
	return errors.Join(errs...)
}

// steer is what Steering asks for; auto says that the queues decide.
func (c Config) steer() (s netpoll.Steer, err error) {
	if c.Steering == SteeringAuto || c.Steering == "" {
		return netpoll.SteerQueue, nil
	}
	err = s.UnmarshalText([]byte(c.Steering))
	return s, err
}

func (c Config) eachTimeout(f func(key string, d, least time.Duration)) {
	const least = 100 * time.Millisecond
	f("login_timeout", c.LoginTimeout, least)
	f("heartbeat", c.Heartbeat, least)
	f("idle_timeout", c.IdleTimeout, least)
	f("frame_timeout", c.FrameTimeout, least)
	f("write_timeout", c.WriteTimeout, least)
	f("stall_timeout", c.StallTimeout, least)
	f("drain_timeout", c.DrainTimeout, 0)
	f("heartbeat_slack", c.HeartbeatSlack, 0)
	f("retry_after_max", c.RetryAfterMax, 0)
}

// Listener is one [[listener]] section.
type Listener struct {
	Name         string        `toml:"name"`
	Address      string        `toml:"address"`       // "0.0.0.0:7000", "[::]:7000", "unix:/path", "systemd:name"
	Kind         string        `toml:"kind"`          // "tcp"
	PingInterval time.Duration `toml:"ping_interval"` // 0: no PINGs
}

// DefaultListener returns the listener of a file that has none.
func DefaultListener() Listener {
	return Listener{Name: "main", Address: "0.0.0.0:7000", Kind: "tcp"}
}

// Validate reports every setting of the listener that cannot be meant.
func (l Listener) Validate() error {
	var errs []error
	if l.Name == "" || len(l.Name) > 64 || strings.ContainsAny(l.Name, " \t\r\n\"") {
		errs = append(errs, fmt.Errorf("name: %q is empty, longer than 64 bytes or has a space in it", l.Name))
	}
	if l.Kind != "tcp" && l.Kind != "websocket" {
		errs = append(errs, fmt.Errorf("kind: %q is neither \"tcp\" nor \"websocket\"", l.Kind))
	}
	if l.PingInterval != 0 && (l.PingInterval < 100*time.Millisecond || l.PingInterval > maxTimeout) {
		errs = append(errs, fmt.Errorf("ping_interval: %v is neither 0 nor between 100ms and %v", l.PingInterval, maxTimeout))
	}
	if err := checkAddress(l.Address); err != nil {
		errs = append(errs, fmt.Errorf("address: %w", err))
	}
	return errors.Join(errs...)
}

func checkAddress(a string) error {
	if name, ok := strings.CutPrefix(a, "systemd:"); ok {
		if name == "" {
			return errors.New("systemd: needs the name of a socket behind it")
		}
		return nil
	}
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		if !strings.HasPrefix(path, "/") || len(path) > 107 {
			return fmt.Errorf("%q is not unix: and an absolute path of at most 107 bytes", a)
		}
		return nil
	}
	if _, err := netip.ParseAddrPort(a); err != nil {
		return fmt.Errorf("%q is not IP:port, unix:/path or systemd:name", a)
	}
	return nil
}
