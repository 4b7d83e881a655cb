package swarm

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/netpoll"
	"edged/wire"
)

// The back-off of links that come back, unless BYE asks for a longer one.
const (
	backoffBase = 500 * time.Millisecond
	backoffMost = 30 * time.Second
)

// hopelessAfter is how many links may fail in a row before the first one comes up: then nobody is there.
const hopelessAfter = mostConnects

// notTried is the reason of the links that were not begun with, all before them having failed.
const notTried = "not tried: nobody is there"

// What a gateway's WELCOME leaves open.
const (
	defaultHeartbeat = 25 * time.Second
	defaultIdle      = 30 * time.Second
)

// ramp opens the next links and says when to come again.
func (r *loop) ramp() time.Duration {
	o := &r.opening
	for range dialBudget {
		switch {
		case !o.begun || int(o.next) == len(r.links) || o.hopeless:
			return -1
		case o.rate > 0:
			if wait := o.due() - r.now; wait > 0 {
				return wait
			}
		case o.underWay >= o.most:
			return -1 // the end of one of them wakes us
		}
		place := o.next
		o.next++
		r.dial(place, &r.links[place])
		r.setDeadline(place, &r.links[place])
	}
	r.more = true
	return -1
}

// due is when the next link is to be opened.
func (o *opening) due() time.Duration {
	return o.start + time.Duration(float64(o.next)*float64(time.Second)/o.rate)
}

// connect begins to connect. The caller sets the link's deadline.
func (r *loop) connect(place uint32, l *link, target uint32) {
	var from netip.Addr
	if k := len(r.cfg.From); k > 0 {
		from = r.cfg.From[int(r.number(place))%k]
	}
	l.state, l.act, l.target = connecting, r.millis, target
	c, err := r.net.Dial(r.targets[target].at, from, place)
	if err != nil {
		r.failed(place, l, reason(err))
		return
	}
	l.conn = c
}

// Opened is called when a connect has succeeded.
func (r *loop) Opened(c netpoll.Conn, _ int) {
	place, l := r.owner(c)
	if l == nil || r.phase == phaseLeave {
		r.net.Abort(c) // it came too late
		return
	}
	l.state = login
	if r.cfg.Login == LoginNone {
		return
	}
	r.buf = r.login.appendHello(r.buf[:0], r.cfg, r.name(place))
	r.write(l, r.buf)
}

// loginMaker makes HELLO frames.
type loginMaker struct {
	hello edgedpb.Hello
	rest  []byte
}

func (m *loginMaker) appendHello(dst []byte, cfg *Config, user string) []byte {
	if cfg.Login == LoginText {
		m.rest = append(m.rest[:0], user+" "+cfg.Device...)
		return wire.Append(dst, wire.KindHello, m.rest)
	}
	m.hello.User, m.hello.Device, m.hello.Token, m.hello.Sdk = user, cfg.Device, cfg.Token, "edged-swarm/1"
	rest, err := proto.MarshalOptions{}.MarshalAppend(m.rest[:0], &m.hello)
	if err != nil {
		panic("swarm: hello: " + err.Error()) // Validate has looked at all the strings
	}
	m.rest = rest
	return wire.Append(dst, wire.KindHello, rest)
}

// welcomed is called with the rest of a WELCOME.
func (r *loop) welcomed(place uint32, l *link, rest []byte) {
	w, err := wire.ParseWelcome(rest)
	if err != nil || l.state != login {
		r.lost(place, l, "protocol error")
		return
	}
	if w.Heartbeat == 0 {
		w.Heartbeat = defaultHeartbeat
	}
	if w.IdleTimeout == 0 {
		w.IdleTimeout = defaultIdle
	}
	if r.cfg.Heartbeat > 0 {
		w.Heartbeat = r.cfg.Heartbeat
	}
	// A link that asks too late, on purpose, must still wait for the answer.
	w.IdleTimeout = max(w.IdleTimeout, w.Heartbeat+w.Heartbeat/4)
	l.heartbeat, l.idle = millis(w.Heartbeat), millis(w.IdleTimeout)
	l.state, l.tries = up, 0
	l.flags &^= asked | thinking
	l.dense = uint32(len(r.ups))
	r.ups = append(r.ups, place)
	r.opening.underWay--
	r.opening.everUp = true
	r.resolve(l)
	r.count.opened++
	r.places[l.target].opened++
	r.places[l.target].up++
	r.find.connect.Record(r.millis.Sub(l.act))
	if l.flags&away != 0 {
		l.flags &^= away
		r.find.away.Record(r.millis.Sub(l.ended))
	}
	if r.phase == phaseRun {
		r.start(place, l)
	}
	r.setDeadline(place, l)
}

