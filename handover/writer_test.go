package handover_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// A script is what a writer does, turn after turn, known from its seed: the process that is killed does it to a Memory, and who
// looks at what it left does it to a model.
type script struct {
	r                  *rand.Rand
	table              []byte // what all bytes are cut from: most of the time is to be spent with writing them
	appended, released int    // entries of ring 0
	sent               int    // entries of ring 1
}

type deed struct {
	kind      byte // put, all, clear; ring 0's append, and ring 1's; after the turn, to ring 0: mark, release, note
	n         int  // record, or number of an entry
	hot, cold []byte
	mark      uint64
}

const (
	scriptRecords = 8
	scriptCold    = 3 * handover.BlockBytes
	scriptBlocks  = (2*scriptRecords + 1) * 3 // two versions of each, and the next of one
	sentBehind    = 5                         // entries of ring 1 that its sender keeps
)

func newScript(seed uint64) *script {
	r := rand.New(rand.NewPCG(seed, 2))
	return &script{r: r, table: randomBytes(r, 16<<10)}
}

// bytes returns less than n bytes.
func (s *script) bytes(n int) []byte {
	n = s.r.IntN(n)
	at := s.r.IntN(len(s.table) - n)
	return s.table[at : at+n]
}

// turn returns the deeds of the next turn, and those that come one by one after its end.
func (s *script) turn() (during, after []deed) {
	for range s.r.IntN(20) {
		d := deed{kind: "ppppaaacrs"[s.r.IntN(10)], n: s.r.IntN(scriptRecords)}
		switch d.kind {
		case 'p', 'a':
			d.hot = s.bytes(handover.HotBytes + 1)
		case 'r':
			if s.appended-s.released >= 16 {
				continue
			}
			d.hot = s.bytes(200)
			s.appended++
		case 's':
			s.sent++
			d.n, d.hot = s.sent, binary.NativeEndian.AppendUint64(nil, uint64(s.sent))
		}
		if d.kind == 'a' {
			d.cold = s.bytes(scriptCold + 1)
		}
		during = append(during, d)
	}
	for range s.r.IntN(6) {
		d := deed{kind: "mln"[s.r.IntN(3)], mark: s.r.Uint64()}
		switch d.kind {
		case 'm', 'l':
			if s.appended == s.released {
				continue
			}
			d.n = s.released + s.r.IntN(s.appended-s.released)
			if d.kind == 'l' {
				s.released = d.n + 1
			}
		case 'n':
			d.hot = s.bytes(handover.NoteBytes + 1)
		}
		after = append(after, d)
	}
	return during, after
}

// writer does a script to a Memory.
type writer struct {
	records *handover.Records
	rings   [2]*handover.Ring
	entries [][2]uint64 // of ring 0: where each begins and ends
	send    chan [2]uint64
	unsent  [][2]uint64 // of ring 1, not committed
	sent    [][2]uint64 // owned by who sends
}

func (w *writer) do(d deed) {
	ok := true
	switch d.kind {
	case 'p':
		w.records.Put(d.n, d.hot)
	case 'a':
		ok = w.records.PutAll(d.n, d.hot, d.cold)
	case 'c':
		w.records.Clear(d.n)
	case 'r':
		var e [2]uint64
		e[0], e[1], ok = w.rings[0].Append(d.hot)
		w.entries = append(w.entries, e)
	case 's':
		for w.rings[1].Free() < 1000 { // its sender is behind
			runtime.Gosched()
		}
		var e [2]uint64
		e[0], e[1], ok = w.rings[1].Append(d.hot)
		w.unsent = append(w.unsent, e)
	case 'm':
		w.rings[0].SetMark(w.entries[d.n][0], d.mark)
	case 'l':
		w.rings[0].Release(w.entries[d.n][1])
	case 'n':
		w.rings[0].PutNote(d.hot)
	}
	if !ok {
		panic(fmt.Sprintf("no room for %c", d.kind))
	}
}

// commit ends a turn; what it has for ring 1 is sent then.
func (w *writer) commit() {
	w.records.Commit()
	for _, e := range w.unsent {
		if w.send == nil {
			w.sendNext(e)
		} else {
			w.send <- e
		}
	}
	w.unsent = w.unsent[:0]
}

