package nic_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"edged/nic"
)

// tun makes a tap device, whose driver knows coalescing: the one setting of a virtual device that has numbers.
func (s *space) tun(name string) nic.Leaf {
	s.t.Helper()
	link := &netlink.Tuntap{LinkAttrs: named(name), Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_DEFAULTS | unix.IFF_NAPI}
	var err error
	s.do(func() { err = netlink.LinkAdd(link) })
	if err != nil {
		s.t.Skip("no tap device can be made here:", err)
	}
	s.t.Cleanup(func() {
		for _, f := range link.Fds {
			_ = f.Close()
		}
	})
	return s.leafOf(name)
}

// TestCoalesce sets by netlink what ioctl reads, and the other way round.
func TestCoalesce(t *testing.T) {
	s := newSpace(t)
	leaf := s.tun("edged-tap")
	set := func(n int) error {
		return nic.Host{}.SetCoalesce(t.Context(), leaf, nic.Coalesce{Has: nic.RXFrames, RXFrames: n})
	}
	s.must("set", func() error { return set(24) })
	if d := s.mapOf(leaf); d.Coalesce.RXFrames != 24 || d.Coalesce.Has != nic.RXFrames || d.Driver != "tun" || d.Bus != "" {
		t.Errorf("%+v", d)
	}
	<-s.beside(func() {
		if err := denyNetlink(); errors.Is(err, errSkip) {
			t.Log(err)
			return
		}
		if d, err := (nic.Host{}).Map(t.Context(), leaf); err != nil || d.Coalesce.RXFrames != 24 {
			t.Errorf("%+v, %v", d, err)
		}
		if err := set(48); err != nil {
			t.Error(err)
		}
		err := nic.Host{}.SetCoalesce(t.Context(), leaf, nic.Coalesce{Has: nic.RXUsecs | nic.AdaptiveRX, RXUsecs: 9, AdaptiveRX: true})
		if !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("what a tap does not know: %v", err)
		}
	})
	if d := s.mapOf(leaf); d.Coalesce.RXFrames != 48 {
		t.Errorf("%+v", d.Coalesce)
	}
	s.do(func() {
		err := nic.Host{}.SetCoalesce(t.Context(), leaf, nic.Coalesce{Has: nic.RXUsecs, RXUsecs: 9})
		if set := asSetError(t, err); set.Errno != unix.EINVAL && set.Errno != unix.EOPNOTSUPP {
			t.Errorf("what a tap does not know: %v", err)
		}
	})
}

// TestPatience has the kernel asked with no time left.
func TestPatience(t *testing.T) {
	leaf := nic.Leaf{Index: 1, Name: "lo", Up: true}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := (nic.Host{}).Map(late, leaf); err != context.DeadlineExceeded {
		t.Errorf("map: %v", err)
	}
	if _, err := (nic.Host{}).QueueStats(late, leaf); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("counters: %v", err)
	}
	if err := (nic.Host{}).SetRings(late, leaf, 1, 1); asSetError(t, err).Errno == 0 {
		t.Errorf("rings: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := (nic.Host{}).Map(soon, leaf); err != nil {
		t.Errorf("with time: %v", err)
	}
}

// TestRealDevices reads what this box has, whatever that is: what is claimed belongs together, and two reads agree.
func TestRealDevices(t *testing.T) {
	set, err := nic.Resolve(nil)
	if err != nil {
		t.Skip(err)
	}
	for _, leaf := range set.Leaves {
		d, err := nic.Host{}.Map(t.Context(), leaf)
		if err != nil {
			t.Fatal(err)
		}
		claims(t, d)
		again, err := nic.Host{}.Map(t.Context(), leaf)
		if err != nil || again.Bus != d.Bus || len(again.RX) != len(d.RX) || again.Mapped != d.Mapped {
			t.Errorf("%+v, then %+v, %v", d, again, err)
		}
		t.Logf("%s (%s): %d RX, mapped %v %s", d.Name, d.Driver, len(d.RX), d.Mapped, d.Why)
		stats, err := nic.Host{}.QueueStats(t.Context(), leaf)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("counters of %s: %v", leaf.Name, err)
		}
		for _, s := range stats {
			if s.Index >= max(len(d.RX), len(d.TX)) || s.Packets > 0 && s.Bytes < s.Packets {
				t.Errorf("counters %+v", s)
			}
		}
	}
}
