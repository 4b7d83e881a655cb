package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a successor beyond those of its predecessor, which ends it when one of its own is over.
const (
	startLimit = 5 * time.Second
	stateLimit = 2 * time.Minute
	goLimit    = 2 * time.Second // beyond the freeze: a predecessor that stands still itself says nothing
)

// ownKind is the section that the hand-over writes itself: what a successor by exec cannot be told otherwise.
const (
	ownKind    = "handover"
	ownVersion = 1
)

var (
	// ErrTrial ends a successor that was only to prove that it could take over: it leaves, with status 0.
	ErrTrial = errors.New("handover: only a trial")
	// ErrCalledOff ends a successor whose predecessor goes on by itself.
	ErrCalledOff = errors.New("handover: called off by the predecessor")
)

// Predecessor is the process that hands over, as its successor sees it. The calls come in this order, from one goroutine:
//
//	Receive > (what can be done without the state) > State > (load it: Claim) > Ready > (let the links go on) > Running
//
// Until Ready has returned nil the predecessor may still go on by itself: nothing that it shares, as an epoll, may be touched.
// Between State and Ready the links stand still: what takes time belongs before State.
type Predecessor struct {
	peer      *channel // nil in exec mode
	told      start
	inherited *inherited
	file      []byte // the mapped state; nil after Running
	sections  []Section
	since     time.Duration // CLOCK_MONOTONIC when the links began to stand still
	died      bool
}

// Receive returns the predecessor of this process, nil if there is none. It must come before the process opens anything that
// is not closed on exec, right behind Shim.
func Receive() (*Predecessor, error) {
	how, ok := os.LookupEnv(variable)
	if !ok {
		return nil, nil
	}
	_ = os.Unsetenv(variable)
	mode, number, _ := strings.Cut(how, ":")
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("handover: %s=%q", variable, how)
	}
	p := &Predecessor{}
	if p.inherited, err = listInherited(); err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	if err := p.inherited.claim(fd); err != nil {
		return nil, err
	}
	switch mode {
	case ModeFork:
		err = p.openPeer(fd)
	case ModeExec:
		err = p.openState(fd)
	default:
		err = fmt.Errorf("handover: %s=%q", variable, how)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range p.told.files {
		if err := p.inherited.claim(f.FD); err != nil {
			return nil, err
		}
		unix.CloseOnExec(f.FD)
	}
	return p, nil
}

func (p *Predecessor) openPeer(fd int) (err error) {
	if p.peer, err = openChannel(fd); err != nil {
		return err
	}
	m, err := p.hear(context.Background(), startLimit, msgStart)
	if err != nil {
		return err
	}
	p.told, err = parseStart(m.body)
	return err
}

// openState reads a state that was left by an exec, and closes its descriptor.
func (p *Predecessor) openState(fd int) (err error) {
	p.file, err = mapState(fd)
	_ = unix.Close(fd)
	if err != nil {
		return err
	}
	if p.sections, err = Parse(p.file); err != nil {
		return err
	}
	for _, s := range p.sections {
		if s.Kind() != ownKind || s.Version != ownVersion {
			continue
		}
		told, err := parseStart(string(s.Bytes))
		if err != nil {
			return err
		}
		if p.since = told.since; p.peer == nil {
			p.told = told
		}
	}
	return nil
}

// File returns the descriptor that the predecessor passed on under name. It is this process's own from now on, and closed on
// exec.
func (p *Predecessor) File(name string) (fd int, ok bool) {
	for _, f := range p.told.files {
		if f.Name == name {
			return f.FD, true
		}
	}
	return -1, false
}

// Trial says that this process will not take over and should tell nobody that it is there: State and Ready are all there is
// to do.
func (p *Predecessor) Trial() bool { return p.told.trial }

