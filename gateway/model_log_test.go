package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"edged/batch"
	"edged/offline"
	"edged/relay"
	"edged/wire"
)

// report is one push as a Manager hears of it; without a link it was for nobody.
type report struct {
	link batch.Link
	has  bool
	id   string
}

// parcels is packages that are on their way, and what Managers have to hear.
type parcels struct {
	open    []*parcel
	reports map[report]bool // that may come; true: that must
	ids     int
}

// parcel is one package for one link.
type parcel struct {
	to   *twin
	id   uint32
	left []int // places, in the order in which they will be sent
	n    int
	ack  batch.Ack
}

func newParcels() parcels { return parcels{reports: map[report]bool{}} }

func (p *parcels) newID() string {
	p.ids++
	return fmt.Sprint("m", p.ids)
}

func (p *parcels) want(r report, must bool) { p.reports[r] = must }

// parcel sends a message of a package, a new one or one that has begun, in any order.
func (m *model) parcel(x *twin) {
	mine := 0
	for _, p := range m.open {
		if p.to == x {
			mine++
		}
	}
	if mine < 3 && strings.HasPrefix(x.user, "v") && !x.gone && m.chance(2) { // one whose user changes loses what was held
		m.ids++
		n := 1 + m.random.IntN(6)
		p := &parcel{to: x, id: uint32(m.ids), left: m.random.Perm(n), n: n, ack: batch.Ack(m.random.IntN(2))}
		if m.tight {
			p.ack = batch.AckNone
		}
		if n > 1 && p.ack == batch.AckNone && m.chance(2) { // one comes twice, before the last: a package that is whole is forgotten
			p.left = slices.Insert(p.left, m.random.IntN(n), p.left[m.random.IntN(n-1)])
		}
		m.open = append(m.open, p)
	}
	if len(m.open) > 0 {
		m.sendParcel(m.random.IntN(len(m.open)))
	}
}

func (m *model) sendParcel(i int) {
	p := m.open[i]
	seq := p.left[0]
	if p.left = p.left[1:]; len(p.left) == 0 {
		m.open = append(m.open[:i], m.open[i+1:]...)
	}
	push := batch.Push{Payload: fmt.Appendf(nil, "p:%d:%d:%d", p.id, seq, p.n), Ack: p.ack,
		PackageID: p.id, SeqID: uint32(seq), Count: uint32(p.n)}
	from := m.origin()
	link := m.s.name(p.to.name.place, p.to.name.uniq)
	if p.ack == batch.AckRequired {
		push.MsgID = fmt.Appendf(nil, "p%d.%d", p.id, seq)
		if r := (report{link, true, string(push.MsgID)}); !p.to.gone {
			m.want(r, true)
		} else if _, known := m.reports[r]; !known {
			m.want(r, from != relay.NoManager)
		}
	}
	m.send(from, false, batch.AppendPush(nil, batch.ToLink(link), 0, push))
}

// stored is users with messages in the log, and what of it was acknowledged.
type stored struct {
	log    *modelLog
	ofUser map[string]string // whose the stored message of an ID is
	mute   bool              // clients acknowledge nothing any more
	tight  bool              // windows are small: nothing else may need them
	late   [][]byte          // published, and not here yet
	mu     sync.Mutex
	acked  map[string]map[uint64]bool // by user and device
	beyond []string                   // points that were stored although something before was not acknowledged
}

// modelLog is a FakeLog that is now and then away.
type modelLog struct {
	*FakeLog
	release func()
}

func newStored(log *FakeLog) stored {
	return stored{log: &modelLog{FakeLog: log}, acked: map[string]map[uint64]bool{}, ofUser: map[string]string{}}
}

func (l *modelLog) change(r *rand.Rand) {
	switch k := r.IntN(6); {
	case k == 0 && l.release == nil:
		l.release = l.Hold()
	case k == 1:
		l.Fail(ErrFake)
	default:
		l.well()
	}
}

func (l *modelLog) well() {
	l.Fail(nil)
	if l.release != nil {
		l.release()
		l.release = nil
	}
}

