package gateway

import (
	"fmt"
	"testing"

	"edged/batch"
	"edged/handover"
)

// A link that a successor had begun to use, before it failed, ends with a reason of its own.
func TestTornLink(t *testing.T) {
	b := newBench(t, 1)
	_, name := b.dial()
	b.on(func() {
		l := b.s.links.Get(name.place, name.uniq)
		conn := l.conn
		b.s.Closed(conn, fmt.Errorf("netpoll: %w", handover.ErrTorn))
		b.s.managers.flush(b.s)
		b.s.loop.Abort(conn)
	})
	b.on(func() {
		if b.s.count.Ended[EndTorn] != 1 || b.s.links.Len() != 0 {
			t.Errorf("ended %v", b.s.count.Ended)
		}
		sent := b.sent(0)
		if last := sent[len(sent)-1]; last.What != batch.UpClosed || last.Side != batch.SideGateway {
			t.Errorf("told %+v", last)
		}
	})
}
