package gateway

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/delivery"
	"edged/relay"
	"edged/wire"
)

// model is a shard under a random schedule, and a naive twin of what each side must see.
type model struct {
	*bench
	random *rand.Rand
	twins  []*twin
	number uint32 // of the next message, over all links
	ref    uint64
	refs   map[uint64]batch.Code // answers that have to come
	maybe  map[uint64]batch.Code // answers that may come: those for whom the operation was are gone meanwhile
	logs   map[string][]batch.UpItem
	keys   map[uint32]string // a.n of the session when message number n was taken
	parcels
	stored
}

// twin is one link.
type twin struct {
	conn    net.Conn
	name    linkName
	rest    []byte // of the client's bytes, not taken yet
	gone    bool   // ended, with everything that the client gets said in down, answers and bye
	cut     bool   // by the network: what the client gets is open
	torn    bool   // ended by its client: what was on its way to it may be missing
	in      bool   // welcomed
	user    string
	device  string
	rooms   map[string]bool
	key     string   // a.n of its session
	down    []string // what it gets from Managers, in order
	answers []string // what it gets for its own frames
	bye     string
	said    []uint32 // numbers of the messages that were taken
	garbage bool     // the bytes in rest end in a protocol error
	acking  bool     // the bytes in rest have an ACK that is chosen by what was sent
}

func TestModel(t *testing.T) {
	rounds, steps := 16, 400
	if testing.Short() || raceEnabled {
		rounds = 4
	}
	for range rounds {
		seed := rand.Uint64()
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { runModel(t, seed, steps) }) {
			return
		}
	}
}

// modelLinks is how many there can be at a time.
const modelLinks = 16

func runModel(t *testing.T, seed uint64, steps int) {
	t.Parallel()
	log := &FakeLog{}
	m := &model{
		bench: newBenchOf(t, 1+int(seed%3), func(o *Options) {
			o.Config.Capacity, o.Config.MaxFrame = modelLinks, 600
			o.Offline = log
			o.Delivery = delivery.Default()
			o.Delivery.PackageGap, o.Delivery.Sample, o.Delivery.GzipMin = 10*time.Minute, 0.5, 65535
			if seed/5%4 == 0 {
				o.Keep = nil
			}
			if seed%4 == 0 { // the log is ahead of what a link may have unacknowledged
				o.Delivery.Window = 4
			}
		}),
		random: rand.New(rand.NewPCG(seed, 1)), refs: map[uint64]batch.Code{}, maybe: map[uint64]batch.Code{},
		logs: map[string][]batch.UpItem{}, keys: map[uint32]string{},
		parcels: newParcels(), stored: newStored(log),
	}
	m.on(func() {
		m.s.casting.perTurn, m.s.casting.atOnce = 1+int(seed/3%3), int(seed/9%4)
		m.s.replays.retry = 20 * time.Millisecond
	})
	log.OnSync, m.tight = m.checkPoint, seed%4 == 0
	for range steps {
		m.step()
	}
	m.settle()
	m.checkLive()
	m.dismiss()
	m.settle()
	m.check()
}

// chance is true once in n times.
func (m *model) chance(n int) bool { return m.random.IntN(n) == 0 }

func (m *model) some() *twin {
	if len(m.twins) == 0 {
		return nil
	}
	return m.twins[max(len(m.twins)-1-m.random.IntN(8), 0)]
}

func (m *model) step() {
	x := m.some()
	switch k := m.random.IntN(25); {
	case k == 24 && m.s.keep != nil && m.chance(2):
		m.turn(m.crash)
	case k == 24:
		m.turn(m.handOver)
	case x == nil || k < 2:
		if m.turn(func() { k = m.s.links.Len() }); k < modelLinks || m.chance(8) {
			m.connect()
		}
	case k < 7:
		m.clientSays(x)
	case k < 16:
		m.turn(m.rush)
	case k < 17 && m.chance(2):
		m.cut(x)
	case k < 18:
		m.turn(func() { m.parcel(x) })
	case k < 21:
		m.turn(func() {
			for range 1 + m.random.IntN(5) {
				m.store()
			}
		})
	default:
		m.turn(m.happens)
	}
	m.on(m.lend)
}

