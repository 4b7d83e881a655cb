package nic_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"edged/nic"
)

// queues makes a pair of veth with 4 queues each way, up.
func (s *space) queues(name, peer string) {
	s.t.Helper()
	a := named(name)
	a.NumRxQueues, a.NumTxQueues = 4, 4
	s.add(&netlink.Veth{LinkAttrs: a, PeerName: peer, PeerNumRxQueues: 4, PeerNumTxQueues: 4})
	s.up(name, peer)
	s.settle(name, peer)
}

// leafOf resolves what must be the one leaf.
func (s *space) leafOf(name string) (leaf nic.Leaf) {
	s.t.Helper()
	s.must("resolve "+name, func() error {
		set, err := nic.Resolve([]string{name})
		if err == nil && len(set.Leaves) != 1 {
			err = errors.New("not one leaf")
		}
		if err == nil {
			leaf = set.Leaves[0]
		}
		return err
	})
	return leaf
}

func (s *space) mapOf(leaf nic.Leaf) (d nic.Device) {
	s.t.Helper()
	s.must("map "+leaf.Name, func() (err error) {
		d, err = nic.Host{}.Map(s.t.Context(), leaf)
		return err
	})
	claims(s.t, d)
	return d
}

func TestMapVeth(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	leaf := s.leafOf("va")
	d := s.mapOf(leaf)
	if d.Name != "va" || d.Index != leaf.Index || d.Driver != "veth" || d.Bus != "" || d.SpeedMbit != 0 || d.Node != -1 {
		t.Errorf("%+v", d)
	}
	if d.Mapped || !strings.Contains(d.Why, "has no interrupts") || len(d.Vectors) != 0 {
		t.Errorf("mapped %v: %q, %d vectors", d.Mapped, d.Why, len(d.Vectors))
	}
	if len(d.RX) != 4 || len(d.TX) != 4 || d.Channels.Now.RX != 4 || d.Channels.Now.Combined != 0 {
		t.Errorf("%d RX, %d TX, channels %v", len(d.RX), len(d.TX), d.Channels.Now)
	}
	for i, q := range slices.Concat(d.RX, d.TX) {
		if q.Index != i%4 || q.How != nic.ByGuess || q.Mask == nil {
			t.Errorf("%+v", q)
		}
	}
	if len(d.Features) < 3 {
		t.Errorf("features %v", d.Features)
	}
	s.do(func() {
		if _, err := (nic.Host{}).QueueStats(t.Context(), leaf); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("counters: %v", err)
		}
	})
}

// TestMapStacked maps what is below a macvlan.
func TestMapStacked(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	s.add(&netlink.Macvlan{LinkAttrs: s.on("mv", "va"), Mode: netlink.MACVLAN_MODE_BRIDGE})
	if d := s.mapOf(s.leafOf("mv")); d.Name != "va" || len(d.RX) != 4 {
		t.Errorf("below mv is %+v", d)
	}
}

func TestMapLoopback(t *testing.T) {
	s := newSpace(t)
	s.up("lo")
	d := s.mapOf(nic.Leaf{Index: 1, Name: "lo", Up: true})
	if d.Mapped || len(d.RX) != 1 || d.RX[0].How != nic.ByGuess || d.Refused[nic.AskChannels] != unix.EOPNOTSUPP {
		t.Errorf("%+v", d)
	}
}

func TestMapGone(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	leaf := s.leafOf("va")
	s.down("va") // before 6.2 the name of one that is up is kept
	s.down("vb")
	s.rename("va", "vc")
	s.rename("vb", "va")
	gone := func(what string) {
		t.Helper()
		s.do(func() {
			if _, err := (nic.Host{}).Map(t.Context(), leaf); err != nic.ErrGone {
				t.Errorf("%s: map: %v", what, err)
			}
			if _, err := (nic.Host{}).QueueStats(t.Context(), leaf); !errors.Is(err, nic.ErrGone) {
				t.Errorf("%s: counters: %v", what, err)
			}
			if err := (nic.Host{}).SetRPS(leaf, 0, []int{0}); !errors.Is(err, unix.ENODEV) {
				t.Errorf("%s: RPS: %v", what, err)
			}
		})
	}
	gone("the name is another's")
	s.del("va")
	gone("deleted")
	s.do(func() {
		for _, err := range []error{
			nic.Host{}.SetChannels(t.Context(), leaf, nic.Counts{RX: 1, TX: 1}),
			nic.Host{}.SetRings(t.Context(), leaf, 64, 64),
			nic.Host{}.SetFeature(t.Context(), leaf, nic.GRO, true),
		} {
			if !errors.Is(err, unix.ENODEV) {
				t.Errorf("set: %v", err)
			}
		}
	})
}

