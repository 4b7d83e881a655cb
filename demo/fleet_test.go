package demo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/config"
	"edged/demo"
)

// fleetOptions are those of a small and short show.
func fleetOptions(out io.Writer) demo.Options {
	o := options(out)
	o.Start = starts("", wiring{})
	o.Links, o.Duration = 60, 3*time.Second
	return o
}

func showFleet(t *testing.T, o demo.Options) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return demo.Fleet(ctx, o)
}

func TestFleet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var mu sync.Mutex
	var ids []string
	o := fleetOptions(&out)
	o.Start = func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, cfg.Gateway.ID)
		return startMember(cfg, log, wiring{})
	}
	if err := showFleet(t, o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"3 gateways behind 2 load balancers", "gw-1 of sh-1", "gw-2 of sh-1", "gw-3 of sh-2",
		"all links are up: sh-1 has ", "gw-3 is drained within 750ms: its ", "gw-3 is empty, its links have moved: gw-1 +",
		"alice is on gw-1, bob on gw-2.", "bob comes back on gw-1 and hears: " + missedLetters + "\n",
		"60 links opened, 0 ended, 60 up at the end", "links came back", "no link was lost: each one",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Join(ids, " ") != "gw-1 gw-2 gw-3" {
		t.Errorf("gateways %v", ids)
	}
}

// harmed is a gateway whose drain is something else.
type harmed struct {
	demo.Gateway
	front string
	drain func()
}

func (h harmed) Drain(time.Duration) { h.drain() }

func (h harmed) Addresses() []string {
	if h.front != "" {
		return []string{h.front}
	}
	return h.Gateway.Addresses()
}

// cutter serves a proxy to address, and cuts all its connections when cut is called.
func cutter(t *testing.T, address string) (front string, cut func()) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			down, err := lis.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", address)
			if err != nil {
				_ = down.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, down, up)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{up, down}, {down, up}} {
				go func() { _, _ = io.Copy(way[0], way[1]); _ = way[0].Close() }()
			}
		}
	}()
	cut = func() {
		_ = lis.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
	}
	t.Cleanup(cut)
	return lis.Addr().String(), cut
}

func TestFleetFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		harm func(*testing.T, demo.Gateway) demo.Gateway
		want string
	}{
		"links are lost": {func(t *testing.T, g demo.Gateway) demo.Gateway {
			front, cut := cutter(t, g.Addresses()[0])
			return harmed{g, front, cut}
		}, "links broke: ended by the peer without bye"},
		"a gateway that stays": {func(_ *testing.T, g demo.Gateway) demo.Gateway {
			return harmed{Gateway: g, drain: func() {}}
		}, "gw-3 was not empty at the end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			o := fleetOptions(&out)
			o.Start = func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
				g, err := startMember(cfg, log, wiring{})
				if err != nil || cfg.Gateway.ID != "gw-3" {
					return g, err
				}
				return tc.harm(t, g), nil
			}
			if err := showFleet(t, o); !errors.Is(err, demo.ErrWrong) || !strings.Contains(out.String(), tc.want) {
				t.Errorf("%v, want %q:\n%s", err, tc.want, out.String())
			}
		})
	}
}

// A show that is ended early is no fault.
func TestFleetEndedEarly(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]string{
		0:                       "ended before it began",
		1500 * time.Millisecond: "ended before its time; no link was lost",
	} {
		var out bytes.Buffer
		o := fleetOptions(&out)
		o.Duration = time.Minute
		ctx, cancel := context.WithTimeout(context.Background(), after)
		if err := demo.Fleet(ctx, o); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("after %v: %v\n%s", after, err, out.String())
		}
		cancel()
	}
}

// A gateway that does not start is named, and nothing of the others is left.
func TestFleetThatDoesNotStart(t *testing.T) {
	o := fleetOptions(io.Discard)
	full := errors.New("the box is full")
	var first string
	o.Start = func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
		if cfg.Gateway.ID == "gw-2" {
			return nil, full
		}
		g, err := startMember(cfg, log, wiring{})
		if err == nil {
			first = g.Addresses()[0]
		}
		return g, err
	}
	if err := showFleet(t, o); !errors.Is(err, full) || !strings.Contains(err.Error(), "gw-2") {
		t.Errorf("%v", err)
	}
	if c, err := net.Dial("tcp", first); err == nil {
		_ = c.Close()
		t.Error("gw-1 still listens")
	}
}