// rush is several operations one behind the other, some before earlier ones are through.
func (m *model) rush() {
	for range 1 + m.random.IntN(6) {
		m.managerSays(m.some())
		if m.chance(2) {
			m.s.Turn(0)
		}
		if m.chance(4) {
			for len(m.port.events) > 0 { // a twin obeys at once
				m.s.Turn(0)
			}
			m.lend()
		}
	}
}

func (m *model) connect() {
	refused := false
	m.on(func() { refused = m.s.managers.allFull() || m.s.links.Len() == modelLinks })
	conn, name := m.dial()
	if refused {
		if f := frames(m.bench, conn); len(f) != 1 || !strings.HasPrefix(f[0], "bye 9") {
			m.Errorf("refused with %q", f)
		}
		m.on(func() { m.s.count.Refused = [reasons]uint64{} }) // dial waits for one
		return
	}
	m.twins = append(m.twins, &twin{conn: conn, name: name, rooms: map[string]bool{}})
}

// clientSays adds a frame, or the beginning of one and later the rest, to what the client has sent.
func (m *model) clientSays(x *twin) {
	if x.gone || x.garbage {
		return
	}
	x.acking = false
	switch k := m.random.IntN(14); {
	case k == 0:
		x.rest = wire.AppendPing(x.rest, m.random.Uint32())
	case k == 1:
		x.rest = wire.AppendHeartbeat(x.rest)
	case k == 2:
		x.rest = wire.AppendAck(x.rest, 1<<30)
	case k == 3 && m.chance(8):
		x.rest = wire.AppendBye(x.rest, wire.ByeNormal, 0, "")
	case k == 4 && m.chance(8):
		x.rest = append(x.rest, [][]byte{{0, 1, 99}, {255, 0}, {0, 1, 5}, {0, 2, 7, 0}, {0, 1, 2}, {0, 1, 4}}[m.random.IntN(6)]...)
		x.garbage = true
	default:
		kind := wire.KindHello
		if x.in {
			kind = []wire.Kind{wire.KindHello, wire.KindData}[m.random.IntN(2)]
		}
		for range 1 + m.random.IntN(4) {
			b := binary.BigEndian.AppendUint32(nil, m.number)
			m.number++
			x.rest = wire.Append(x.rest, kind, append(b, make([]byte, m.random.IntN(500))...))
		}
	}
}

// lend gives each link's bytes to the shard, as the loop does with a link that is read, and has the twin do the same.
func (m *model) lend() {
	for _, x := range m.twins {
		l := m.s.links.Get(x.name.place, x.name.uniq)
		if l == nil || l.flags&waiting != 0 {
			continue
		}
		if m.acknowledge(x, l); len(x.rest) == 0 {
			continue
		}
		n := len(x.rest)
		if !m.chance(3) {
			n = 1 + m.random.IntN(n)
		}
		in := x.rest[:n]
		left := m.read(x.name, in)
		x.rest = append(left[:len(left):len(left)], x.rest[n:]...)
		m.take(x, in[:n-len(left)])
		now := m.s.links.Get(x.name.place, x.name.uniq)
		if (now == nil) != x.gone {
			m.Errorf("the link lives: %v, its twin: %v", now != nil, !x.gone)
			x.gone = now == nil
		}
		if x.gone {
			continue
		}
		if _, whole, _ := wire.Split(left, wire.MaxBody); whole > 0 && now.flags&waiting == 0 {
			m.Errorf("a frame was left although the link need not wait")
		}
	}
}

