package dispatch_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"edged/dispatch"
)

// gone are the first n gateways of a row.
func gone(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("g%d", i))
	}
	return ids
}

// serves are the load balancers of a row that have a gateway which takes links.
func (s *service) serves() (names []string) {
	for _, b := range s.Stats().Balancers {
		if b.Open > 0 {
			names = append(names, b.Name)
		}
	}
	return names
}

func (s *service) wantServing(n int, degraded bool) {
	s.t.Helper()
	if got, st := s.serves(), s.Stats(); len(got) != n || st.Degraded != degraded || s.list().Degraded != degraded {
		s.t.Errorf("%q serve, degraded %v; want %d of them, %v", got, st.Degraded, n, degraded)
	}
}

// TestSuddenLoss: of eight gateways and more, a loss of more than half within 15 s is not believed for a minute.
func TestSuddenLoss(t *testing.T) {
	for _, tt := range []struct {
		fleet, lost int
		believed    bool
	}{
		{8, 5, false}, {8, 4, true}, {8, 8, false}, {7, 6, true}, {7, 7, true}, {20, 11, false}, {20, 10, true},
	} {
		t.Run(fmt.Sprintf("%d of %d", tt.lost, tt.fleet), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fleets{}
				all, slbs := row(tt.fleet, 0.5)
				f.put(all...)
				s := run(t, f, slbs)
				pass(5 * time.Second)
				f.remove(gone(tt.lost)...)
				pass(1100 * time.Millisecond)
				if tt.believed {
					s.wantServing(tt.fleet-tt.lost, false)
					return
				}
				s.wantServing(tt.fleet, true)
				if st := s.Stats(); st.Missing != tt.lost || st.Gateways != tt.fleet-tt.lost {
					t.Errorf("numbers %+v", st)
				}
				pass(58 * time.Second)
				s.wantServing(tt.fleet, true)
				pass(2 * time.Second)
				s.wantServing(tt.fleet-tt.lost, false)
				if n := len(s.log.lines("more than half")); n != 2 {
					t.Errorf("%d lines", n)
				}
			})
		})
	}
}

// TestLossByAndBy: reports that end within 15 s, as their lives do when nobody renews them, are one loss; slower ones are
// none.
func TestLossByAndBy(t *testing.T) {
	for _, tt := range []struct {
		every    time.Duration
		believed bool
	}{{time.Second, false}, {2 * time.Second, false}, {4 * time.Second, true}} {
		t.Run(tt.every.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fleets{}
				all, slbs := row(10, 0.5)
				f.put(all...)
				s := run(t, f, slbs)
				pass(5500 * time.Millisecond)
				for _, id := range gone(6) {
					f.remove(id)
					pass(tt.every)
				}
				pass(time.Second)
				if tt.believed {
					s.wantServing(4, false)
				} else {
					s.wantServing(10, true)
				}
			})
		})
	}
}

// TestLossAndReturn: the fleet is believed to be whole until it is, so that the first half to return does not get the
// clients of all; what is new meanwhile counts at once.
func TestLossAndReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(10, 0.5)
		f.put(all...)
		s := run(t, f, append(slbs, slb("sh-new", "203.0.113.99:7000")))
		pass(5 * time.Second)
		f.remove(gone(10)...)
		pass(3 * time.Second)
		s.wantServing(10, true)
		for i := range all {
			all[i].Availability = 0.25
			f.put(all[i])
			pass(1100 * time.Millisecond)
			s.wantServing(10, i < 9)
			if b := s.Stats().Balancers[0]; b.Availability != 0.25 {
				t.Errorf("%s has %v although it has reported since", b.Name, b.Availability)
			}
		}
		f.put(gate("new", "sh-new", 0.5))
		pass(1100 * time.Millisecond)
		s.wantServing(11, false)
	})
}

// TestGoodbyeIsNoLoss: gateways that drain, or say that they go down, may all leave at once.
func TestGoodbyeIsNoLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(10, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(5 * time.Second)
		for i := range 3 { // by report
			all[i].State = dispatch.StateDraining
			f.put(all[i])
		}
		pass(1100 * time.Millisecond)
		for i := 3; i < 7; i++ { // by message
			f.says(all[i].ID, dispatch.StateDown)
		}
		f.remove(gone(7)...)
		pass(1100 * time.Millisecond)
		s.wantServing(3, false)
	})
}

