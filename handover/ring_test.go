package handover_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edged/handover"
)

type ringEntry struct {
	at, end, mark uint64
	body          []byte
}

// ringModel is a ring and what should be in it.
type ringModel struct {
	t         *testing.T
	m         *handover.Memory
	records   *handover.Records
	ring      *handover.Ring
	entries   []ringEntry
	committed int // of entries
	full      int
}

func (m *ringModel) check() {
	m.t.Helper()
	i := 0
	next := reopen(m.t, m.m)
	err := next.Ring(0, 1).Each(func(at, end, mark uint64, body []byte) {
		if i >= m.committed {
			m.t.Fatalf("entry %d of %d that are committed", i, m.committed)
		}
		if w := m.entries[i]; w.at != at || w.end != end || w.mark != mark || !bytes.Equal(w.body, body) {
			m.t.Fatalf("entry %d: %d to %d, mark %d, %d bytes", i, at, end, mark, len(body))
		}
		i++
	})
	if err != nil || i != m.committed {
		m.t.Fatalf("%d of %d entries, %v", i, m.committed, err)
	}
	_ = next.Close()
}

func (m *ringModel) append(r *rand.Rand) {
	body := randomBytes(r, r.IntN(900))
	cut := r.IntN(len(body) + 1)
	free := m.ring.Free()
	at, end, ok := m.ring.Append(body[:cut], body[cut:])
	if ok {
		m.entries = append(m.entries, ringEntry{at, end, 0, body})
	} else if m.full++; free > 2*len(body)+100 {
		m.t.Fatalf("%d bytes do not go in, %d are free", len(body), free)
	}
}

// Random turns against a list; marks and releases, also of entries that are not committed yet, are there at once.
func TestRing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	mem := newMemory(t, handover.Geometry{Shards: 1, Rings: 2, RingBytes: 8192})
	setTurn(t, mem, 1<<32-100)
	m := &ringModel{t: t, m: mem, records: mem.Records(0), ring: mem.Ring(0, 1)}
	for step := range 20_000 {
		switch r.IntN(5) {
		case 0, 1:
			m.append(r)
		case 2:
			if len(m.entries) > 0 {
				e := &m.entries[r.IntN(len(m.entries))]
				e.mark = r.Uint64()
				m.ring.SetMark(e.at, e.mark)
			}
		case 3:
			if len(m.entries) > 0 {
				n := r.IntN(len(m.entries))
				m.ring.Release(m.entries[n].end)
				m.entries = m.entries[n+1:]
				m.committed = max(m.committed-n-1, 0)
			}
		case 4:
			m.records.Commit()
			m.committed = len(m.entries)
		}
		if step%97 == 0 {
			m.check()
		}
	}
	m.check()
	if m.full == 0 {
		t.Error("it was never full")
	}
	if _, _, ok := m.ring.Append(make([]byte, 4097)); ok {
		t.Error("more than half of the ring in one entry")
	}
}

// The last note is the one that is found, whoever looks, and whatever turn it is.
func TestNote(t *testing.T) {
	m := newMemory(t, handover.Geometry{Shards: 1, Rings: 2, RingBytes: 4096})
	ring, next := m.Ring(0, 0), reopen(t, m)
	if ring.Note() != nil {
		t.Error("a note that nobody put")
	}
	if handover.NoteBytes < 1500 {
		t.Error("a stream's state does not go in")
	}
	for _, n := range []int{0, 1, handover.NoteBytes, 0, 17, handover.NoteBytes, handover.NoteBytes - 1} {
		note := bytes.Repeat([]byte{byte(n + 1)}, n)
		ring.PutNote(note)
		for _, got := range [][]byte{ring.Note(), next.Ring(0, 0).Note()} {
			if got == nil || !bytes.Equal(got, note) {
				t.Errorf("%d bytes, not %d", len(got), n)
			}
		}
	}
	got := ring.Note()
	ring.PutNote([]byte("another"))
	ring.PutNote([]byte("a third"))
	if len(got) != handover.NoteBytes-1 || got[0] != handover.NoteBytes%256 {
		t.Error("a note changed when another was put")
	}
	if err := ring.Each(func(_, _, _ uint64, _ []byte) { t.Error("an entry") }); err != nil || m.Ring(0, 1).Note() != nil {
		t.Error(err)
	}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "a note of") {
			t.Error(said)
		}
	}()
	ring.PutNote(make([]byte, handover.NoteBytes+1))
}

// A turn of one shard says nothing of another shard's.
func TestTurnsOfShards(t *testing.T) {
	m := newMemory(t, handover.Geometry{Shards: 2, Records: 1, Rings: 2, RingBytes: 4096})
	for shard := range 2 {
		for n := range 2 {
			m.Ring(shard, n).Append([]byte{byte(shard), byte(n)})
		}
	}
	m.Records(1).Commit()
	var got []string
	for shard := range 2 {
		for n := range 2 {
			if err := m.Ring(shard, n).Each(func(_, _, _ uint64, body []byte) { got = append(got, fmt.Sprint(body)) }); err != nil {
				t.Error(err)
			}
		}
	}
	if !slices.Equal(got, []string{"[1 0]", "[1 1]"}) {
		t.Errorf("%v", got)
	}
}
