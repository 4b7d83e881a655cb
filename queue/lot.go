package queue

import "time"

const (
	firstPause  = 50 * time.Millisecond // before what failed is tried again; doubles
	longestWait = 2 * time.Second
)

// lot holds items that failed until they are tried again, and the items behind them that are for the same: nobody overtakes.
type lot struct {
	items []*item
	keys  map[key]bool
	pause time.Duration
}

// admit keeps back those items that must stay behind held ones, and returns the others.
func (l *lot) admit(items []*item) []*item {
	if len(l.items) == 0 {
		return items
	}
	free := items[:0:0]
	for _, i := range items {
		if l.keys[i.key] {
			l.items = append(l.items, i)
		} else {
			free = append(free, i)
		}
	}
	return free
}

// hold takes in items that failed.
func (l *lot) hold(failed []*item) {
	if l.keys == nil {
		l.keys = make(map[key]bool)
	}
	for _, i := range failed {
		l.keys[i.key] = true
	}
	l.items = append(l.items, failed...)
}

// take empties the lot, and returns what was in it in its order.
func (l *lot) take() []*item {
	items := l.items
	l.items = nil
	clear(l.keys)
	return items
}

// rest is how long to wait before the next try.
func (l *lot) rest() time.Duration {
	l.pause = min(max(2*l.pause, firstPause), longestWait)
	return jitter(l.pause)
}
