package gateway_test

import (
	"strings"
	"testing"
	"time"

	"edged/gateway"
)

func TestDefaultIsValid(t *testing.T) {
	if err := gateway.Default().Validate(); err != nil {
		t.Error(err)
	}
	if err := gateway.DefaultListener().Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	tests := []struct {
		want   string
		change func(*gateway.Config)
	}{
		{`advertise: "nonsense" is not IP:port`, func(c *gateway.Config) { c.Advertise = "nonsense" }},
		{`id: "a b"`, func(c *gateway.Config) { c.ID = "a b" }},
		{`id: "{x}"`, func(c *gateway.Config) { c.ID = "{x}" }},
		{"reactors: 257 is not between 0 and 256", func(c *gateway.Config) { c.Reactors = 257 }},
		{"capacity: -1 is not", func(c *gateway.Config) { c.Capacity = -1 }},
		{"max_frame: 70000 is not between 64 and 65535", func(c *gateway.Config) { c.MaxFrame = 70000 }},
		{"max_frame: 63 is not", func(c *gateway.Config) { c.MaxFrame = 63 }},
		{"session_max: 100 is not", func(c *gateway.Config) { c.SessionMax = 100 }},
		{`login: "maybe"`, func(c *gateway.Config) { c.Login = "maybe" }},
		{"login_timeout: 0s is not", func(c *gateway.Config) { c.LoginTimeout = 0 }},
		{"idle_timeout: 25h0m0s is not", func(c *gateway.Config) { c.IdleTimeout = 25 * time.Hour }},
		{"heartbeat: 30s is not shorter than idle_timeout", func(c *gateway.Config) { c.Heartbeat = c.IdleTimeout }},
		{"frame_timeout: -1s is not", func(c *gateway.Config) { c.FrameTimeout = -time.Second }},
		{"write_timeout: 1ms is not", func(c *gateway.Config) { c.WriteTimeout = time.Millisecond }},
		{"stall_timeout: 0s is not", func(c *gateway.Config) { c.StallTimeout = 0 }},
		{"link_rate: 999 is not", func(c *gateway.Config) { c.LinkRate = 999 }},
		{"link_rate: -1 is not", func(c *gateway.Config) { c.LinkRate = -1 }},
		{"link_rate: 10000001 is not", func(c *gateway.Config) { c.LinkRate = 10_000_001 }},
		{"coalesce: -1ns is not between 0 and 1ms", func(c *gateway.Config) { c.Coalesce = -1 }},
		{"coalesce: 2ms is not", func(c *gateway.Config) { c.Coalesce = 2 * time.Millisecond }},
		{"drain_timeout: -1ns is not", func(c *gateway.Config) { c.DrainTimeout = -1 }},
		{"retry_after_max: 48h0m0s is not", func(c *gateway.Config) { c.RetryAfterMax = 48 * time.Hour }},
	}
	for _, tt := range tests {
		c := gateway.Default()
		tt.change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

func TestListenerNamesTheKey(t *testing.T) {
	tests := []struct {
		want string
		l    gateway.Listener
	}{
		{`name: "" is empty`, gateway.Listener{Address: "127.0.0.1:1", Kind: "tcp"}},
		{`kind: "udp"`, gateway.Listener{Name: "a", Address: "127.0.0.1:1", Kind: "udp"}},
		{"ping_interval: 1ms", gateway.Listener{Name: "a", Address: "127.0.0.1:1", Kind: "tcp", PingInterval: time.Millisecond}},
		{`address: "localhost:1"`, gateway.Listener{Name: "a", Address: "localhost:1", Kind: "tcp"}},
		{`address: "unix:relative"`, gateway.Listener{Name: "a", Address: "unix:relative", Kind: "tcp"}},
		{"address: systemd: needs the name", gateway.Listener{Name: "a", Address: "systemd:", Kind: "tcp"}},
	}
	for _, tt := range tests {
		if err := tt.l.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	for _, a := range []string{"[::]:7000", "unix:/run/x.sock", "systemd:main"} {
		if err := (gateway.Listener{Name: "a", Address: a, Kind: "websocket"}).Validate(); err != nil {
			t.Error(err)
		}
	}
}

// TestNewSaysWhatItLacks: settings that are valid in a file and impossible here.
func TestNewSaysWhatItLacks(t *testing.T) {
	tests := []struct {
		want   string
		change func(*gateway.Options)
	}{
		{"0 listeners", func(o *gateway.Options) { o.Listeners = nil }},
		{"256 listeners", func(o *gateway.Options) { o.Listeners = make([]gateway.Listener, 256) }},
		{"1000 open files are not enough", func(o *gateway.Options) { o.Files = 1000 }},
		{"no socket of that name", func(o *gateway.Options) { o.Listeners[0].Address = "systemd:main" }},
		{`kind "websocket" is not served`, func(o *gateway.Options) { o.Listeners[0].Kind = "websocket" }},
		{"ca: open /nowhere", func(o *gateway.Options) { o.Managers.CA = "/nowhere" }},
		{"192.0.2.1:1", func(o *gateway.Options) { o.Listeners[0].Address = "192.0.2.1:1" }},
	}
	before := countFiles(t)
	for _, tt := range tests {
		o := options()
		tt.change(&o)
		if _, err := gateway.New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	if n := countFiles(t); n > before {
		t.Errorf("%d files, then %d", before, n)
	}
}

func TestCapacityFollowsFiles(t *testing.T) {
	o := options()
	o.Config.Capacity = 0
	r := start(t, o)
	if c := r.Capacity(); c != o.Files-1024-4 {
		t.Errorf("capacity %d of %d files", c, o.Files)
	}
	o.Config.Capacity = 1 << 20
	if c := start(t, o).Capacity(); c != r.Capacity() {
		t.Errorf("capacity %d", c)
	}
	if r.ID() != r.Advertise() || r.Advertise() != r.Addresses()[0] || r.Epoch() == 0 || r.Reactors() != 1 {
		t.Errorf("id %s, advertise %s, epoch %d, reactors %d", r.ID(), r.Advertise(), r.Epoch(), r.Reactors())
	}
}

func TestLabels(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range gateway.EndLabels() {
		if s := e.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("label %d is %q", e, s)
		} else {
			seen[s] = true
		}
	}
	for d := range gateway.DropLabels {
		if seen[d.String()] {
			t.Errorf("label %d is %q", d, d)
		}
		seen[d.String()] = true
	}
}