// millis rounds up, and keeps within what Millis can compare.
func millis(d time.Duration) uint32 {
	const most = 20 * 24 * time.Hour
	return uint32((min(d, most) + time.Millisecond - 1) / time.Millisecond)
}

// resolve notes that the link's first try has come to its end.
func (r *loop) resolve(l *link) {
	if l.flags&resolved == 0 {
		l.flags |= resolved
		r.opening.open--
	}
	r.more = true // the ramp may have room for another
}

// failed is called when a link did not come up.
func (r *loop) failed(place uint32, l *link, why string) {
	r.count.errors[why]++
	if l.state != asking {
		r.places[l.target].failed++
	}
	r.drop(place, l)
	r.avoid(place, l, 0)
	r.comeBack(place, l, false, 0)
	if o := &r.opening; !o.everUp {
		if o.failed++; o.failed >= hopelessAfter && !o.hopeless {
			o.hopeless = true
			if n := len(r.links) - int(o.next); n > 0 {
				o.open -= n
				r.count.errors[notTried] += uint64(n)
			}
		}
	}
}

// lost is called when a link that was up, or about to be, broke.
func (r *loop) lost(place uint32, l *link, why string) {
	if l.state != up {
		r.failed(place, l, why)
		return
	}
	r.count.lost[why]++
	r.places[l.target].ended++
	r.drop(place, l)
	r.avoid(place, l, 0)
	r.comeBack(place, l, true, 0)
}

// drop takes the connection away from a link, whatever its state.
func (r *loop) drop(place uint32, l *link) {
	switch l.state {
	case asking:
		r.asking--
		r.opening.underWay--
	case connecting, login:
		r.opening.underWay--
	case up:
		r.places[l.target].up--
		last := r.ups[len(r.ups)-1]
		r.ups[l.dense] = last
		r.links[last].dense = l.dense
		r.ups = r.ups[:len(r.ups)-1]
		r.giveUp(l)
		r.closeAccount(place, l)
		l.flags |= away
		l.ended = r.millis
	}
	l.state = gone
	if c := l.conn; c != 0 {
		l.conn = 0
		r.net.Abort(c) // a no-op for one that is gone already
	}
}

// bye is called with the rest of a BYE.
func (r *loop) bye(place uint32, l *link, rest []byte) {
	b := wire.ParseBye(rest)
	wasUp := l.state == up
	if wasUp {
		r.count.byes[b.Reason.String()]++
		r.places[l.target].ended++
	} else {
		r.count.errors["bye "+b.Reason.String()]++
		r.places[l.target].failed++
	}
	c := l.conn
	l.conn = 0
	r.net.Close(c)
	r.drop(place, l)
	if b.Reason == wire.ByeReplaced || b.Reason == wire.ByeLoginFailed {
		r.resolve(l)
		r.setDeadline(place, l)
		return
	}
	r.avoid(place, l, b.Reason)
	r.comeBack(place, l, wasUp, b.RetryAfter)
}

// Closed is called when a connection has ended, or a connect has failed.
func (r *loop) Closed(c netpoll.Conn, why error) {
	place, l := r.owner(c)
	if l == nil {
		return // it was dropped here
	}
	l.conn = 0
	r.lost(place, l, reason(why))
}

// reason names an error in few and always the same words.
func reason(err error) string {
	var e syscall.Errno
	switch {
	case err == nil:
		return "closed"
	case errors.As(err, &e):
		return e.Error()
	case errors.Is(err, io.EOF):
		return "ended by the peer without bye"
	}
	return err.Error()
}

// leave says goodbye; the walk of phaseLeave.
func (r *loop) leave(place uint32, l *link) {
	c := l.conn
	if l.state == login || l.state == up {
		l.conn = 0
		r.buf = wire.AppendBye(r.buf[:0], wire.ByeNormal, 0, "")
		r.count.bytesOut += uint64(len(r.buf))
		r.net.Close(c, r.buf)
	}
	r.drop(place, l)
	r.deadlines.Remove(place)
}
