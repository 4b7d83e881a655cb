//go:build e2e

package tests

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/swarm"
)

// Sizes of a schedule.
const (
	scheduleLinks     = 150
	scheduleListeners = 6
	scheduleCrowd     = 40
	scheduleRate      = 900 // messages a second
)

// TestSchedules plays what may happen to a gateway in its life, in an order that follows from a seed: reloads, kills and restarts,
// Managers and a Redis that go and come back, drains that are taken back, clients that come and go. All the while a swarm numbers
// what it sends, and the Manager what it answers. On links that live on nothing may be lost, doubled or out of order, and each link
// that ended must have been told to the Manager once, and counted under a reason.
//
// `make soak` plays many of them. EDGED_SCHEDULES is "<how many> <first seed>": the seed of the n-th is the first one's and n.
func TestSchedules(t *testing.T) {
	many, seed := scheduleCount(t, 3)
	for n := range uint64(many) {
		t.Run(fmt.Sprint(seed+n), func(t *testing.T) { playSchedule(t, seed+n) })
	}
}

// scheduleCount is how many schedules are to be played, and the seed of the first one.
func scheduleCount(t *testing.T, usual int) (many int, seed uint64) {
	t.Helper()
	many, seed = usual, rand.Uint64N(1<<32)
	if words := strings.Fields(os.Getenv("EDGED_SCHEDULES")); len(words) > 0 {
		_ = must(fmt.Sscan(words[0], &many))(t)
		if len(words) > 1 {
			_ = must(fmt.Sscan(words[1], &seed))(t)
		}
	}
	return many, seed
}

// played is what came of schedules.
type played struct {
	steps, kills, messages int
	sentAway, broken       uint64 // links of swarms
	pause                  time.Duration
}

func (p *played) add(o played) {
	p.steps += o.steps
	p.kills += o.kills
	p.messages += o.messages
	p.sentAway += o.sentAway
	p.broken += o.broken
	p.pause = max(p.pause, o.pause)
}

// ended says what became of links.
func (p *played) ended() string { return fmt.Sprintf("%d sent away, %d broken", p.sentAway, p.broken) }

// playSchedule is one of them, on machinery of its own.
func playSchedule(t *testing.T, seed uint64) (p played) {
	t.Logf("EDGED_SCHEDULES=\"1 %d\"", seed)
	s := newStage(t, seed)
	p.steps = 6 + s.random.IntN(6)
	for range p.steps {
		s.step()
	}
	s.calm()
	s.finish(&p)
	return p
}

// stage is a gateway and all that it deals with.
type stage struct {
	t       *testing.T
	random  *rand.Rand
	began   time.Time
	redis   *redistest.Server
	book    *book
	kit     *kit
	gateway *kept

	weather   rough
	walkers   walkers
	listeners []*roomer
	talk      *conversation
	leave     context.CancelFunc // ends the stream of visitors

	managers int // that there were
	kills    int
	crowds   int
	away     map[string]*outage
}

// outage is what has been taken away, and comes back after some more steps.
type outage struct {
	steps int
	back  func()
}

func newStage(t *testing.T, seed uint64) *stage {
	s := &stage{t: t, random: rand.New(rand.NewPCG(seed, 1)), book: newBook(), managers: 1, away: map[string]*outage{}}
	var settings []string
	if s.random.IntN(2) == 0 {
		settings = []string{"--appendonly", "yes", "--appendfsync", "always"}
	}
	s.redis = redistest.Start(t, settings...)
	s.kit = newKit(t, s.book.handler(1))
	s.gateway = startKept(t, startKeeper(t, "1m", "crashes = 1000"), setup{
		gateway:  fmt.Sprintf("reactors = %d\nheartbeat = \"2s\"\nidle_timeout = \"15s\"", 1+s.random.IntN(2)),
		managers: []string{s.kit.address}, manager: "grace = \"20s\"",
		more: reporting(s.redis.Addr, "sh-1"),
	})
	s.walkers.address, s.walkers.weather = s.gateway.address(), &s.weather
	s.talk = startConversation(t, s.gateway.address(), scheduleLinks, scheduleRate)
	for n := range scheduleListeners {
		s.listeners = append(s.listeners, listen(t, s.gateway.address(), fmt.Sprintf("listener-%d", n)))
	}
	var ctx context.Context
	ctx, s.leave = context.WithCancel(context.Background())
	s.walkers.stroll(ctx)
	t.Cleanup(func() { s.leave(); s.walkers.work.Wait() })
	s.began = time.Now()
	return s
}