// take is the twin's idea of the frames in b.
func (m *model) take(x *twin, b []byte) {
	for len(b) > 0 && !x.gone {
		body, n, err := wire.Split(b, 600)
		if err != nil || n > 0 && wire.CheckClient(body) != nil {
			x.end("bye 3")
			x.torn = true
			return
		}
		if n == 0 {
			m.Errorf("half a frame was taken: % x", b)
			return
		}
		b = b[n:]
		if len(body) == 0 {
			x.answers = append(x.answers, "beat")
			continue
		}
		switch k, rest := wire.Kind(body[0]), body[1:]; {
		case k == wire.KindPing:
			x.answers = append(x.answers, fmt.Sprint("pong ", wire.ParsePing(rest)))
		case k == wire.KindBye:
			x.gone, x.torn = true, true
		case k == wire.KindAck && !x.in, k == wire.KindData && !x.in:
			x.end("bye 3")
			x.torn = true
		case k == wire.KindData || k == wire.KindHello:
			number := binary.BigEndian.Uint32(rest)
			x.said = append(x.said, number)
			m.keys[number] = x.key
		}
	}
}

func (x *twin) end(with string) {
	x.gone, x.bye = true, with
}

// cut has the network take a link away.
func (m *model) cut(x *twin) {
	if x.gone || !m.chance(3) {
		return
	}
	_ = x.conn.(*net.TCPConn).SetLinger(0)
	_ = x.conn.Close()
	x.gone, x.cut, x.torn = true, true, true
	gone := false
	for end := time.Now().Add(patience); !gone && time.Now().Before(end); {
		m.on(func() { gone = m.s.links.Get(x.name.place, x.name.uniq) == nil })
	}
	if !gone {
		m.Fatal("a link that was reset lives on")
	}
}

// happens changes something about a Manager.
func (m *model) happens() {
	i := m.random.IntN(len(m.port.managers))
	f := &m.port.managers[i]
	switch m.random.IntN(12) {
	case 10, 11:
		m.log.change(m.random)
	case 0:
		f.full = true
	case 1:
		m.roomy(i)
	case 2, 3, 4: // it reads some
		m.deliver(i, m.random.IntN(len(f.queue)+1))
	case 5, 6:
		f.kept = nil // and gives its receipt
	case 7:
		if f.up {
			f.up = false
			m.port.tell(relay.EventGone, i)
		}
	case 8:
		m.comeBack(i)
	case 9:
		if f.up {
			f.process++
			m.port.tell(relay.EventNew, i)
		}
	}
}

func (m *model) roomy(i int) {
	f := &m.port.managers[i]
	f.full = false
	if f.wanted {
		f.wanted = false
		m.port.tell(relay.EventRoom, i)
	}
}

func (m *model) comeBack(i int) {
	if f := &m.port.managers[i]; !f.up {
		f.up = true
		m.port.tell(relay.EventUp, i)
		if m.chance(2) {
			f.process++
			m.port.tell(relay.EventNew, i)
		}
	}
}

func (m *model) deliver(i, n int) {
	f := &m.port.managers[i]
	if !f.up || len(m.port.events) > 0 {
		return
	}
	process := fmt.Sprint(i, " ", f.process)
	for _, b := range f.queue[:n] {
		m.logs[process] = append(m.logs[process], parse(m, b.Items)...)
	}
	f.kept = append(f.kept, f.queue[:n]...)
	f.queue = f.queue[n:]
}

// settle gives everybody room and time until nothing moves any more.
func (m *model) settle() {
	m.calm()
	m.mute = true
	for range 60 {
		m.turn(func() {
			for i := range m.port.managers {
				m.comeBack(i)
				m.roomy(i)
			}
		})
		m.turn(func() {
			for i := range m.port.managers {
				m.deliver(i, len(m.port.managers[i].queue))
			}
		})
		m.on(m.lend)
	}
}

// dismiss ends all links.
func (m *model) dismiss() {
	m.on(func() {
		for _, x := range m.twins {
			if !x.gone {
				x.end("bye 8")
				m.s.end(x.name.place, x.name.uniq, m.s.links.Get(x.name.place, x.name.uniq), ending{reason: wire.ByeDraining})
			}
		}
	})
}
