package offline_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"edged/offline"
)

// twin is one user's messages as the package comment tells them, kept the naive way.
type twin struct {
	log    []string // payloads of all versions, from 1
	seen   map[string]int
	order  []string // msg_ids, oldest first
	synced map[string]uint64
}

func newTwin() *twin { return &twin{seen: make(map[string]int), synced: make(map[string]uint64)} }

func (w *twin) store(m offline.Message) int {
	if v, ok := w.seen[m.MsgID]; ok {
		return -v
	}
	w.log = append(w.log, string(m.Payload))
	if m.MsgID != "" {
		w.seen[m.MsgID] = len(w.log)
		w.order = append(w.order, m.MsgID)
	}
	return len(w.log)
}

// pull returns the messages as brief writes them.
func (w *twin) pull(device string, after uint64, most, count int) (text string, more bool) {
	if after == 0 {
		after = w.synced[device]
	}
	if after > uint64(len(w.log)) {
		after = 0
	}
	first := max(int(after), len(w.log)-count)
	var parts []string
	for v := first + 1; v <= len(w.log); v++ {
		if most > 0 && len(parts) == most {
			return strings.Join(parts, ", "), true
		}
		parts = append(parts, fmt.Sprintf("%d=%s", v, w.log[v-1]))
	}
	return strings.Join(parts, ", "), false
}

// TestModel does things at random and compares each answer with the twin's.
func TestModel(t *testing.T) {
	t.Parallel()
	_, l := open(t, func(c *offline.Config) { c.Count = modelCount })
	model(t, l, 1500)
}

// modelCount is the Config.Count of a Log under test.
const modelCount = 50

func model(t *testing.T, l *offline.Log, steps int) {
	t.Helper()
	const count = modelCount
	r := seeded(t)
	users := make(map[string]*twin)
	for i := range 5 {
		users[fmt.Sprint("u", i)] = newTwin()
	}
	for step := range steps {
		user := fmt.Sprint("u", r.IntN(5))
		w := users[user]
		device := fmt.Sprint("d", r.IntN(3))
		switch r.IntN(3) {
		case 0:
			modelStore(t, r, l, users)
		case 1:
			version := r.Uint64N(uint64(len(w.log)) + 2)
			err := l.Sync(soon(t), []offline.Point{{User: user, Device: device, Version: version}})[0]
			var ahead *offline.AheadError
			if late := version > uint64(len(w.log)); late != errors.As(err, &ahead) || !late && err != nil {
				t.Fatalf("step %d: sync %d of %d: %v", step, version, len(w.log), err)
			} else if !late {
				w.synced[device] = max(w.synced[device], version)
			}
		case 2:
			after, most := r.Uint64N(uint64(len(w.log))+3), r.IntN(count)
			if r.IntN(2) == 0 {
				after = 0
			}
			p := pull(t, l, user, device, after, most)
			text, more := w.pull(device, after, most, count)
			if brief(p.Entries) != text || p.More != more || p.Synced != w.synced[device] || p.Last != uint64(len(w.log)) {
				t.Fatalf("step %d: pull after %d, most %d: %s\n%+v\nwant %s", step, after, most, brief(p.Entries), p, text)
			}
		}
	}
}

func modelStore(t *testing.T, r *rand.Rand, l *offline.Log, users map[string]*twin) {
	t.Helper()
	var messages []offline.Message
	var want []int
	for range r.IntN(100) {
		m := offline.Message{User: fmt.Sprint("u", r.IntN(len(users))), Payload: fmt.Append(nil, r.IntN(1e9))}
		if r.IntN(5) > 0 {
			m.MsgID = fmt.Sprint(r.IntN(3000))
		}
		messages = append(messages, m)
		want = append(want, users[m.User].store(m))
	}
	if got := store(t, l, messages...); !slices.Equal(got, want) {
		t.Fatalf("stored as %v, want %v", got, want)
	}
}

// TestConcurrentStores lets several connections, as of several processes, store for the same users at once, each message twice
// at least and in overlapping calls.
func TestConcurrentStores(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	const processes, callers, calls, users, ids, count = 4, 3, 12, 6, 900, 200
	s, _ := open(t)
	c := offline.Default()
	c.Count = count
	var mu sync.Mutex
	versions := make(map[string]map[string]uint64) // user → msg_id → version
	first := make(map[string]string)               // user/version → msg_id, of those that were not duplicates
	var work sync.WaitGroup
	for range processes {
		l := offline.New(dial(t, s.Addr), c)
		for range callers {
			r := rand.New(rand.NewPCG(r.Uint64(), 2))
			work.Go(func() {
				for range calls {
					var messages []offline.Message
					for range 1 + r.IntN(200) {
						id := fmt.Sprint(r.IntN(ids))
						messages = append(messages, msg(fmt.Sprint("u", r.IntN(users)), id, "payload of "+id))
					}
					results := l.Store(soon(t), messages)
					mu.Lock()
					note(t, messages, results, versions, first)
					mu.Unlock()
				}
			})
		}
	}
	work.Wait()
	l := offline.New(dial(t, s.Addr), c)
	for user, byID := range versions {
		for v := range uint64(len(byID)) {
			if _, ok := first[fmt.Sprint(user, "/", v+1)]; !ok {
				t.Errorf("%s: version %d of %d was given to nobody", user, v+1, len(byID))
			}
		}
		p := pull(t, l, user, "d", 0, 0)
		if p.Last != uint64(len(byID)) || len(p.Entries) != min(count, len(byID)) {
			t.Errorf("%s: %d of %d messages, the last is %d", user, len(p.Entries), len(byID), p.Last)
		}
		for _, e := range p.Entries {
			if id := string(e.MsgID); byID[id] != e.Version || string(e.Payload) != "payload of "+id {
				t.Errorf("%s: version %d is %s, %q", user, e.Version, id, e.Payload)
			}
		}
	}
}

// note checks that a msg_id has one version, and a version one msg_id.
func note(t *testing.T, messages []offline.Message, results []offline.Stored, versions map[string]map[string]uint64, first map[string]string) {
	for i, res := range results {
		user, id := messages[i].User, messages[i].MsgID
		if res.Err != nil {
			t.Errorf("%s: %v", id, res.Err)
			continue
		}
		byID := versions[user]
		if byID == nil {
			byID = make(map[string]uint64)
			versions[user] = byID
		}
		if v, ok := byID[id]; ok && v != res.Version {
			t.Errorf("%s: %s has versions %d and %d", user, id, v, res.Version)
		}
		byID[id] = res.Version
		if !res.Duplicate {
			place := fmt.Sprint(user, "/", res.Version)
			if other, ok := first[place]; ok {
				t.Errorf("version %s was given to %s and %s", place, other, id)
			}
			first[place] = id
		}
	}
}
