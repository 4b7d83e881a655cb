//go:build e2e

package tests

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"edged/wire"
)

// people is the users of TestChaos, and what they have seen.
type people struct {
	addresses []string // of the gateways
	users     []*user
	devices   []*device
	calm      atomic.Bool   // devices stay online
	quit      chan struct{} // devices leave
	work      sync.WaitGroup

	pushes, doubles, late, logins atomic.Uint64

	mu    sync.Mutex
	wrong []string // guarded by mu: what must not be
}

// user is what was sent to one.
type user struct {
	name string

	mu       sync.Mutex // guards what follows
	sent     []string   // msg_ids that Redis has
	versions map[uint64]string
	ids      map[string]uint64
}

// device is one of a user's.
type device struct {
	p      *people
	u      *user
	name   string
	random *rand.Rand
	tells  bool // its HELLO says what it has; else the gateway has to know

	mu    sync.Mutex // guards what follows
	seen  map[uint64]bool
	ids   map[string]bool
	whole uint64 // it has every version up to this one
}

func newPeople(addresses []string, users int, seed uint64) *people {
	p := &people{addresses: addresses, quit: make(chan struct{})}
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range users {
		u := &user{name: fmt.Sprint("u", i), versions: map[uint64]string{}, ids: map[string]uint64{}}
		p.users = append(p.users, u)
		for d := range 1 + random.IntN(3) {
			p.devices = append(p.devices, &device{
				p: p, u: u, name: fmt.Sprint("d", d), random: rand.New(rand.NewPCG(seed, uint64(1000+len(p.devices)))),
				tells: random.IntN(2) == 0, seen: map[uint64]bool{}, ids: map[string]bool{},
			})
		}
	}
	return p
}

func (p *people) start() {
	for _, d := range p.devices {
		p.work.Go(d.live)
	}
}

// stop ends all devices.
func (p *people) stop() {
	close(p.quit)
	p.work.Wait()
}

func (p *people) stayOnline() { p.calm.Store(true) }

func (p *people) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wrong) < 20 {
		p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
	}
}

func (p *people) faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

// feed sends messages until stop, each until Redis has it.
func (p *people) feed(post *poster, seed uint64, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(seed, 3))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		u := p.users[random.IntN(len(p.users))]
		id := fmt.Sprint("m", n)
		payload := strings.Repeat("x", random.IntN(300))
		for !post.add(u.name, id, payload) {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		u.mu.Lock()
		u.sent = append(u.sent, id)
		u.mu.Unlock()
	}
}

func (p *people) sentCount() (n int) {
	for _, u := range p.users {
		u.mu.Lock()
		n += len(u.sent)
		u.mu.Unlock()
	}
	return n
}

// behind tells of devices that lack something, at most so many.
func (p *people) behind(most int) (tell []string) {
	for _, d := range p.devices {
		d.u.mu.Lock()
		sent := append([]string(nil), d.u.sent...)
		versions := len(d.u.versions)
		d.u.mu.Unlock()
		d.mu.Lock()
		var missing []string
		for _, id := range sent {
			if !d.ids[id] {
				missing = append(missing, id)
			}
		}
		if len(missing) > 0 {
			tell = append(tell, fmt.Sprintf("%s/%s lacks %d of %d: %.10q; it has %d versions, all up to %d; the user's devices have %d",
				d.u.name, d.name, len(missing), len(sent), missing[:min(len(missing), 5)], len(d.seen), d.whole, versions))
		}
		d.mu.Unlock()
		if len(tell) >= most {
			break
		}
	}
	return tell
}

// live comes and goes until the end.
func (d *device) live() {
	for {
		if !d.p.calm.Load() {
			d.pause(time.Duration(d.random.Int64N(int64(3 * time.Second))))
		} else {
			d.pause(50 * time.Millisecond)
		}
		select {
		case <-d.p.quit:
			return
		default:
		}
		d.connect()
	}
}

func (d *device) pause(t time.Duration) {
	select {
	case <-d.p.quit:
	case <-time.After(t):
	}
}