// TestGoodbyeAndAnOldReading: the reading that was under way when a gateway said goodbye still has it as it was.
func TestGoodbyeAndAnOldReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{slow: 200 * time.Millisecond}
		all, slbs := row(10, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(1300 * time.Millisecond) // a reading began at 1.2 s
		for _, g := range all[:6] {
			f.says(g.ID, dispatch.StateDown)
		}
		f.remove(gone(6)...)
		for range 5 {
			pass(time.Second)
			s.wantServing(4, false)
		}
	})
}

// TestComeback: when Redis was away and has lost what it held, the fleet gets the time of two reports to be there again,
// however small it is.
func TestComeback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(3, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(5 * time.Second)
		f.set(func() { f.err = errAway })
		f.remove(gone(3)...)
		pass(time.Hour)
		f.set(func() { f.err = nil })
		pass(1100 * time.Millisecond)
		s.wantServing(3, true)
		f.put(all[0])
		pass(4 * time.Second)
		s.wantServing(3, true)
		f.put(all[1])
		pass(time.Second)
		if st := s.Stats(); st.Missing != 1 {
			t.Errorf("%d missing", st.Missing)
		}
		pass(4 * time.Second)
		s.wantServing(2, false)
	})
}

// TestOutageIsNoTime: what Redis has lost while it was away counts as lost at once, and so as sudden.
func TestOutageIsNoTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(10, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(5 * time.Second)
		f.set(func() { f.err = errAway })
		f.remove(gone(6)...)
		pass(time.Hour)
		f.set(func() { f.err = nil })
		pass(30 * time.Second)
		s.wantServing(10, true)
		pass(31 * time.Second)
		s.wantServing(4, false)
	})
}

// TestMark: a gateway that says that it drains is last at once, until its report says otherwise.
func TestMark(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(3, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(1500 * time.Millisecond)
		last := func() bool {
			for range 50 {
				if names := s.list().slbs(); names[2] != "sh-1" {
					return false
				}
			}
			return true
		}
		reads := f.reads
		f.says("g1", dispatch.StateDraining)
		if !last() || f.reads != reads {
			t.Errorf("not last at once, or %d readings more", f.reads-reads)
		}
		f.says("nobody", dispatch.StateDraining)
		f.says("g1", dispatch.StateDraining)
		pass(10 * time.Second) // the report is still the old one
		if !last() {
			t.Error("an old report undoes what was said after it")
		}
		all[1].State = dispatch.StateDraining
		f.put(all[1])
		pass(1100 * time.Millisecond)
		if !last() {
			t.Error("not last although the report says so too")
		}
		f.says("g1", dispatch.StateUp)
		all[1].State = dispatch.StateUp
		f.put(all[1])
		pass(1100 * time.Millisecond)
		if last() {
			t.Error("still last although it is up again")
		}
	})
}

// TestMarkTakenBack: who says that it is up again has its place with the next reading, even if the report is the old one.
func TestMarkTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(2, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(1500 * time.Millisecond)
		f.says("g0", dispatch.StateDown)
		f.says("g0", dispatch.StateUp)
		pass(time.Second)
		for _, b := range s.Stats().Balancers {
			if b.Availability != 0.5 {
				t.Errorf("%s has %v", b.Name, b.Availability)
			}
		}
	})
}

// TestMarkOfARestart: another process under the same ID is not what has said goodbye.
func TestMarkOfARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(2, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(1500 * time.Millisecond)
		f.says("g0", dispatch.StateDown)
		g := all[0]
		g.Boot = "another"
		f.set(func() { g.Seq = 1; f.gateways["g0"] = g })
		pass(time.Second)
		if got := s.serves(); !slices.Equal(got, []string{"sh-0", "sh-1"}) || s.Stats().Balancers[0].Availability != 0.5 {
			t.Errorf("%q serve, %+v", got, s.Stats().Balancers)
		}
	})
}