func TestSetChannels(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	leaf, peer := s.leafOf("va"), s.index("vb")
	setAndMap(t, s, leaf)
	if s.index("vb") != peer {
		t.Error("the peer has changed")
	}
	s.do(func() {
		err := nic.Host{}.SetChannels(t.Context(), leaf, nic.Counts{RX: 99, TX: 4})
		set := asSetError(t, err)
		if set.Errno != unix.EINVAL || set.Detail == "" || set.What != "channels of va" || set.Want != "rx 99 tx 4" {
			t.Errorf("too many: %+v", set)
		}
	})
}

// setAndMap changes channels and counts the queues.
func setAndMap(t *testing.T, s *space, leaf nic.Leaf) {
	t.Helper()
	for _, n := range []int{2, 1, 4} {
		s.must("set channels", func() error {
			return nic.Host{}.SetChannels(t.Context(), leaf, nic.Counts{RX: n, TX: n})
		})
		if d := s.mapOf(leaf); len(d.RX) != n || len(d.TX) != n || d.Channels.Now.RX != n {
			t.Errorf("%d channels: %d RX, %d TX", n, len(d.RX), len(d.TX))
		}
	}
}

func TestSetMasks(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	leaf := s.leafOf("va")
	s.must("set masks", func() error {
		return errors.Join(nic.Host{}.SetRPS(leaf, 3, []int{0}), nic.Host{}.SetXPS(leaf, 2, []int{0}), nic.Host{}.SetFlows(leaf, 1, 100))
	})
	d := s.mapOf(leaf)
	if !slices.Equal(d.RX[3].Mask, []int{0}) || !slices.Equal(d.TX[2].Mask, []int{0}) || d.RX[1].Flows != 128 || len(d.RX[0].Mask) != 0 {
		t.Errorf("RX %+v, TX %+v", d.RX, d.TX)
	}
	s.must("clear masks", func() error {
		return errors.Join(nic.Host{}.SetRPS(leaf, 3, nil), nic.Host{}.SetXPS(leaf, 2, nil), nic.Host{}.SetFlows(leaf, 1, 0))
	})
	d = s.mapOf(leaf)
	if len(d.RX[3].Mask) != 0 || len(d.TX[2].Mask) != 0 || d.RX[1].Flows != 0 {
		t.Errorf("RX %+v, TX %+v", d.RX, d.TX)
	}
	s.do(func() {
		if err := (nic.Host{}).SetRPS(leaf, 4, []int{0}); !errors.Is(err, unix.ENOENT) {
			t.Errorf("queue that is not there: %v", err)
		}
		if err := (nic.Host{}).SetXPS(leaf, 0, []int{60000}); err == nil {
			t.Error("a CPU that is not there was taken")
		}
	})
}

func TestSetFeature(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	leaf := s.leafOf("va")
	is := func(name string) (on bool) {
		for _, f := range s.mapOf(leaf).Features {
			on = on || f.Name == name && f.On
		}
		return on
	}
	for _, on := range []bool{true, false, true} {
		s.must("set GRO", func() error { return nic.Host{}.SetFeature(t.Context(), leaf, nic.GRO, on) })
		if is(nic.GRO) != on {
			t.Errorf("GRO is %v", !on)
		}
	}
	if !is(nic.TSO) {
		t.Error("TSO has changed too")
	}
	s.do(func() {
		set := asSetError(t, nic.Host{}.SetFeature(t.Context(), leaf, "rx-magic", true))
		if set.Errno == 0 || set.Detail == "" {
			t.Errorf("feature that does not exist: %+v", set)
		}
		if err := (nic.Host{}).SetCoalesce(t.Context(), leaf, nic.Coalesce{Has: nic.RXUsecs, RXUsecs: 9}); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("coalescing of a veth: %v", err)
		}
		if err := (nic.Host{}).SetRings(t.Context(), leaf, 64, 64); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("rings of a veth: %v", err)
		}
	})
}

