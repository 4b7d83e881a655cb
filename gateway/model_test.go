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
	"edged/linkpool"
	"edged/relay"
	"edged/wire"
)

// model is a shard under a random schedule, and a naive twin of what each side must see.
type model struct {
	*bench
	random *rand.Rand
	seed   uint64
	twins  []*twin
	number uint32 // of the next message, over all links
	ref    uint64
	refs   map[uint64]batch.Code // answers that have to come
	logs   map[string][]batch.UpItem
	keys   map[uint32]string // a.n of the session when message number n was taken
}

// twin is one link.
type twin struct {
	conn    net.Conn
	name    linkName
	rest    []byte // of the client's bytes, not taken yet
	gone    bool   // ended, with everything that the client gets said in gets
	cut     bool   // by the network: what the client gets is open
	in      bool   // welcomed
	tid     uint32
	user    string
	key     string   // a.n of its session
	gets    []string // frames
	said    []uint32 // numbers of the messages that were taken
	garbage bool     // the bytes in rest end in a protocol error
}

func TestModel(t *testing.T) {
	rounds, steps := 12, 400
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

func runModel(t *testing.T, seed uint64, steps int) {
	t.Parallel()
	m := &model{
		bench: newBench(t, 1+int(seed%3), func(c *Config) { c.Capacity = 6; c.MaxFrame = 600 }), seed: seed,
		random: rand.New(rand.NewPCG(seed, 1)), refs: map[uint64]batch.Code{}, logs: map[string][]batch.UpItem{}, keys: map[uint32]string{},
	}
	for range steps {
		m.step()
	}
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
	switch k := m.random.IntN(20); {
	case x == nil || k == 0:
		m.connect()
	case k < 8:
		m.clientSays(x)
	case k < 13:
		m.turn(func() { m.managerSays(x) })
	case k < 14:
		m.cut(x)
	default:
		m.turn(m.happens)
	}
	m.on(m.lend)
}

func (m *model) connect() {
	refused := false
	m.on(func() { refused = m.s.managers.allFull() || m.s.links.Len() == 6 })
	conn, name := m.dial()
	if refused {
		if f := frames(m.bench, conn); len(f) != 1 || !strings.HasPrefix(f[0], "bye 9") {
			m.Errorf("refused with %q", f)
		}
		m.on(func() { m.s.count.Refused = [reasons]uint64{} }) // dial waits for one
		return
	}
	m.twins = append(m.twins, &twin{conn: conn, name: name})
}

// clientSays adds a frame, or the beginning of one and later the rest, to what the client has sent.
func (m *model) clientSays(x *twin) {
	if x.gone || x.garbage {
		return
	}
	switch k := m.random.IntN(14); {
	case k == 0:
		x.rest = wire.AppendPing(x.rest, m.random.Uint32())
	case k == 1:
		x.rest = wire.AppendHeartbeat(x.rest)
	case k == 2:
		x.rest = wire.AppendAck(x.rest, 1)
	case k == 3 && m.chance(4):
		x.rest = wire.AppendBye(x.rest, wire.ByeNormal, 0, "")
	case k == 4 && m.chance(4):
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
		if l == nil || l.flags&waiting != 0 || len(x.rest) == 0 {
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
			return
		}
		if n == 0 {
			m.Errorf("half a frame was taken: % x", b)
			return
		}
		b = b[n:]
		if len(body) == 0 {
			x.gets = append(x.gets, "beat")
			continue
		}
		switch k, rest := wire.Kind(body[0]), body[1:]; {
		case k == wire.KindPing:
			x.gets = append(x.gets, fmt.Sprint("pong ", wire.ParsePing(rest)))
		case k == wire.KindBye:
			x.gone = true
		case k == wire.KindAck && !x.in, k == wire.KindData && !x.in:
			x.end("bye 3")
		case k == wire.KindData || k == wire.KindHello:
			number := binary.BigEndian.Uint32(rest)
			x.said = append(x.said, number)
			m.keys[number] = x.key
		}
	}
}

func (x *twin) end(with string) {
	x.gone = true
	x.gets = append(x.gets, with)
}

// managerSays has a Manager order something for a link, dead or alive, and the twin obey.
func (m *model) managerSays(x *twin) {
	var b []byte
	target := batch.Link{Index: linkpool.Index(0, x.name.place), Uniq: x.name.uniq}
	ref := uint64(0)
	if m.chance(2) {
		m.ref++
		ref = m.ref
	}
	answer := func(c batch.Code) {
		if ref != 0 {
			m.refs[ref] = c
		}
	}
	if x.gone {
		b = batch.AppendData(b, target, ref, []byte("late"))
		answer(batch.CodeStaleLink)
	} else {
		b = m.order(x, target, ref, answer)
	}
	for i := range m.port.managers {
		if m.port.managers[i].up && (i == len(m.port.managers)-1 || m.chance(2)) {
			m.port.items(i, b)
			return
		}
	}
	m.port.items(0, b) // on its way when its Manager went
}

func (m *model) order(x *twin, target batch.Link, ref uint64, answer func(batch.Code)) (b []byte) {
	word := fmt.Sprint("w", m.random.IntN(1000))
	switch m.random.IntN(9) {
	case 0, 1:
		x.user = fmt.Sprint("u", m.random.IntN(3))
		b = batch.AppendBind(b, target, ref, batch.Bind{User: []byte(x.user), Device: []byte("d")})
		for _, y := range m.twins { // the newest link of a user's device is the one
			if y != x && !y.gone && y.user == x.user {
				y.end("bye 6")
			}
		}
		if !x.in {
			x.in = true
			x.gets = append(x.gets, "welcome")
		}
	case 2, 3:
		b = batch.AppendData(b, target, ref, []byte(word))
		x.gets = append(x.gets, "data "+word)
	case 4:
		b = batch.AppendPush(b, batch.ToLink(target), ref, batch.Push{Payload: []byte(word)})
		x.gets = append(x.gets, fmt.Sprint("push ", x.tid, " ", word))
		x.tid++
	case 5:
		b = batch.AppendPatch(b, target, ref, []batch.KV{{Key: "a.n", Value: word}}, nil)
		x.key = word
	case 6:
		b = batch.AppendPatch(b, target, ref, []batch.KV{{Key: "a.n", Value: "bad"}, {Key: "user", Value: "root"}}, nil)
		answer(batch.CodeSessionKey)
	case 7:
		b = batch.AppendData(b, target, ref, make([]byte, 600))
		answer(batch.CodeTooLarge)
	case 8:
		if m.chance(4) {
			b = batch.AppendClose(b, batch.ToLink(target), ref, batch.Close{Reason: 7})
			x.end("bye 7")
		}
	}
	return b
}

// cut has the network take a link away.
func (m *model) cut(x *twin) {
	if x.gone || !m.chance(3) {
		return
	}
	_ = x.conn.(*net.TCPConn).SetLinger(0)
	_ = x.conn.Close()
	x.gone, x.cut = true, true
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
	switch m.random.IntN(10) {
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

func (m *model) check() {
	m.checkShard()
	for _, x := range m.twins {
		m.checkClient(x)
		m.checkWords(x)
	}
	for process, log := range m.logs {
		m.checkProcess(process, log)
	}
	answers := map[uint64]batch.Code{}
	for _, log := range m.logs {
		for _, i := range log {
			if i.What == batch.UpRefused {
				answers[i.Ref] = i.Code
			}
		}
	}
	for ref, want := range m.refs {
		if got, ok := answers[ref]; ok && got != want {
			m.Errorf("operation %d was answered with %v, not %v", ref, got, want)
		}
	}
	if len(answers)+int(m.s.count.Dropped[DropAnswer]) != len(m.refs) {
		m.Errorf("%d answers for %d operations, %d dropped", len(answers), len(m.refs), m.s.count.Dropped[DropAnswer])
	}
}

// checkShard: it holds what the live links need, and has taken all that they said.
func (m *model) checkShard() {
	m.on(func() {
		live := 0
		for _, x := range m.twins {
			if !x.gone {
				live++
			}
		}
		ended := uint64(0)
		for _, n := range m.s.count.Ended {
			ended += n
		}
		s, stored := m.s, live
		s.links.Each(0, s.links.Cap(), func(_, _ uint32, l *link) {
			if l.flags&latent != 0 {
				stored--
			}
		})
		if s.links.Len() != live || s.sessions.Len() != stored || s.deadlines.Len() != live || s.waiting.n != 0 || s.managers.owing() ||
			ended+uint64(live) != s.count.Opened || m.g.Links() != live {
			m.Errorf("links %d of %d, sessions %d, deadlines %d, waiting %d, ended %d of %d", s.links.Len(), live, s.sessions.Len(),
				s.deadlines.Len(), s.waiting.n, ended, s.count.Opened)
		}
	})
	for _, x := range m.twins {
		if _, n, _ := wire.Split(x.rest, wire.MaxBody); n > 0 && !x.gone {
			m.Errorf("link %d:%d: % x was not taken", x.name.place, x.name.uniq, x.rest)
		}
	}
}

// checkClient compares the frames that the client got.
func (m *model) checkClient(x *twin) {
	if x.cut {
		return
	}
	if !x.gone { // so that the stream ends
		x.end("bye 8")
		m.on(func() {
			l := m.s.links.Get(x.name.place, x.name.uniq)
			m.s.end(x.name.place, x.name.uniq, l, ending{reason: wire.ByeDraining})
		})
	}
	if got, want := strings.Join(frames(m.bench, x.conn), ", "), strings.Join(x.gets, ", "); got != want {
		m.Errorf("link %d:%d got\n%s, not\n%s", x.name.place, x.name.uniq, got, want)
	}
}

// checkWords: every message that was taken came to somebody, and the first time in order.
func (m *model) checkWords(x *twin) {
	came := map[uint32]bool{}
	for process, log := range m.logs {
		last, ends, here := -1, false, map[uint32]bool{}
		for _, i := range log {
			if !i.HasLink || i.Link != m.s.name(x.name.place, x.name.uniq) {
				continue
			}
			switch i.What {
			case batch.UpOpened:
				ends = false // it is repeated with all that follows
			case batch.UpClosed:
				ends = true
			case batch.UpMessage:
				n := binary.BigEndian.Uint32(i.Payload)
				// What was not confirmed when its Manager went is repeated, also to the same process.
				if (ends || int(n) < last) && !here[n] {
					m.Errorf("process %s: message %d came behind %d, or the end (%v)", process, n, last, ends)
				}
				last = max(last, int(n))
				came[n], here[n] = true, true
				if got, _ := batch.SessionValue(i.Session, "a.n"); string(got) != m.keys[n] {
					m.Errorf("message %d came with a.n = %s, not %s", n, got, m.keys[n])
				}
			}
		}
	}
	for _, n := range x.said {
		if !came[n] {
			m.Errorf("message %d of link %d:%d came to nobody", n, x.name.place, x.name.uniq)
		}
	}
	if len(came) != len(x.said) {
		m.Errorf("%d messages came, %d were taken", len(came), len(x.said))
	}
}

// checkProcess: to each process a link is announced before anything of it.
func (m *model) checkProcess(process string, log []batch.UpItem) {
	known := map[batch.Link]bool{}
	for at, i := range log {
		switch i.What {
		case batch.UpOpened:
			known[i.Link] = true
		case batch.UpMessage, batch.UpClosed:
			if !known[i.Link] {
				m.Errorf("process %s, item %d: %v of a link that was not announced", process, at, i.What)
			}
		}
	}
}