// store stores a message and publishes it: at once, later, twice, or never.
func (m *model) store() {
	user := fmt.Sprint("v", m.random.IntN(2))
	id := m.newID()
	m.ofUser[id] = user
	e := m.log.Store(user, offline.Entry{
		Ack: batch.AckRequired, MsgID: []byte(id), Payload: fmt.Appendf(nil, "v:%s:%d", user, m.log.last(user)+1),
	})
	b := batch.AppendPush(nil, batch.ToUser(user), 0, batch.Push{Payload: e.Payload, MsgID: e.MsgID, Ack: e.Ack, Version: e.Version})
	switch m.random.IntN(6) {
	case 0: // the gateway hears of it when it looks
		if m.chance(2) {
			m.s.missed()
		}
	case 1:
		m.late = append(m.late, b)
	case 2:
		m.late = append(m.late, b)
		fallthrough
	default:
		m.send(relay.NoManager, false, b)
	}
	if n := len(m.late); n > 0 && m.chance(2) {
		i := m.random.IntN(n)
		m.send(relay.NoManager, false, m.late[i])
		m.late = append(m.late[:i], m.late[i+1:]...)
	}
}

// acknowledge has a client acknowledge some of what it was sent, twice now and then.
func (m *model) acknowledge(x *twin, l *link) {
	if len(x.rest) == 0 {
		x.acking = false
	}
	if m.mute || x.garbage || x.acking || l.flags&latent != 0 || !m.chance(3) {
		return
	}
	var tids []uint32
	m.mu.Lock()
	m.s.windows.Each(l.unacked, func(tid uint32, frame []byte) bool {
		if m.chance(2) {
			return true
		}
		tids = append(tids, tid)
		if v := frameVersion(frame); v != 0 {
			name := x.user + "/" + x.device
			if m.acked[name] == nil {
				m.acked[name] = map[uint64]bool{}
			}
			m.acked[name][v] = true
		}
		return true
	})
	m.mu.Unlock()
	if len(tids) == 0 {
		return
	}
	m.random.Shuffle(len(tids), func(i, j int) { tids[i], tids[j] = tids[j], tids[i] })
	tids = append(tids, tids[0])
	whole := true
	for rest := x.rest; len(rest) > 0; {
		_, n, err := wire.Split(rest, wire.MaxBody)
		if n == 0 || err != nil {
			whole = false
			break
		}
		rest = rest[n:]
	}
	if whole {
		x.rest = wire.AppendAck(x.rest, tids...)
		x.acking = true
	}
}

// checkPoint looks at each version that is stored as synchronised.
func (m *model) checkPoint(p offline.Point) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for v := uint64(1); v <= p.Version; v++ {
		if !m.acked[p.User+"/"+p.Device][v] {
			m.beyond = append(m.beyond, fmt.Sprintf("%+v: %d was not acknowledged", p, v))
			return
		}
	}
}

// whole is the version up to which a device has acknowledged everything.
func (st *stored) whole(user, device string) (v uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.acked[user+"/"+device][v+1] {
		v++
	}
	return v
}

// calm has all that is on its way arrive, and the log answer.
func (m *model) calm() {
	m.log.well()
	for len(m.open) > 0 {
		m.turn(func() { m.sendParcel(0) })
	}
	m.turn(func() {
		for _, b := range m.late {
			m.send(relay.NoManager, false, b)
		}
		m.late = nil
		m.s.missed()
	})
	quiet := false
	for end := time.Now().Add(patience); !quiet; {
		m.on(m.lend)
		m.turn(func() {
			s := m.s
			for i := range m.port.managers {
				m.comeBack(i)
				m.roomy(i)
				m.deliver(i, len(m.port.managers[i].queue))
			}
			quiet = len(s.replays.by) == 0 && !s.replays.resyncing && len(s.casting.walks) == 0 && len(m.port.events) == 0
		})
		if time.Now().After(end) {
			m.Error("the shard does not come to rest")
			return
		}
	}
}

// versions are those that a client was sent of the log, and packages by their number.
func received(pushes []string) (versions []uint64, packages map[int][]int, sizes map[int]int) {
	packages, sizes = map[int][]int{}, map[int]int{}
	for _, p := range pushes {
		var v uint64
		var id, seq, n int
		if rest, ok := strings.CutPrefix(p, "v:"); ok {
			_, rest, _ = strings.Cut(rest, ":")
			_, _ = fmt.Sscan(rest, &v)
			versions = append(versions, v)
		} else if _, err := fmt.Sscanf(p, "p:%d:%d:%d", &id, &seq, &n); err == nil {
			packages[id] = append(packages[id], seq)
			sizes[id] = n
		}
	}
	return versions, packages, sizes
}
