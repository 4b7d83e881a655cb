package handover_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// echo is a product small enough to be read at once: links that send numbers of four bytes, and get each one back behind the
// count of what their link has said so far. It has what makes a hand-over hard: an epoll that crosses, halves of numbers, and
// counts that tell of every number lost or doubled.
type echo struct {
	turn     sync.Mutex // held for a turn of the loop, and while frozen
	ep       int
	listener int
	links    map[int]*echoLink
	torn     int
	frozen   bool
	stopped  bool
	note     int                     // a descriptor that crosses by name
	spoil    func(p []handover.Part) // what a test does to the parts
}

type echoLink struct {
	fd            int
	count         uint32
	read, written uint32
	half          []byte
}

var echoFormats = handover.Formats{{Kind: "poll", Oldest: 1, Newest: 1}, {Kind: "echo", Oldest: 1, Newest: 2}}

func newEcho() (*echo, error) {
	e := &echo{links: map[int]*echoLink{}}
	var err error
	if e.ep, err = unix.EpollCreate1(0); err != nil {
		return nil, err
	}
	if e.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, err
	}
	if err := unix.Bind(e.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	if err := unix.Listen(e.listener, 4096); err != nil {
		return nil, err
	}
	if e.note, err = unix.MemfdCreate("note", unix.MFD_CLOEXEC); err == nil {
		_, err = unix.Write(e.note, []byte("noted"))
	}
	return e, errors.Join(err, e.watch(e.listener))
}

// noted says what the descriptor that crosses by name has to say: nothing when it would cross to any child.
func (e *echo) noted() string {
	if flags, err := unix.FcntlInt(uintptr(e.note), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		return "-"
	}
	b := make([]byte, 10)
	n, _ := unix.Pread(e.note, b, 0)
	return string(b[:max(n, 0)])
}

