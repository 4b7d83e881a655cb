package nic_test

import (
	"testing"

	"edged/nic"
)

// ways are the three that a Reader may go; the same tests hold for all.
var ways = []struct {
	source string
	via    int
}{{"RTM_GETSTATS", nic.ViaStats}, {"RTM_GETLINK", nic.ViaLink}, {"sysfs", nic.ViaFiles}}

// reader makes a Reader in the namespace.
func (s *space) reader(via int) (r *nic.Reader) {
	s.t.Helper()
	s.must("make a reader", func() (err error) { r, err = nic.NewReader(); return err })
	s.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			s.t.Error(err)
		}
	})
	r.Begin(via)
	return r
}

// read reads in the namespace, as sysfs is opened there.
func (s *space) read(r *nic.Reader, index int, name string) (c nic.Counters, err error) {
	s.do(func() { c, err = r.Read(index, name) })
	return c, err
}

func (s *space) mustRead(r *nic.Reader, index int, name string) nic.Counters {
	s.t.Helper()
	c, err := s.read(r, index, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestReadCountsExactly(t *testing.T) {
	for _, way := range ways {
		t.Run(way.source, func(t *testing.T) {
			s := newSpace(t)
			s.veth("va", "vb")
			s.up("va", "vb")
			r := s.reader(way.via)
			va, vb := s.index("va"), s.index("vb")
			a, b := s.mustRead(r, va, "va"), s.mustRead(r, vb, "vb")
			var packets, sent uint64
			for _, load := range []struct{ n, size int }{{1, 60}, {1000, 1514}, {333, 61}} {
				s.sendFrames("va", load.n, load.size)
				packets += uint64(load.n)
				sent += uint64(load.n * load.size)
				wantA, wantB := a, b
				wantA.TxPackets, wantA.TxBytes = a.TxPackets+packets, a.TxBytes+sent
				wantB.RxPackets, wantB.RxBytes = b.RxPackets+packets, b.RxBytes+sent
				if got := s.mustRead(r, va, "va"); got != wantA {
					t.Errorf("sender counts %+v, want %+v", got, wantA)
				}
				got := s.mustRead(r, vb, "vb")
				got.RxDropped = 0 // the kernel's, later: nobody wanted the frames
				if got != wantB {
					t.Errorf("receiver counts %+v, want %+v", got, wantB)
				}
			}
			if r.Source() != way.source {
				t.Errorf("source is %s, want %s", r.Source(), way.source)
			}
		})
	}
}

func TestReadGone(t *testing.T) {
	for _, way := range ways {
		t.Run(way.source, func(t *testing.T) {
			s := newSpace(t)
			r := s.reader(way.via)
			s.veth("va", "vb")
			s.up("va", "vb")
			old := s.index("va")
			s.sendFrames("va", 10, 100)
			if c := s.mustRead(r, old, "va"); c.TxPackets != 10 {
				t.Fatalf("counts %+v before", c)
			}
			s.del("va")
			if _, err := s.read(r, old, "va"); err != nic.ErrGone {
				t.Errorf("deleted: %v", err)
			}
			s.veth("va", "vb")
			s.up("va", "vb")
			if _, err := s.read(r, old, "va"); err != nic.ErrGone {
				t.Errorf("another one of the same name: %v", err)
			}
			now := s.index("va")
			if c := s.mustRead(r, now, "va"); now == old || c.TxPackets != 0 {
				t.Errorf("index %d after %d counts %+v", now, old, c)
			}
			for _, index := range []int{0, -1, 1 << 30} {
				if _, err := s.read(r, index, "none"); err != nic.ErrGone {
					t.Errorf("index %d: %v", index, err)
				}
			}
			if r.Source() != way.source {
				t.Errorf("source is %s, want %s", r.Source(), way.source)
			}
		})
	}
}

func TestReadSurvivesDownAndRename(t *testing.T) {
	for _, way := range ways {
		t.Run(way.source, func(t *testing.T) {
			s := newSpace(t)
			s.veth("va", "vb")
			s.up("va", "vb")
			r := s.reader(way.via)
			index := s.index("va")
			s.sendFrames("va", 5, 100)
			before := s.mustRead(r, index, "va")
			s.down("va")
			if down := s.mustRead(r, index, "va"); down != before {
				t.Errorf("down counts %+v, want %+v", down, before)
			}
			s.rename("va", "vc")
			s.up("vc")
			if c := s.mustRead(r, index, "va"); c != before {
				t.Errorf("renamed counts %+v, want %+v", c, before)
			}
			s.sendFrames("vc", 5, 100)
			if c := s.mustRead(r, index, "vc"); c.TxPackets != 10 {
				t.Errorf("up again counts %+v", c)
			}
		})
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	for _, way := range ways {
		r, err := nic.NewReader()
		if err != nil {
			t.Fatal(err)
		}
		r.Begin(way.via)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := r.Read(1, "lo"); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 || r.Source() != way.source {
			t.Errorf("%s: %v allocations, then %s", way.source, allocs, r.Source())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, way := range ways {
		b.Run(way.source, func(b *testing.B) {
			r, err := nic.NewReader()
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			r.Begin(way.via)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Read(1, "lo"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
