package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"

	"edged/handover"
)

// hulk makes a memory of one shard and one ring with that note and those entries. With open the last one's turn is not committed.
func hulk(t testing.TB, note []byte, open bool, entries ...hulkEntry) *handover.Memory {
	t.Helper()
	memory, err := handover.NewMemory(handover.Geometry{Shards: 1, Records: 1, Blocks: 1, Rings: 1, RingBytes: MinRingBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	ring, records := memory.Ring(0, 0), memory.Records(0)
	if note != nil {
		ring.PutNote(note)
	}
	for i, e := range entries {
		if i == len(entries)-1 && open {
			records.Commit()
		}
		at, _, ok := ring.Append(e.items)
		if !ok {
			t.Fatal("no room")
		}
		ring.SetMark(at, e.mark)
	}
	if !open {
		records.Commit()
	}
	return memory
}

type hulkEntry struct {
	mark  uint64
	items []byte
}

func hulkNote(change func(h *head), next, freed uint64) []byte {
	h := head{address: goldenOne, peer: peer{met: true, named: true, id: "m"}, keep: keepAll, last: 7, first: 5, base: 20}
	if change != nil {
		change(&h)
	}
	return h.appendNote(nil, next, freed)
}

func TestRecoverRing(t *testing.T) {
	two := append(message(2), message(3)...)
	none := func(h *head) { h.keep = keepNone }
	tests := []struct {
		name    string
		note    []byte
		open    bool
		entries []hulkEntry
		kept    [][]byte
		waiting [][]byte
	}{
		{name: "nothing", note: hulkNote(nil, 5, 0)},
		{name: "a number for each", note: hulkNote(nil, 5, 0), entries: []hulkEntry{{5, message(1)}, {6, two}},
			kept: [][]byte{message(1), two}},
		{name: "merged", note: hulkNote(nil, 7, 0), entries: []hulkEntry{{0, message(1)}, {5, message(2)}, {0, message(3)}},
			kept: [][]byte{append(message(1), message(2)...), nil}, waiting: [][]byte{message(3)}},
		{name: "in pieces", note: hulkNote(nil, 5, 0), entries: []hulkEntry{{0, two[:9]}, {5, two[9:]}, {0, two[:3]}, {0, two[3:]}},
			kept: [][]byte{two}, waiting: [][]byte{two}},
		{name: "taken back, the numbers stay", note: hulkNote(nil, 6, 0), entries: []hulkEntry{{5, message(1)}, {6, two}, {}, {0, message(4)}},
			kept: [][]byte{nil, nil}, waiting: [][]byte{message(4)}},
		{name: "taken back in a turn that is not committed", note: hulkNote(nil, 6, 0), open: true,
			entries: []hulkEntry{{5, message(1)}, {0, two}, {}}, kept: [][]byte{message(1)}, waiting: [][]byte{two}},
		{name: "of another numbering", note: hulkNote(nil, 5, 48), entries: []hulkEntry{{900, message(1)}, {5, two}}, kept: [][]byte{two}},
		{name: "receipted", note: hulkNote(nil, 7, 0), entries: []hulkEntry{{4, message(1)}, {6, two}}, kept: [][]byte{nil, two}},
		{name: "without receipts", note: hulkNote(none, 6, 0), entries: []hulkEntry{{5, message(1)}, {6, two}, {0, message(4)}},
			kept: [][]byte{nil, nil}, waiting: [][]byte{message(4)}},
		{name: "number by the note alone", note: hulkNote(nil, 8, 0), kept: [][]byte{nil, nil, nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			memory := hulk(t, tt.note, tt.open, tt.entries...)
			_, state, err := RecoverState(memory.Ring, 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			records, err := parseState(state, 1)
			if err != nil || len(records) != 1 {
				t.Fatalf("%d records, %v", len(records), err)
			}
			rec := records[0]
			if fmt.Sprintf("%q", rec.kept) != fmt.Sprintf("%q", tt.kept) || fmt.Sprintf("%q", rec.waiting) != fmt.Sprintf("%q", tt.waiting) {
				t.Errorf("kept %q, waiting %q\nwant %q, %q", rec.kept, rec.waiting, tt.kept, tt.waiting)
			}
			if rec.first != 5 || rec.last != 7 || rec.base != 20 || rec.peer.id != "m" || rec.up || rec.gone {
				t.Errorf("the head is %+v", rec.head)
			}
		})
	}
}

// What waits is cut into batches that fit a frame.
func TestRecoveredBatchesAreCut(t *testing.T) {
	var entries []hulkEntry
	var all []byte
	for i := range 2000 {
		entries = append(entries, hulkEntry{0, message(i)})
		all = append(all, message(i)...)
	}
	memory := hulk(t, hulkNote(nil, 5, 0), false, entries...)
	_, state, err := RecoverState(memory.Ring, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	records, err := parseState(state, 1)
	if err != nil {
		t.Fatal(err)
	}
	waiting := records[0].waiting
	if got := bytes.Join(waiting, nil); !bytes.Equal(got, all) || len(waiting) < 3 {
		t.Errorf("%d batches, %d bytes of %d", len(waiting), len(got), len(all))
	}
	for i, b := range waiting {
		if len(b) > frameLen-suffixLen || i < len(waiting)-1 && len(b) < frameLen/2 {
			t.Errorf("batch %d has %d bytes", i, len(b))
		}
	}
}

func TestDamagedRings(t *testing.T) {
	for name, memory := range map[string]*handover.Memory{
		"no note":           hulk(t, nil, false, hulkEntry{0, message(1)}),
		"half a note":       hulk(t, hulkNote(nil, 5, 0)[:10], false),
		"a later version":   hulk(t, append([]byte{99}, hulkNote(nil, 5, 0)...), false),
		"another shard's":   hulk(t, hulkNote(func(h *head) { h.shard = 1 }, 5, 0), false),
		"a number too soon": hulk(t, hulkNote(nil, 4, 0), false),
		"too many numbers":  hulk(t, hulkNote(nil, 1<<40, 0), false),
		"far away":          hulk(t, hulkNote(nil, 5, 0), false, hulkEntry{1 << 40, message(1)}),
		"twice":             hulk(t, hulkNote(nil, 5, 0), false, hulkEntry{5, message(1)}, hulkEntry{5, message(1)}),
		"no items":          hulk(t, hulkNote(nil, 5, 0), false, hulkEntry{0, []byte("no items at all")}),
		"no items, marked":  hulk(t, hulkNote(nil, 5, 0), false, hulkEntry{5, []byte("no items at all")}),
		"bytes behind":      hulk(t, append(hulkNote(nil, 5, 0), 1, 2, 3), false),
	} {
		if _, state, err := RecoverState(memory.Ring, 1, 1); err == nil || state != nil {
			t.Errorf("%s: %x", name, state)
		}
	}
	if _, _, err := RecoverState(func(int, int) *handover.Ring { return nil }, 3, 3); err != nil {
		t.Errorf("without rings: %v", err)
	}
}

// Whatever stands in rings and notes: they are refused, or a relay goes on with what they say.
func FuzzRecoverState(f *testing.F) {
	patch := func(at uint32, b byte) []byte { return append(binary.BigEndian.AppendUint32(nil, at), b) }
	f.Add(hulkNote(nil, 5, 0), message(1), uint64(5), append(message(2), message(3)...), uint64(0), []byte(nil))
	f.Add(hulkNote(nil, 9, 40), message(1), uint64(8), []byte(nil), uint64(0), patch(200, 7))
	f.Add(hulkNote(func(h *head) { h.keep, h.peer = keepNone, peer{} }, 6, 0), message(1)[:5], uint64(0), message(1)[5:], uint64(6), patch(8192, 1))
	f.Add(append(hulkNote(nil, 5, 0), (&absent{head{address: goldenTwo, first: 3}, 4}).append(nil, StateVersion)...), []byte(nil), uint64(0), []byte(nil), uint64(0), []byte(nil))
	f.Fuzz(func(t *testing.T, note, one []byte, markOne uint64, two []byte, markTwo uint64, damage []byte) {
		if len(note) > handover.NoteBytes || len(one)+len(two) > MinRingBytes/4 {
			return
		}
		memory := hulk(t, note, len(damage)%2 == 1, hulkEntry{markOne, one}, hulkEntry{markTwo, two})
		for ; len(damage) >= 5; damage = damage[5:] {
			at := 8192 + int64(binary.BigEndian.Uint32(damage))%(16<<10)
			if _, err := syscall.Pwrite(memory.FD(), damage[4:5], at); err != nil {
				t.Fatal(err)
			}
		}
		version, state, err := RecoverState(memory.Ring, 1, 1)
		if err != nil {
			return
		}
		r, err := heir(t, &Inheritance{Version: version, State: state}, goldenOne)
		if err != nil {
			t.Fatalf("what was found cannot be loaded: %v: %x", err, state)
		}
		stateOf(t, r)
	})
}