func (e *echo) watch(fd int) error {
	return unix.EpollCtl(e.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (e *echo) port() int {
	sa, err := unix.Getsockname(e.listener)
	if err != nil {
		panic(err)
	}
	return sa.(*unix.SockaddrInet4).Port
}

// run serves until stop.
func (e *echo) run() {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(e.ep, events, 1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(err)
		}
		e.turn.Lock()
		if e.stopped {
			e.turn.Unlock()
			return
		}
		// What epoll told before a freeze may be over: it is level-triggered, and every read looks for itself.
		for i := range max(n, 0) {
			if fd := int(events[i].Fd); fd == e.listener {
				e.accept()
			} else if l := e.links[fd]; l != nil {
				e.serve(l)
			}
		}
		e.turn.Unlock()
	}
}

func (e *echo) accept() {
	for range 64 {
		fd, _, err := unix.Accept4(e.listener, unix.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		e.links[fd] = &echoLink{fd: fd}
		if err := e.watch(fd); err != nil {
			panic(err)
		}
	}
}

// grow adds links that nobody is at the other end of, each with as many bytes of state as a real one.
func (e *echo) grow(number string) (err error) {
	n, err := strconv.Atoi(number)
	e.turn.Lock()
	defer e.turn.Unlock()
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0) // a stream would hang up
		if err != nil {
			return err
		}
		e.links[fd] = &echoLink{fd: fd, half: make([]byte, 160)}
		if err := unix.EpollCtl(e.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	return err
}

func (e *echo) serve(l *echoLink) {
	var in [512]byte
	n, err := unix.Read(l.fd, in[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err != nil || n == 0 {
		e.end(l)
		return
	}
	l.read += uint32(n)
	l.half = append(l.half, in[:n]...)
	var out []byte
	for ; len(l.half) >= 4; l.half = l.half[4:] {
		l.count++
		out = binary.BigEndian.AppendUint32(out, l.count)
		out = append(out, l.half[:4]...)
	}
	if len(out) > 0 {
		n, err := unix.Write(l.fd, out)
		if err != nil || n != len(out) {
			panic(fmt.Sprint("a client that does not read: ", n, err))
		}
		l.written += uint32(n)
	}
}

func (e *echo) end(l *echoLink) {
	_ = unix.EpollCtl(e.ep, unix.EPOLL_CTL_DEL, l.fd, nil)
	_ = unix.Shutdown(l.fd, unix.SHUT_RDWR)
	_ = unix.Close(l.fd)
	delete(e.links, l.fd)
}

// Parts, Files, Pause, Freeze and Thaw make it a handover.Product.

func (e *echo) Parts() []handover.Part {
	e.turn.Lock()
	defer e.turn.Unlock()
	parts := []handover.Part{
		{Name: "poll", Oldest: 1, Version: 1, Expect: 8, Append: func(b []byte, _ uint16) ([]byte, error) {
			b = binary.LittleEndian.AppendUint32(b, uint32(e.ep))
			return binary.LittleEndian.AppendUint32(b, uint32(e.listener)), nil
		}},
		{Name: "echo/0", Oldest: 1, Version: 2, Expect: 190 * len(e.links), Append: e.appendLinks},
	}
	if e.spoil != nil {
		e.spoil(parts)
	}
	return parts
}

func (e *echo) appendLinks(b []byte, version uint16) ([]byte, error) {
	for _, l := range e.links {
		var start int
		b, start = handover.Begin(b, version)
		b = l.appendState(b)
		handover.End(b, start)
	}
	return b, nil
}

func (l *echoLink) appendState(b []byte) []byte {
	for _, v := range []uint32{uint32(l.fd), l.count, l.read, l.written} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, l.half...)
}

func (e *echo) Files() []handover.File { return []handover.File{{Name: "a note", FD: e.note}} }

func (e *echo) Pause(context.Context) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	return unix.EpollCtl(e.ep, unix.EPOLL_CTL_DEL, e.listener, nil)
}

func (e *echo) Freeze(context.Context) error {
	e.turn.Lock()
	e.frozen = true
	return nil
}

func (e *echo) Thaw(touched bool) {
	if touched {
		for _, l := range e.links {
			if err := handover.CheckFlow(l.fd, l.read, l.written); err != nil {
				e.end(l)
				e.torn++
			}
		}
	}
	if err := e.watch(e.listener); err != nil && !errors.Is(err, unix.EEXIST) {
		panic(err)
	}
	if e.frozen {
		e.frozen = false
		e.turn.Unlock()
	}
}

// loadEcho makes the product that a predecessor wrote. Nothing of it is touched.
func loadEcho(p *handover.Predecessor, sections []handover.Section) (*echo, error) {
	e := &echo{links: map[int]*echoLink{}}
	if fd, ok := p.File("a note"); ok {
		e.note = fd
	}
	if _, ok := p.File("another"); ok {
		return nil, errors.New("a file that nobody passed")
	}
	for _, s := range sections {
		switch s.Kind() {
		case "poll":
			if len(s.Bytes) != 8 {
				return nil, fmt.Errorf("poll of %d bytes", len(s.Bytes))
			}
			e.ep, e.listener = int(binary.LittleEndian.Uint32(s.Bytes)), int(binary.LittleEndian.Uint32(s.Bytes[4:]))
			if err := errors.Join(p.Claim(e.ep), p.Claim(e.listener)); err != nil {
				return nil, err
			}
		case "echo":
			if err := e.loadLinks(p, s.Bytes); err != nil {
				return nil, err
			}
		}
	}
	return e, nil
}

func (e *echo) loadLinks(p *handover.Predecessor, b []byte) error {
	for len(b) > 0 {
		r, rest, err := handover.Next(b)
		if err != nil {
			return err
		}
		b = rest
		if len(r.Body) < 16 {
			return errors.New("a link of fewer than 16 bytes")
		}
		var v [4]uint32
		for i := range v {
			v[i] = binary.LittleEndian.Uint32(r.Body[4*i:])
		}
		l := &echoLink{fd: int(v[0]), count: v[1], read: v[2], written: v[3], half: append([]byte(nil), r.Body[16:]...)}
		if err := p.Claim(l.fd); err != nil {
			return err
		}
		e.links[l.fd] = l
	}
	return nil
}

// takeOver lets it go on in this process.
func (e *echo) takeOver() error { return e.watch(e.listener) }
