package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"edged/batch"
	"edged/wire"
)

// checkLive looks at the links while they are there.
func (m *model) checkLive() {
	for _, x := range m.twins {
		if _, n, _ := wire.Split(x.rest, wire.MaxBody); n > 0 && !x.gone {
			m.Errorf("link %d:%d: % x was not taken", x.name.place, x.name.uniq, x.rest)
		}
	}
	m.on(func() {
		live, members := 0, 0
		for _, x := range m.twins {
			if !x.gone {
				live++
				members += len(x.rooms)
			}
		}
		s, stored := m.s, live
		s.links.Each(0, s.links.Cap(), func(_, _ uint32, l *link) {
			if l.flags&latent != 0 {
				stored--
			}
		})
		if s.links.Len() != live || s.sessions.Len() != stored || s.rooms.Memberships() != members || s.orders.Held() != 0 {
			m.Errorf("links %d of %d, sessions %d of %d, memberships %d of %d, held %d", s.links.Len(), live,
				s.sessions.Len(), stored, s.rooms.Memberships(), members, s.orders.Held())
		}
	})
	for _, x := range m.twins {
		if x.gone || x.user == "" {
			continue
		}
		at, ok := m.g.directory.Link([]byte(x.user), []byte(x.device))
		if !ok || at.Place != x.name.place || at.Uniq != x.name.uniq {
			m.Errorf("link %d:%d of %s/%s: the directory says %+v", x.name.place, x.name.uniq, x.user, x.device, at)
		}
	}
}

func (m *model) check() {
	m.checkEmpty()
	for _, x := range m.twins {
		m.checkClient(x)
		m.checkWords(x)
	}
	for process, log := range m.logs {
		m.checkProcess(process, log)
	}
	m.checkAnswers()
	m.checkReports()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.beyond {
		m.Errorf("synchronised: %s", b)
	}
}

// checkEmpty: without links it holds nothing.
func (m *model) checkEmpty() {
	m.on(func() {
		ended := uint64(0)
		for _, n := range m.s.count.Ended {
			ended += n
		}
		s := m.s
		n := s.links.Len() + s.sessions.Len() + s.deadlines.Len() + s.waiting.n + s.rooms.Len() + s.windows.Len() + s.windows.Pushes() +
			s.windows.Bytes() + s.orders.Len() + s.orders.Held() + len(s.replays.by) + len(s.casting.walks) + s.casting.bytes + s.casting.joins +
			len(s.slow.backlog) + len(s.slow.starving) + len(s.syncing.stuck) + m.g.Links() + m.g.directory.Devices()
		if n != 0 || s.managers.owing() || ended != s.count.Opened {
			m.Errorf("left behind: %+v; ended %d", s.stats(), ended)
		}
	})
}

// got is what a client was sent.
type got struct {
	down, answers, pushes []string
	bye                   string
}

// read takes all frames of a client apart.
func (m *model) readAll(x *twin) (g got) {
	b, err := io.ReadAll(x.conn)
	if err != nil {
		m.Error(err)
	}
	tid := uint32(0)
	for len(b) > 0 {
		body, n, err := wire.Split(b, wire.MaxBody)
		if err != nil || n == 0 || wire.CheckGateway(body) != nil {
			m.Errorf("a broken frame: % x", b)
			return g
		}
		b = b[n:]
		word := inShort(body)
		switch {
		case len(body) == 0, wire.Kind(body[0]) == wire.KindPong:
			g.answers = append(g.answers, word)
		case wire.Kind(body[0]) == wire.KindBye:
			g.bye = word
		case wire.Kind(body[0]) == wire.KindPush:
			p, _ := wire.ParsePush(body[1:])
			if p.TID != tid {
				m.Errorf("link %d:%d: tid %d, not %d", x.name.place, x.name.uniq, p.TID, tid)
			}
			if tid++; bytes.ContainsRune(p.Payload, ':') {
				g.pushes = append(g.pushes, string(p.Payload))
			} else {
				g.down = append(g.down, "push "+string(p.Payload))
			}
			if p.Flags&(wire.FlagLate|wire.FlagAgain|wire.FlagGzip) != 0 {
				m.Errorf("link %d:%d: flags %b", x.name.place, x.name.uniq, p.Flags)
			}
		case wire.Kind(body[0]) == wire.KindWelcome:
			g.down = append(g.down, "welcome")
		default:
			g.down = append(g.down, word)
		}
	}
	return g
}