// connect is one link's life.
func (d *device) connect() {
	conn, err := net.DialTimeout("tcp", d.p.addresses[d.random.IntN(len(d.p.addresses))], 2*time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	leave := time.Now().Add(time.Duration(d.random.Int64N(int64(5 * time.Second))))
	synced := uint64(0)
	if d.mu.Lock(); d.tells {
		synced = d.whole
	}
	d.mu.Unlock()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write(wire.Append(nil, wire.KindHello, fmt.Appendf(nil, "%s/%s/%d", d.u.name, d.name, synced))); err != nil {
		return
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}
	for last := uint64(0); ; {
		f, err := c.next(time.Second)
		if e, ok := err.(net.Error); err != nil && (!ok || !e.Timeout() || c.r.Buffered() > 0) {
			return
		}
		select {
		case <-d.p.quit:
			return
		default:
		}
		if !d.p.calm.Load() && time.Now().After(leave) {
			return
		}
		if err != nil { // silence
			if c.write(wire.AppendHeartbeat(nil)) != nil {
				return
			}
			continue
		}
		switch f.kind {
		case wire.KindWelcome:
			d.p.logins.Add(1)
		case wire.KindBye:
			return
		case wire.KindPush:
			push, err := wire.ParsePush(f.rest)
			if err != nil {
				d.p.fault("%s/%s: %v", d.u.name, d.name, err)
				return
			}
			last = d.take(push, last)
			if push.Flags&wire.FlagAck != 0 && (d.p.calm.Load() || d.random.IntN(20) > 0) {
				if c.write(wire.AppendAck(nil, push.TID)) != nil {
					return
				}
			}
		}
	}
}

// take looks at one push; last is the highest version of the link so far.
func (d *device) take(push wire.Push, last uint64) uint64 {
	p, v, id := d.p, push.Version, string(push.MsgID)
	p.pushes.Add(1)
	if v == 0 || id == "" {
		p.fault("%s/%s: a push without a stamp", d.u.name, d.name)
		return last
	}
	if push.Flags&wire.FlagLate != 0 {
		p.late.Add(1)
	} else if v <= last && push.Flags&wire.FlagAgain == 0 {
		p.fault("%s/%s: version %d came behind %d and was not marked", d.u.name, d.name, v, last)
	}
	d.u.mu.Lock()
	if was, known := d.u.versions[v]; known && was != id {
		p.fault("%s: version %d is both %s and %s", d.u.name, v, was, id)
	}
	if was, known := d.u.ids[id]; known && was != v {
		p.fault("%s: %s has versions %d and %d", d.u.name, id, was, v)
	}
	d.u.versions[v], d.u.ids[id] = id, v
	d.u.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[v] {
		p.doubles.Add(1)
	}
	d.seen[v], d.ids[id] = true, true
	for d.seen[d.whole+1] {
		d.whole++
	}
	return max(last, v)
}

// poster adds entries to edged:in as any program would, over a connection of its own.
type poster struct {
	address string
	conn    net.Conn
	r       *bufio.Reader
}

func newPoster(address string) *poster { return &poster{address: address} }

func (p *poster) dial() (net.Conn, error) { return net.DialTimeout("tcp", p.address, time.Second) }

// add reports whether Redis has taken the message.
func (p *poster) add(user, id, payload string) bool {
	if p.conn == nil {
		conn, err := p.dial()
		if err != nil {
			return false
		}
		p.conn, p.r = conn, bufio.NewReader(conn)
	}
	words := []string{"XADD", "edged:in", "*", "to", "user:" + user, "payload", payload, "msg_id", id, "ack", "required", "offline", "1"}
	var b []byte
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	_ = p.conn.SetDeadline(time.Now().Add(2 * time.Second))
	_, err := p.conn.Write(b)
	var line string
	if err == nil {
		line, err = p.r.ReadString('\n')
	}
	if err == nil && strings.HasPrefix(line, "$") {
		_, err = p.r.ReadString('\n')
	}
	if err != nil || !strings.HasPrefix(line, "$") {
		_ = p.conn.Close()
		p.conn = nil
		return false
	}
	return true
}