func (s *stage) say(format string, args ...any) {
	s.t.Logf("%6.2fs %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// step lets something happen, and what is away come back when its time has come.
func (s *stage) step() {
	pause(between(s.random, 0, 400*time.Millisecond))
	if !s.gone("Manager") && s.random.IntN(2) == 0 {
		s.cast(1 + s.random.IntN(5))
	}
	deeds := []func(){s.reload, s.reload, s.die, s.die, s.die, s.restart, s.cut, s.renew, s.redisDies, s.redisHangs, s.come, s.drain}
	deeds[s.random.IntN(len(deeds))]()
	for _, name := range []string{"Manager", "Redis", "drain"} {
		if o := s.away[name]; o != nil {
			if o.steps--; o.steps < 0 {
				s.comeBack(name)
			}
		}
	}
}

func (s *stage) gone(name string) bool { return s.away[name] != nil }

// takeAway notes that something is away for the next steps, which may be none.
func (s *stage) takeAway(name string, back func()) {
	s.away[name] = &outage{s.random.IntN(3), back}
}

func (s *stage) comeBack(name string) {
	s.say("%s: back", name)
	s.away[name].back()
	delete(s.away, name)
}

func (s *stage) reload() {
	s.say("reload: %v", s.gateway.reload())
}

// die is kill -9, and another process after a while.
func (s *stage) die() {
	later := between(s.random, 0, 300*time.Millisecond)
	s.kills++
	s.weather.set(true)
	torn := s.gateway.torn
	took := s.gateway.die(later)
	s.say("kill: back after %v, %d torn", round(took), s.gateway.torn-torn)
	s.weather.set(false)
}

// restart ends the process in order, and has another one come. Who is told to leave during a drain sends away who is left.
func (s *stage) restart() {
	if s.gone("drain") {
		return
	}
	s.weather.set(true)
	s.gateway.wantKept()
	s.gateway.stop()
	s.gateway.again()
	s.say("restart: %d torn", s.gateway.wantKept().Recovered.Torn)
	s.weather.set(false)
}

// cut breaks the Manager's streams; it is the same one when it comes back.
func (s *stage) cut() {
	if s.gone("Manager") {
		return
	}
	s.say("Manager: cut")
	s.kit.cut()
	s.takeAway("Manager", s.kit.serve)
}

// renew ends the Manager in order, and has another one come back.
func (s *stage) renew() {
	if s.gone("Manager") {
		return
	}
	s.say("Manager: another one")
	s.heard() // what it casts and has not sent ends with it
	s.managers++
	s.kit.renew(s.book.handler(s.managers))
	s.takeAway("Manager", s.kit.serve)
}

func (s *stage) redisDies() {
	if s.gone("Redis") {
		return
	}
	s.say("Redis: killed")
	s.redis.Kill()
	s.takeAway("Redis", s.redis.Restart)
}

func (s *stage) redisHangs() {
	if s.gone("Redis") {
		return
	}
	s.say("Redis: hangs")
	s.redis.Pause()
	s.takeAway("Redis", s.redis.Continue)
}

// come lets many clients come and go at a time.
func (s *stage) come() {
	s.say("%d come", scheduleCrowd)
	s.crowds++
	s.walkers.crowd(fmt.Sprintf("crowd-%d", s.crowds), scheduleCrowd)
}

// drain has links sent away for a while: some of the swarm's, and who comes.
func (s *stage) drain() {
	if s.gone("drain") {
		return
	}
	s.say("drain")
	s.weather.set(true)
	s.gateway.wantCtl("draining", "drain", "--within", "30s")
	s.takeAway("drain", func() {
		s.gateway.wantCtl("not draining any more", "drain", "--undo")
		s.weather.set(false)
	})
}

// cast sends numbers to the room, once everybody there has heard those before.
func (s *stage) cast(times int) {
	s.heard()
	waitFor(s.t, "the Manager casts", func() bool { return s.book.cast(s.kit.m) == nil })
	for range times - 1 {
		if s.book.cast(s.kit.m) != nil {
			return
		}
	}
}

// heard waits until every listener that is here has heard the last cast.
func (s *stage) heard() {
	s.t.Helper()
	s.book.mu.Lock()
	last := s.book.casts
	s.book.mu.Unlock()
	for n, l := range s.listeners {
		waitFor(s.t, fmt.Sprintf("listener %d hears cast %d", n, last), func() bool { return !l.here() || l.heard.Load() == last })
	}
}

// calm ends everything that is out of the ordinary.
func (s *stage) calm() {
	for _, name := range []string{"Redis", "Manager", "drain"} {
		if s.gone(name) {
			s.comeBack(name)
		}
	}
	s.cast(1)
	s.heard()
	s.present()
}

// present waits until Redis says of everybody who is here where they are.
func (s *stage) present() {
	keys := make([]string, scheduleListeners)
	for n, l := range s.listeners {
		keys[n] = fmt.Sprintf("edged:route:{listener-%d}", n)
		waitFor(s.t, "presence of "+keys[n], func() bool { return !l.here() || s.redis.Do("HGET", keys[n], "x") != "" })
	}
}

// finish ends the load and looks at all the accounts.
func (s *stage) finish(p *played) {
	t := s.t
	t.Helper()
	before := s.gateway.scrape()
	s.talk.finish()
	s.leave()
	s.walkers.check(t)
	ended := map[string]int{}
	for n, l := range s.listeners {
		if !l.here() && l.wrong == nil {
			ended[l.ended.Error()]++
		}
		_ = l.c.write(wireBye)
		<-l.done
		if l.wrong != nil {
			t.Errorf("listener %d: %v", n, l.wrong)
		}
		l.c.close()
	}
	waitHere(t, s.book.open)
	s.book.check(t)
	s.gateway.waitMetric("edged_links", 0)
	s.gateway.balanced()
	r := &s.talk.report
	s.judge(r, ended)
	if bad := s.gateway.log.lines("level=ERROR"); len(bad) > 0 {
		t.Errorf("%q", bad)
	}
	p.messages, p.pause, p.kills = int(r.Messages.Sent), r.Pause.Took, s.kills
	p.sentAway, p.broken = total(r.Connections.Byes), total(r.Connections.Lost)
	s.say("%d messages, %d pushes, %d casts, %d visitors (%d more were refused in rough weather), ended: swarm %v %v, listeners %v; at the Manager %v; %v links before the end, longest pause %v",
		r.Messages.Sent, r.Messages.Pushes, s.book.casts, s.walkers.came.Load(), s.walkers.excused.Load(), r.Connections.Byes, r.Connections.Lost, ended,
		s.book.closed, before.sum("edged_links"), r.Pause.Took)
}

// waitHere waits until no links are left that the Managers hold to be there.
func waitHere(t *testing.T, left func() []string) {
	t.Helper()
	for end := time.Now().Add(patience); ; pause(10 * time.Millisecond) {
		links := left()
		if len(links) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the Managers have not heard of the end of %d links: %.300q", len(links), links)
		}
	}
}

// judge looks at what the swarm has seen. Links may have ended with the reasons of a drain alone.
func (s *stage) judge(r *swarm.Report, ended map[string]int) {
	s.t.Helper()
	reasons := []string{"draining"}
	for why, n := range r.Connections.Byes {
		if !slices.Contains(reasons, why) {
			s.t.Errorf("%d links were sent away: %s", n, why)
		}
	}
	broken := total(r.Connections.Lost)
	for why, n := range ended {
		if why != "BYE draining" {
			broken += uint64(n)
		}
	}
	if broken > uint64(s.gateway.torn) {
		s.t.Errorf("%d links broke, %d were torn: %v, %v", broken, s.gateway.torn, r.Connections.Lost, ended)
	}
}

func total(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}