// checkClient compares the frames that the client got.
func (m *model) checkClient(x *twin) {
	if x.cut {
		return
	}
	g := m.readAll(x)
	want := x.down
	if x.torn && len(g.down) < len(want) {
		want = want[:len(g.down)]
	}
	if !slices.Equal(g.down, want) || !slices.Equal(g.answers, x.answers) || g.bye != x.bye {
		m.Errorf("link %d:%d got\n%s; %s; %s, not\n%s; %s; %s", x.name.place, x.name.uniq, strings.Join(g.down, ", "),
			strings.Join(g.answers, ", "), g.bye, strings.Join(want, ", "), strings.Join(x.answers, ", "), x.bye)
	}
	versions, packages, sizes := received(g.pushes)
	for i, v := range versions {
		if i > 0 && v != versions[i-1]+1 {
			m.Errorf("link %d:%d got versions %v", x.name.place, x.name.uniq, versions)
			break
		}
	}
	stayed := x.bye == "bye 8"
	if last, whole := m.log.last(x.user), m.whole(x.user, x.device); stayed && len(versions) > 0 && versions[len(versions)-1] != last ||
		stayed && len(versions) == 0 && whole != last || len(versions) > 0 && versions[0] > whole+1 {
		m.Errorf("link %d:%d got versions %v, of %d, acknowledged up to %d", x.name.place, x.name.uniq, versions, last, whole)
	}
	for id, seqs := range packages {
		if !slices.IsSorted(seqs) || len(slices.Compact(slices.Clone(seqs))) != len(seqs) || stayed && len(seqs) != sizes[id] {
			m.Errorf("link %d:%d got of package %d, %d messages: %v", x.name.place, x.name.uniq, id, sizes[id], seqs)
		}
	}
}

// last is the last version of a user.
func (f *FakeLog) last(user string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.user(user).last
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
		case batch.UpMessage, batch.UpClosed, batch.UpAcked:
			if !known[i.Link] {
				m.Errorf("process %s, item %d: %v of a link that was not announced", process, at, i.What)
			}
		}
	}
}

// checkAnswers: what could not be carried out came back, as far as the Manager listened.
func (m *model) checkAnswers() {
	answers := map[uint64]batch.Code{}
	for _, log := range m.logs {
		for _, i := range log {
			if i.What == batch.UpRefused {
				answers[i.Ref] = i.Code
			}
		}
	}
	for ref, got := range answers {
		want, ok := m.refs[ref]
		if !ok {
			want, ok = m.maybe[ref]
		}
		if !ok || got != want {
			m.Errorf("operation %d was answered with %v, not %v", ref, got, want)
		}
	}
	for ref, want := range m.refs {
		if _, ok := answers[ref]; !ok && m.s.count.Dropped[DropAnswer] == 0 {
			m.Errorf("operation %d was not answered with %v", ref, want)
		}
	}
}

// checkReports: of each push that had to be acknowledged there is one report for each link that it was for, and no other. What
// was repeated to another process says the same.
func (m *model) checkReports() {
	came := map[report]string{}
	torn, users := map[batch.Link]bool{}, map[batch.Link]string{}
	for _, x := range m.twins {
		name := m.s.name(x.name.place, x.name.uniq)
		torn[name], users[name] = x.torn, x.user
	}
	note := func(i *batch.UpItem, id []byte, what string) {
		r := report{i.Link, i.HasLink, string(id)}
		if old, ok := came[r]; ok && old != what {
			m.Errorf("push %+v: %s and %s", r, old, what)
		}
		came[r] = what
		if _, ok := m.reports[r]; !ok && len(id) > 0 && (users[i.Link] == "" || users[i.Link] != m.ofUser[string(id)]) {
			m.Errorf("push %+v: %s, but it was not for that link", r, what)
		}
	}
	for _, log := range m.logs {
		for _, i := range log {
			for rs := i.Receipts; i.What == batch.UpAcked; {
				rc, ok := rs.Next()
				if !ok {
					break
				}
				note(&i, rc.MsgID, "acked")
			}
			for ls := i.Losses; i.What == batch.UpUndelivered; {
				l, ok := ls.Next()
				if !ok {
					break
				}
				note(&i, l.MsgID, fmt.Sprint("undelivered ", l.Reason))
			}
		}
	}
	for r, must := range m.reports {
		if _, ok := came[r]; must && !ok && !torn[r.link] && m.s.count.Dropped[DropAnswer] == 0 {
			m.Errorf("push %+v: no report", r)
		}
	}
}