// sendNext is what the other thread of ring 1 does, if there is one: it marks an entry, notes it, and lets go of one that is older.
func (w *writer) sendNext(e [2]uint64) {
	w.sent = append(w.sent, e)
	n := uint64(len(w.sent))
	w.rings[1].SetMark(e[0], 3*n)
	w.rings[1].PutNote(bytes.Repeat(binary.NativeEndian.AppendUint64(nil, n), 1+int(n%100)))
	if n > sentBehind {
		w.rings[1].Release(w.sent[n-1-sentBehind][1])
	}
}

// playWriter does a script for ever, in a memory of its own.
func playWriter() int {
	seed, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	m, err := handover.NewMemory(handover.Geometry{Shards: 1, Records: scriptRecords, Blocks: scriptBlocks, Rings: 2, RingBytes: 8192})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	w := &writer{records: m.Records(0), rings: [2]*handover.Ring{m.Ring(0, 0), m.Ring(0, 1)}}
	s := newScript(seed)
	if os.Args[0] == stepped {
		return w.beStepped(s, m.FD())
	}
	w.send = make(chan [2]uint64, 100)
	go func() {
		for e := range w.send {
			w.sendNext(e)
		}
	}()
	fmt.Println(m.FD())
	for {
		w.turn(s.turn())
	}
}

func (w *writer) turn(during, after []deed) {
	for _, d := range during {
		w.do(d)
	}
	w.commit()
	for _, d := range after {
		w.do(d)
	}
}

// stepped is the name of a writer whose first thread does one instruction at a time.
const stepped = "stepped"

func init() {
	if os.Args[0] == stepped {
		runtime.LockOSThread() // main stays on the thread that is traced
		debug.SetGCPercent(-1) // which has nothing else to do
		runtime.MemProfileRate = 0
	}
}

// warmUp is how many turns it does as others do: until no thread is to be started and no memory to be made.
const warmUp = 50

// beStepped does the script on the traced thread, and nothing beside it. What a turn is has been thought out before: only writing
// takes instructions.
func (w *writer) beStepped(s *script, memory int) int {
	during, after := make([][]deed, 300), make([][]deed, 300)
	for i := range during {
		during[i], after[i] = s.turn()
	}
	fmt.Println(memory)
	for i := range during {
		if i == warmUp {
			_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
		}
		w.turn(during[i], after[i])
	}
	return 0
}

// written is what a script's records and ring 0 should be.
type written struct {
	script  *script
	turn    uint64
	after   []deed // of that turn, that were not done yet
	records map[int]content
	entries []ringEntry // all that ever were
	first   int         // of those that are there
	note    []byte
	sent    int
}

func (w *written) do(d deed) {
	switch d.kind {
	case 'p':
		w.records[d.n] = content{d.hot, w.records[d.n].cold}
	case 'a':
		w.records[d.n] = content{d.hot, d.cold}
	case 'c':
		delete(w.records, d.n)
	case 'r':
		w.entries = append(w.entries, ringEntry{body: d.hot})
	case 's':
		w.sent = d.n
	case 'm':
		w.entries[d.n].mark = d.mark
	case 'l':
		w.first = d.n + 1
	case 'n':
		w.note = d.hot
	}
}

// matches says whether ring 0 is as it should be.
func (w *written) matches(list []ringEntry, note []byte) bool {
	return bytes.Equal(note, w.note) && (note == nil) == (w.note == nil) &&
		slices.EqualFunc(list, w.entries[w.first:], func(a, b ringEntry) bool { return a.mark == b.mark && bytes.Equal(a.body, b.body) })
}

// A writer is killed at any instruction. What it left is, to the byte, what its last committed turn left, and of what came one by
// one since a beginning.
func TestKilledWriter(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	turns, torn := uint64(0), 0
	for range 40 {
		script := r.Uint64()
		m := killedWriter(t, exe, script, time.Duration(r.IntN(8000))*time.Microsecond)
		want := checkWritten(t, m, script)
		checkSent(t, m.Ring(0, 1), want.sent)
		turns += m.Records(0).Committed()
		if m.Records(0).Used() > 0 && openTurn(t, m) {
			torn++
		}
		_ = m.Close()
	}
	t.Logf("%d turns, %d of 40 killed within one", turns, torn)
	if turns == 0 || torn == 0 {
		t.Error("nobody was killed at work")
	}
}

