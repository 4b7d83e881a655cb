package client_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"testing/synctest"

	"edged/sdk/client"
	"edged/wire"
)

// store keeps a Progress as an application would, in JSON.
type store struct {
	t     *testing.T
	saved []byte
	times int
}

func (s *store) memory() client.Memory {
	return client.Memory{Load: s.load, Save: s.save}
}

func (s *store) load() client.Progress {
	var p client.Progress
	if s.saved != nil {
		if err := json.Unmarshal(s.saved, &p); err != nil {
			s.t.Error(err)
		}
	}
	return p
}

func (s *store) save(p client.Progress) {
	var err error
	if s.saved, err = json.Marshal(p); err != nil {
		s.t.Error(err)
	}
	s.times++
}

// What a Client knows outlives it: nothing comes twice, nothing is asked for in vain.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		kept := &store{t: t}
		start := func(want uint64) (*client.Client, *feeder) {
			o := noting(f, l)
			o.Memory = kept.memory()
			c := newClient(t, o)
			p, synced := feed(f)
			if synced != want {
				t.Errorf("asked for what lies behind %d, want %d", synced, want)
			}
			return c, p
		}
		c, p := start(0)
		for _, v := range []uint64{1, 2, 5, 6, 9} {
			p.stored(0, v)
		}
		if got, want := string(kept.saved), `{"synced":2,"later":[{"from":5,"to":6},{"from":9,"to":9}]}`; got != want {
			t.Errorf("%s", got)
		}
		if p := c.Progress(); !reflect.DeepEqual(p, kept.load()) {
			t.Errorf("%+v", p)
		}
		_ = p.conn.Close()
		c.Close()

		c, p = start(2)
		where(t, c, 2, client.Range{From: 3, To: 4}, client.Range{From: 7, To: 8})
		for _, v := range []uint64{4, 5, 6, 7, 9, 10} { // the log has no 3 and no 8
			p.stored(0, v)
		}
		if got, want := string(kept.saved), `{"synced":10,"lost":[{"from":3,"to":3},{"from":8,"to":8}]}`; got != want {
			t.Errorf("%s", got)
		}
		_ = p.conn.Close()
		c.Close()

		c, p = start(10)
		proven(t, c, 1, 2)
		p.stored(wire.FlagLate, 3)
		p.stored(wire.FlagLate, 9)
		p.stored(0, 11)
		where(t, c, 11, client.Range{From: 8, To: 8})
		proven(t, c, 1, 7)
		l.want(t, "m1", "m2", "hole 3-4", "m5", "m6", "hole 7-8", "m9", "m4 L", "m7 L", "m10", "m3 L", "m11")
	})
}

// Save is told once for all that came together, and not when nothing changed.
func TestSaveIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		kept := &store{t: t}
		o := noting(f, newLog())
		o.Memory = kept.memory()
		newClient(t, o)
		p, _ := feed(f)
		var b []byte
		for v := range uint64(20) {
			b = wire.AppendPush(b, wire.Push{Flags: wire.FlagStamped, TID: p.tid, Version: v + 1})
			p.tid++
		}
		p.send(b)
		synctest.Wait()
		p.stored(0, 20) // a double
		p.stamped(0, 0, "live")
		p.data("x")
		synctest.Wait()
		if kept.times != 1 || kept.load().Synced != 20 {
			t.Errorf("saved %d times, %s", kept.times, kept.saved)
		}
	})
}

func TestProgressThatCannotBe(t *testing.T) {
	one := func(from, to uint64) []client.Range { return []client.Range{{From: from, To: to}} }
	for name, p := range map[string]client.Progress{
		"later without synced": {Later: one(3, 4)},
		"lost without synced":  {Lost: one(3, 4)},
		"later not later":      {Synced: 5, Later: one(4, 7)},
		"no hole before later": {Synced: 5, Later: one(6, 7)},
		"backwards":            {Synced: 5, Later: one(9, 8)},
		"descending":           {Synced: 5, Later: append(one(9, 9), one(7, 7)...)},
		"overlapping":          {Synced: 5, Later: append(one(7, 9), one(9, 12)...)},
		"touching":             {Synced: 5, Later: append(one(7, 9), one(10, 12)...)},
		"lost beyond synced":   {Synced: 5, Lost: one(5, 6)},
		"lost nothing":         {Synced: 5, Lost: one(0, 1)},
	} {
		_, err := client.New(client.Options{Addresses: []string{"gate:1"}, Memory: client.Memory{Load: func() client.Progress { return p }}})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	both := client.Memory{Load: func() client.Progress { return client.Progress{} }, Synced: func() uint64 { return 1 }}
	if _, err := client.New(client.Options{Addresses: []string{"gate:1"}, Memory: both}); err == nil {
		t.Error("both Load and Synced: no error")
	}
}
