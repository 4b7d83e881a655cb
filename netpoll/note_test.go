package netpoll_test

import (
	"maps"
	"testing"

	"edged/netpoll"
)

// watched is what Config.Note makes known of a connection.
type watched struct {
	open          bool
	read, written uint32
	unsent        int
}

// What is noted after each turn is all there is to know: who looks at noted connections alone has the same picture as who
// looks at all.
func TestNote(t *testing.T) {
	picture := map[netpoll.Conn]watched{}
	look := func(l *netpoll.Loop, c netpoll.Conn) watched {
		r, w := l.Flow(c)
		return watched{l.Open(c), r, w, l.Unsent(c)}
	}
	calls := 0
	cfg := netpoll.Config{HighWater: 3000, Note: func(l *netpoll.Loop, touched []netpoll.Conn) {
		calls++
		seen := map[netpoll.Conn]bool{}
		for _, c := range touched {
			if seen[c] {
				t.Errorf("%#x is named twice", uint64(c))
			}
			seen[c] = true
			if picture[c] = look(l, c); !picture[c].open {
				delete(picture, c)
			}
		}
		all := map[netpoll.Conn]watched{}
		for c := range l.Connections() {
			all[c] = look(l, c)
		}
		if !maps.Equal(all, picture) {
			t.Errorf("noted %v, there is %v", picture, all)
		}
	}}
	g := newGroup(t, cfg, echoFrames)
	addr := listen(t, g)
	g.Start()
	crowd := newCrowd(t, 8, addr)
	newClock(t)(limit / 50)
	crowd.end()
	l := g.Loops()[0]
	until(t, l, "the end of all", func() bool { return l.Stats().Conns == 0 })
	on(t, l, func() {
		if len(picture) != 0 || calls < 100 {
			t.Errorf("%v after %d calls", picture, calls)
		}
	})
}
