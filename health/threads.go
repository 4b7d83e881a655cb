package health

import (
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// threads measures how much of a CPU the busiest of some threads takes.
type threads struct {
	tasks string // directory of the process's threads
	list  []thread
}

// thread is one of them.
type thread struct {
	id    int
	sched file          // in nanoseconds, but not on every kernel
	stat  file          // in steps of 10 ms
	used  time.Duration // time on a CPU since the thread began
	at    time.Time     // of used; zero: there is none
}

// busiest returns the largest share of the time since the last call that one of the threads was on a CPU.
func (t *threads) busiest(ids []int, now time.Time, buf []byte) Gauge {
	if !slices.EqualFunc(t.list, ids, func(th thread, id int) bool { return th.id == id }) {
		t.follow(ids)
	}
	g := Gauge{}
	for i := range t.list {
		if share, ok := t.list[i].share(now, buf); ok {
			g.Used, g.Limit = max(g.Used, share), 1
		}
	}
	return g
}

// follow begins with other threads.
func (t *threads) follow(ids []int) {
	t.close()
	t.list = t.list[:0]
	for _, id := range ids {
		dir := filepath.Join(t.tasks, strconv.Itoa(id))
		t.list = append(t.list, thread{
			id: id, sched: file{path: filepath.Join(dir, "schedstat")}, stat: file{path: filepath.Join(dir, "stat")},
		})
	}
}

func (t *thread) share(now time.Time, buf []byte) (share float64, ok bool) {
	used, ok := parseSchedstat(t.sched.read(buf, nil))
	if !ok {
		used, ok = parseThreadStat(t.stat.read(buf, nil))
	}
	before, since := t.used, t.at
	t.used, t.at = used, now
	if !ok {
		t.at = time.Time{}
	}
	passed := now.Sub(since)
	if !ok || since.IsZero() || passed <= 0 || used < before {
		return 0, false
	}
	return min(float64(used-before)/float64(passed), 1), true
}

func (t *threads) close() {
	for i := range t.list {
		t.list[i].sched.close()
		t.list[i].stat.close()
	}
}