// TestWithoutNetlink maps and sets by ioctl alone, with a sysfs that does not show the interface.
func TestWithoutNetlink(t *testing.T) {
	s := newSpace(t)
	s.queues("edged-va", "edged-vb")
	leaf := s.leafOf("edged-va")
	<-s.beside(func() {
		if err := denyNetlink(); errors.Is(err, errSkip) {
			t.Log(err)
			return
		}
		d, err := nic.Host{}.Map(t.Context(), leaf)
		if err != nil || len(d.RX) != 4 || d.Channels.Now.RX != 4 || d.Driver != "veth" || d.RX[0].Mask != nil {
			t.Errorf("%+v, %v", d, err)
		}
		if d.Refused[nic.AskNetdev] != unix.EAFNOSUPPORT || d.Refused[nic.AskEthtool] != unix.EAFNOSUPPORT || d.Refused[nic.AskRings] != unix.EOPNOTSUPP {
			t.Errorf("refused %v", d.Refused)
		}
		if err := (nic.Host{}).SetChannels(t.Context(), leaf, nic.Counts{RX: 2, TX: 3}); err != nil {
			t.Error(err)
		}
		if d, err = (nic.Host{}).Map(t.Context(), leaf); err != nil || len(d.RX) != 2 || len(d.TX) != 3 {
			t.Errorf("%d RX, %d TX, %v", len(d.RX), len(d.TX), err)
		}
		for what, err := range map[string]error{
			"rings":    nic.Host{}.SetRings(t.Context(), leaf, 64, 0),
			"coalesce": nic.Host{}.SetCoalesce(t.Context(), leaf, nic.Coalesce{Has: nic.RXUsecs}),
			"features": nic.Host{}.SetFeature(t.Context(), leaf, nic.GRO, true),
		} {
			if set := asSetError(t, err); set.Errno != unix.EOPNOTSUPP && set.Errno != unix.EAFNOSUPPORT {
				t.Errorf("%s: %+v", what, set)
			}
		}
		gone := nic.Leaf{Index: leaf.Index + 100, Name: leaf.Name}
		if _, err := (nic.Host{}).Map(t.Context(), gone); err != nic.ErrGone {
			t.Errorf("another index: %v", err)
		}
		if err := (nic.Host{}).SetChannels(t.Context(), gone, nic.Counts{RX: 1}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("another index: %v", err)
		}
	})
	if d := s.mapOf(leaf); len(d.RX) != 2 || len(d.TX) != 3 { // the same by netlink
		t.Errorf("%d RX, %d TX", len(d.RX), len(d.TX))
	}
}

// TestMapUnprivileged reads all of every interface of this box, and may change none.
func TestMapUnprivileged(t *testing.T) {
	resigned(t, beNobody, func() error {
		set, err := nic.Resolve(nil)
		if err != nil {
			return err
		}
		for _, leaf := range append(set.Leaves, nic.Leaf{Index: 1, Name: "lo"}) {
			d, err := nic.Host{}.Map(context.Background(), leaf)
			if err != nil {
				return err
			}
			claims(t, d)
			for question, errno := range d.Refused {
				if errno == unix.EPERM || errno == unix.EACCES {
					t.Errorf("%s of %s needs a privilege", question, leaf.Name)
				}
			}
			err = nic.Host{}.SetFeature(context.Background(), leaf, nic.GRO, true)
			if !errors.Is(err, unix.EPERM) {
				t.Errorf("GRO of %s could be set: %v", leaf.Name, err)
			}
			if err := (nic.Host{}).SetRPS(leaf, 0, nil); !errors.Is(err, unix.EACCES) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EROFS) {
				t.Errorf("RPS of %s could be set: %v", leaf.Name, err)
			}
		}
		return nil
	})
}
