package delivery

// Event is what is to be done about one push.
type Event struct {
	What    What
	TID     uint32
	MsgID   []byte // the store's, good until its next change; Frame too
	Frame   []byte // as it was given to Send
	Sampled bool
	Tries   int // sends so far; of a Repeat, the one that is now to be made included
}

// What says what an Event is about.
type What uint8

// What can become of a push that is not acknowledged.
const (
	Repeat  What = iota // to be sent once more
	NoAck               // given up: its tries are used up
	Expired             // given up: its time to live is over
	Closed              // given up: its link has ended
)

// String names a What as metrics do.
func (w What) String() string {
	switch w {
	case Repeat:
		return "repeat"
	case NoAck:
		return "no_ack"
	case Expired:
		return "expired"
	}
	return "closed"
}

const (
	// exactUpTo is the number of pushes up to which each is looked at when its time has come. A
	// window of more is looked at no more often than once in a slack, or n pushes with a time each
	// would cost n looks at n pushes.
	exactUpTo  = 16
	slackShare = 64 // of Limits.Retry
	maxSlack   = 100
)

// Due finds the next push of the link whose time has come and fills ev with what is to be done
// about it. It is called until it returns false, or until the caller has done enough for one turn
// and comes back at Next, which is then now. A push is never repeated early, and late by up to 1/64
// of Limits.Retry, 100 ms at most, where the link has more than 16 of them. Between two calls the
// link may be sent to, acknowledge, or end.
func (s *Windows) Due(r Ref, now Millis, ev *Event) (Ref, bool) {
	if !r.Open() {
		return r, false
	}
	w := s.window(r)
	items := s.records.items(&w.list)
	i := 0
	switch {
	case w.scanning:
		i = find(items, w.scan)
	case now.before(w.next):
		return r, false
	default:
		w.scanning, w.soonest = true, now.after(millis(maxAhead))
	}
	for ; i < len(items); i++ {
		p := &items[i]
		if p.tries == 0 {
			continue
		}
		if at := p.wake(); now.before(at) {
			w.soonest = earlier(w.soonest, at)
			continue
		}
		w.scan = p.tid + 1
		return s.act(r, w, i, now, ev), true
	}
	w.scanning, w.next = false, w.soonest
	if slack := now + Millis(min(s.retry/slackShare, maxSlack)); w.live > exactUpTo && w.next.before(slack) {
		w.next = slack
	}
	return r, false
}

// act repeats a push whose time has come, or gives it up.
func (s *Windows) act(r Ref, w *window, i int, now Millis, ev *Event) Ref {
	p := &s.records.items(&w.list)[i]
	switch {
	case !now.before(p.end):
		s.tell(p, Expired, ev)
		return s.remove(r, w, i)
	case p.sampled() || int(p.tries) >= s.limits.Tries:
		s.tell(p, NoAck, ev)
		return s.remove(r, w, i)
	}
	p.tries++
	p.due = now.after(waitOf(p.base, p.tries))
	w.soonest = earlier(w.soonest, p.wake())
	s.tell(p, Repeat, ev)
	return r
}

func (s *Windows) tell(p *record, what What, ev *Event) {
	body := s.body(p)
	*ev = Event{What: what, TID: p.tid, MsgID: body[:p.msgID], Frame: body[p.msgID:], Sampled: p.sampled(), Tries: int(p.tries)}
}

// End gives up the oldest push of a link that has ended and fills ev with it. It is called until it
// returns false; the Ref is then 0.
func (s *Windows) End(r Ref, ev *Event) (Ref, bool) {
	if !r.Open() {
		return 0, false
	}
	w := s.window(r)
	s.tell(&s.records.items(&w.list)[0], Closed, ev)
	return s.remove(r, w, 0), true
}
