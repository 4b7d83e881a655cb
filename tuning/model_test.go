package tuning_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/tuning"
)

// twin is what a naive mind expects of a box whose settings edged and others change.
type twin struct {
	now  map[string]string    // by key
	mine map[string]*ownValue // what edged has changed, by key
}

type ownValue struct{ before, after string }

// write is one setting that an Apply writes.
func (w *twin) write(key, value string) {
	own := w.mine[key]
	if own == nil || own.after != w.now[key] { // nobody's, or somebody else's since
		own = &ownValue{before: w.now[key]}
		w.mine[key] = own
	}
	own.after = value
	w.now[key] = value
	if own.after == own.before {
		delete(w.mine, key)
	}
}

// undone is what remains of the settings that an Apply wrote before it died: each is as before, and edged has changed those
// that it had changed before that and nobody else since.
func (w *twin) undone(keys []string) {
	for _, key := range keys {
		if own := w.mine[key]; own != nil && own.after != w.now[key] {
			delete(w.mine, key)
		}
	}
}

func (w *twin) revert() {
	for key, own := range w.mine {
		if w.now[key] == own.after {
			w.now[key] = own.before
		}
	}
	clear(w.mine)
}

// drifted returns the keys that somebody else has changed since edged did.
func (w *twin) drifted() []string {
	var keys []string
	for key, own := range w.mine {
		if w.now[key] != own.after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// player plays the same on the box and on its twin.
type player struct {
	*machine
	t      *testing.T
	random *rand.Rand
	twin   twin
	keys   []string
	boots  int
	log    []string
}

func newPlayer(t *testing.T, seed uint64) *player {
	p := &player{
		machine: open(t, "vps"), t: t, random: rand.New(rand.NewPCG(seed, 1)),
		twin: twin{now: map[string]string{}, mine: map[string]*ownValue{}},
	}
	_, plan := p.plan(t)
	for _, e := range plan.Entries {
		if e.Kind == tuning.KindSysctl && e.Wanted != "" {
			p.keys = append(p.keys, e.Key)
			p.twin.now[e.Key] = e.Current
		}
	}
	return p
}

func (p *player) say(format string, args ...any) { p.log = append(p.log, fmt.Sprintf(format, args...)) }

func path(key string) string { return "proc/sys/" + strings.ReplaceAll(key, ".", "/") }

// others gives a setting another value, by any hand but edged's.
func (p *player) others() {
	key := p.keys[p.random.IntN(len(p.keys))]
	value := strconv.Itoa(p.random.IntN(1 << 20))
	if n := len(strings.Fields(p.twin.now[key])); n == 3 {
		value = fmt.Sprintf("%d %d %d", p.random.IntN(1<<10), 1<<10+p.random.IntN(1<<10), 1<<20+p.random.IntN(1<<22))
	}
	p.say("%s = %s by others", key, value)
	p.set(p.t, path(key), value)
	p.twin.now[key] = value
}

// changes returns the plan of a random goal, and what it writes.
func (p *player) changes() (tuning.Plan, []tuning.Entry) {
	p.Goal.Links = 1000 + p.random.IntN(3_000_000)
	_, plan := p.plan(p.t)
	return plan, plan.Changes()
}

func (p *player) applies() {
	plan, changes := p.changes()
	p.say("apply for %d links: %d changes", p.Goal.Links, len(changes))
	if _, err := p.Apply(context.Background(), plan, tuning.Options{}); err != nil {
		p.t.Error(err)
	}
	for _, e := range changes {
		p.twin.write(e.Key, e.Wanted)
	}
}

func (p *player) dies() {
	plan, changes := p.changes()
	if len(changes) == 0 {
		return
	}
	n := 1 + p.random.IntN(len(changes))
	p.say("apply for %d links dies at write %d of %d", p.Goal.Links, n, len(changes))
	p.until(n, p.random.IntN(2) == 0, func() { _, _ = p.Apply(context.Background(), plan, tuning.Options{}) })
	p.machine.recover(p.t)
	var keys []string
	for _, e := range changes[:n] {
		keys = append(keys, e.Key)
	}
	p.twin.undone(keys)
}

func (p *player) reverts() {
	p.say("revert")
	p.machine.revert(p.t)
	p.twin.revert()
}

// reboots starts the box anew: what edged knew is of another boot.
func (p *player) reboots() {
	p.say("reboot")
	p.boots++
	p.set(p.t, "proc/sys/kernel/random/boot_id", fmt.Sprintf("%08d-0000-0000-0000-000000000000", p.boots))
	for _, key := range p.keys {
		p.set(p.t, path(key), "1 2 3000000"[:1+10*(len(strings.Fields(p.twin.now[key]))/3)])
		p.twin.now[key] = strings.Join(strings.Fields(p.get(p.t, path(key))), " ")
	}
	clear(p.twin.mine)
	if res := p.machine.recover(p.t); res.RolledBack || len(res.Outcomes) > 0 {
		p.t.Error("after a reboot:", res.Summary())
	}
}

func (p *player) check() {
	p.t.Helper()
	for _, key := range p.keys {
		if got := strings.Join(strings.Fields(p.get(p.t, path(key))), " "); got != p.twin.now[key] {
			p.t.Fatalf("%s is %q, expected %q after\n%s", key, got, p.twin.now[key], strings.Join(p.log, "\n"))
		}
	}
	found, err := p.Inspect(context.Background(), p.Goal.Interfaces)
	if err != nil {
		p.t.Fatal(err)
	}
	drift, err := p.Verify(context.Background(), found, tuning.Plan{})
	if err != nil {
		p.t.Fatal(err)
	}
	var keys []string
	for _, d := range drift {
		keys = append(keys, d.Key)
	}
	slices.Sort(keys)
	if want := p.twin.drifted(); !slices.Equal(keys, want) {
		p.t.Fatalf("drifted %v, expected %v after\n%s", keys, want, strings.Join(p.log, "\n"))
	}
}

func TestAgainstTwin(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	for round := range uint64(16) {
		p := newPlayer(t, seed+round)
		steps := []func(){p.others, p.others, p.others, p.applies, p.applies, p.dies, p.dies, p.reverts, p.reboots}
		for range 40 {
			steps[p.random.IntN(len(steps))]()
			p.check()
		}
		p.reverts()
		p.check()
	}
}