// State says that this process can begin, waits for the state and returns its sections; their bytes are valid until Running
// and must not be written to. An error is for Refuse.
func (p *Predecessor) State(reads Formats) ([]Section, error) {
	if p.peer != nil {
		text := append(Formats{{ownKind, ownVersion, ownVersion}}, reads...).String()
		if err := p.peer.send(time.Now().Add(startLimit), msgHello, text, -1); err != nil {
			return nil, p.lost(err)
		}
		m, err := p.hear(context.Background(), stateLimit, msgState)
		if err != nil {
			return nil, err
		}
		if m.fd < 0 {
			return nil, fmt.Errorf("%w: no file came", ErrFile)
		}
		if err := p.openState(m.fd); err != nil {
			return nil, err
		}
	}
	var sections []Section
	for _, s := range p.sections {
		r, known := reads.find(s.Kind())
		switch {
		case s.Kind() == ownKind:
		case !known || s.Version < r.Oldest || s.Version > r.Newest:
			return nil, fmt.Errorf("version %d of the state's part %s cannot be read", s.Version, s.Name)
		default:
			sections = append(sections, s)
		}
	}
	return sections, nil
}

// Claim takes one of the descriptors that the state names. It fails if it was not passed on or is claimed twice: then what
// names it cannot be loaded. Those that nobody claims are closed by Running.
func (p *Predecessor) Claim(fd int) error { return p.inherited.claim(fd) }

// Ready says that everything is loaded and waits to be let go. After nil the links are this process's; after an error it must
// leave without having touched them.
func (p *Predecessor) Ready() error {
	if p.peer == nil {
		return nil
	}
	err := p.peer.send(time.Now().Add(goLimit), msgReady, "", -1)
	if err != nil {
		err = p.lost(err)
	} else {
		_, err = p.hear(context.Background(), p.told.freeze+goLimit, msgGo)
	}
	switch {
	case p.told.trial:
		return ErrTrial
	case errors.Is(err, ErrCalledOff):
		// It ends who waits here before it goes on by itself: that it has ended is the only way to this place. Who froze the
		// links is dead, and all of them are here.
		p.died = true
		return nil
	case err != nil:
		p.Refuse(err)
		return err
	}
	return nil
}

// Running says that this process serves, and returns when it is the one that the supervisor watches. It closes the descriptors
// that nobody claimed and forgets the state. It returns how many were closed.
func (p *Predecessor) Running(ctx context.Context) (closed int) {
	if p.peer != nil {
		if !p.died && p.peer.send(time.Now().Add(goLimit), msgRunning, "", -1) == nil {
			_, _ = p.hear(ctx, ownLimit+goLimit, msgOwn) // whatever comes, or does not: this process serves
		}
		p.peer.close()
		p.peer = nil
	}
	if p.file != nil {
		_ = unix.Munmap(p.file)
		p.file, p.sections = nil, nil
	}
	closed = p.inherited.closeRest()
	p.inherited = &inherited{}
	return closed
}

// Frozen returns for how long the links have stood still: called when they go on, for how long they did.
func (p *Predecessor) Frozen() time.Duration { return monotonic() - p.since }

// Orphaned says, after Ready, that the predecessor died after it had handed over everything, and before it said go.
func (p *Predecessor) Orphaned() bool { return p.died }

// Refuse tells the predecessor in one sentence why this process does not take over. The caller leaves then, having touched
// nothing.
func (p *Predecessor) Refuse(why error) {
	if p.peer != nil {
		_ = p.peer.send(time.Now().Add(goLimit), msgRefused, oneLine(why.Error()), -1)
	}
}

// oneLine keeps a message within what one may be.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return s[:min(len(s), 4096)]
}

func (p *Predecessor) lost(err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, io.EOF) {
		return ErrCalledOff
	}
	return fmt.Errorf("handover: %w", err)
}

func (p *Predecessor) hear(ctx context.Context, limit time.Duration, kind messageKind) (message, error) {
	m, err := p.peer.receive(ctx, time.Now().Add(limit))
	if err != nil {
		return m, p.lost(err)
	}
	if m.kind != kind {
		if m.fd >= 0 {
			_ = unix.Close(m.fd)
		}
		return m, fmt.Errorf("handover: message %d came instead of %d", m.kind, kind)
	}
	return m, nil
}