// killedWriter returns what a writer left that was killed after so long.
func killedWriter(t *testing.T, exe string, script uint64, after time.Duration) *handover.Memory {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := &exec.Cmd{Path: exe, Args: []string{"writer", fmt.Sprint(script)}, Stdout: in, Stderr: os.Stderr}
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	_ = out.SetReadDeadline(time.Now().Add(patience))
	n := 0
	if _, err := fmt.Fscan(out, &n); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/fd/%d", cmd.Process.Pid, n), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := handover.OpenMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(after) // not waited for: it is killed somewhere
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return m
}

// openTurn says whether a record has a half of a turn that was not committed.
func openTurn(t *testing.T, m *handover.Memory) bool {
	t.Helper()
	halves := make([]byte, 256*scriptRecords)
	if _, err := unix.Pread(m.FD(), halves, 8192); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(halves); at += 128 {
		if binary.NativeEndian.Uint64(halves[at:]) > m.Records(0).Committed() {
			return true
		}
	}
	return false
}

func checkWritten(t *testing.T, m *handover.Memory, seed uint64) *written {
	t.Helper()
	w := &written{script: newScript(seed), records: map[int]content{}}
	w.check(t, m)
	return w
}

// check goes on to the committed turn, and from there as far as ring 0 is.
func (w *written) check(t *testing.T, m *handover.Memory) {
	t.Helper()
	records := m.Records(0)
	for ; w.turn < records.Committed(); w.turn++ {
		w.doAll(w.after)
		var during []deed
		during, w.after = w.script.turn()
		w.doAll(during)
	}
	checkRecords(t, records, w.records)
	var list []ringEntry
	if err := m.Ring(0, 0).Each(func(at, end, mark uint64, body []byte) {
		list = append(list, ringEntry{at, end, mark, body})
	}); err != nil {
		t.Fatal(err)
	}
	note := m.Ring(0, 0).Note()
	for !w.matches(list, note) {
		if len(w.after) == 0 {
			t.Fatalf("turn %d: ring 0 has %d entries, %d in the end; note of %d bytes, %d in the end",
				w.turn, len(list), len(w.entries)-w.first, len(note), len(w.note))
		}
		w.do(w.after[0])
		w.after = w.after[1:]
	}
}

func (w *written) doAll(list []deed) {
	for _, d := range list {
		w.do(d)
	}
}

// checkSent looks at ring 1, of which sent entries are committed: its other thread was anywhere behind them.
func checkSent(t *testing.T, ring *handover.Ring, sent int) {
	t.Helper()
	noted := 0
	if note := ring.Note(); note != nil {
		noted = int(binary.NativeEndian.Uint64(note))
		if !bytes.Equal(note, bytes.Repeat(note[:8], 1+noted%100)) {
			t.Fatalf("a note of %d bytes, number %d", len(note), noted)
		}
	}
	first, last := 0, 0
	if err := ring.Each(func(_, _, mark uint64, body []byte) {
		n := int(binary.NativeEndian.Uint64(body))
		if first == 0 {
			first = n
		} else if n != last+1 {
			t.Fatalf("entry %d after %d", n, last)
		}
		last = n
		if mark != 0 && mark != uint64(3*n) || mark == 0 && n <= noted || mark != 0 && n > noted+1 {
			t.Fatalf("entry %d has the mark %d, and %d is noted", n, mark, noted)
		}
	}); err != nil {
		t.Fatal(err)
	}
	released := max(noted-sentBehind, 0)
	if last != sent && sent > 0 || noted > sent || first > released+1 || sent > 0 && first < max(released, 1) {
		t.Fatalf("entries %d to %d of %d, %d noted", first, last, sent, noted)
	}
}

// A comparison that finds everything right would be of no use.
func TestWrittenMatches(t *testing.T) {
	w := &written{entries: []ringEntry{{body: []byte("a")}, {body: []byte("b"), mark: 7}}, first: 1, note: []byte{}}
	if !w.matches([]ringEntry{{body: []byte("b"), mark: 7, at: 5}}, []byte{}) {
		t.Error("the same is different")
	}
	for _, tc := range []struct {
		list []ringEntry
		note []byte
	}{
		{nil, []byte{}}, {[]ringEntry{{body: []byte("b"), mark: 8}}, []byte{}}, {[]ringEntry{{body: []byte("b"), mark: 7}}, nil},
		{[]ringEntry{{body: []byte("b"), mark: 7}}, []byte("x")},
	} {
		if w.matches(tc.list, tc.note) {
			t.Errorf("%+v is the same", tc)
		}
	}
}
