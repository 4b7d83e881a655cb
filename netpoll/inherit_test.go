package netpoll_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// What a group inherited and did not start is still the old one's.
func TestSuccessorThatDoesNotStart(t *testing.T) {
	g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
	addr := listen(t, g)
	g.Start()
	crowd := newCrowd(t, 10, addr)
	pass := newClock(t)
	for range 10 {
		mustFreeze(t, g)
		files := openFiles(t)
		heir := inherit(t, appendStates(g), netpoll.Config{Loops: 2}, echoFrames)
		listen(t, heir)
		heir.Stop()
		if n := openFiles(t); n < files-20 { // clients may leave meanwhile
			t.Errorf("%d files of %d", n, files)
		}
		g.Thaw()
		pass(2 * time.Millisecond)
	}
	crowd.end()
}

func TestSuccessorRefuses(t *testing.T) {
	conns := make(chan netpoll.Conn, 10)
	set := func(h *hooks) { h.opened = func(c netpoll.Conn, _ int) { conns <- c } }
	g := newGroup(t, netpoll.Config{Loops: 2, MaxConns: 100}, set)
	g.Start()
	l := g.Loops()[1]
	var peers []io.Closer
	for range 5 {
		peers = append(peers, socketPair(t, l, 1))
		wait(t, conns, "the connection")
	}
	_ = peers[4].Close()
	until(t, l, "one to end", func() bool { return l.Stats().Conns == 4 })
	mustFreeze(t, g)
	states := appendStates(g)
	for name, tc := range map[string]struct {
		cfg    netpoll.Config
		change func(in *netpoll.Inheritance)
		want   string
	}{
		"fits":         {cfg: netpoll.Config{Loops: 2, MaxConns: 4}},
		"more room":    {cfg: netpoll.Config{Loops: 2, MaxConns: 1000}},
		"one loop":     {cfg: netpoll.Config{}, want: "there are to be 1 loops, and the connections of 2"},
		"too small":    {cfg: netpoll.Config{Loops: 2, MaxConns: 3}, want: "loop 1: connection 3 is open, and there are to be 3"},
		"version 0":    {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Version = 0 }, want: "version 0"},
		"version 2":    {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Version = 2 }, want: "version 2"},
		"exchanged":    {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { slices.Reverse(in.Loops) }, want: "that of loop 1 of 2"},
		"cut":          {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Loops[1] = in.Loops[1][:39] }, want: "39 bytes"},
		"not passed":   {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Claim = func(int) error { return io.EOF } }, want: "EOF"},
		"another file": {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Loops[0][12] = 0 }, want: "no anon_inode:[eventpoll]"},
		"bell":         {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Loops[0][16] = 0 }, want: "no anon_inode:[eventfd]"},
		"slots":        {cfg: netpoll.Config{Loops: 2}, change: func(in *netpoll.Inheritance) { in.Loops[0][23] = 255; in.Loops[0][22] = 255 }, want: "slots"},
	} {
		in := &netpoll.Inheritance{Version: netpoll.StateVersion, Claim: claims()}
		for _, b := range states {
			in.Loops = append(in.Loops, bytes.Clone(b))
		}
		if tc.change != nil {
			tc.change(in)
			if name == "another file" || name == "bell" {
				in.Claim = nil
			}
		}
		tc.cfg.Inherit = in
		heir, err := netpoll.New(tc.cfg, func(l *netpoll.Loop) netpoll.Handler { return &hooks{loop: l} })
		if tc.want == "" {
			if err != nil || heir.Dropped() != 0 {
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if heir != nil {
			heir.Stop()
		}
	}
	if n := g.Dropped(); n != 0 || len(g.Listeners()) != 0 {
		t.Errorf("a group without a predecessor dropped %d", n)
	}
	g.Forget(0)
	g.Thaw()
}

// One connection that cannot be loaded costs that one, and its handler can find out.
func TestSuccessorDropsWhatItCannotLoad(t *testing.T) {
	conns := make(chan netpoll.Conn, 10)
	set := func(h *hooks) {
		echoFrames(h)
		h.opened = func(c netpoll.Conn, _ int) { conns <- c }
	}
	g := newGroup(t, netpoll.Config{}, set)
	addr := listen(t, g)
	g.Start()
	l := g.Loops()[0]
	var list []netpoll.Conn
	var peers []*net.TCPConn
	for range 8 {
		peers = append(peers, dial(t, addr))
		list = append(list, wait(t, conns, "the connection"))
	}
	var dialled net.Conn
	accepted := make(chan net.Conn, 2)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	go func() {
		for {
			c, err := far.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	on(t, l, func() {
		if _, err := l.Dial(addrPortOf(far.Addr()), addrPortOf(far.Addr()).Addr(), 0); err != nil {
			t.Error(err)
		}
	})
	dialled = wait(t, accepted, "who dialled")
	wait(t, conns, "who dialled")
	mustFreeze(t, g)
	lost := l.FD(list[2])
	state := l.AppendState(nil, netpoll.StateVersion)
	claim := claims()
	cfg := netpoll.Config{Inherit: &netpoll.Inheritance{Version: 1, Loops: [][]byte{state}, Claim: func(fd int) error {
		if fd == lost {
			return errors.New("not passed on")
		}
		return claim(fd)
	}}}
	// The flags of one and the length of the last one's input make no sense.
	record := func(n int) []byte { return state[recordAt(state, n):] }
	record(5)[16] = 0xff
	opens := map[netpoll.Conn]bool{}
	heir := newGroup(t, cfg, func(h *hooks) {
		set(h)
		for _, c := range list {
			opens[c] = h.loop.Open(c)
		}
	})
	for i, c := range list {
		if opens[c] != (i != 2 && i != 5) {
			t.Errorf("connection %d: open is %v", i, opens[c])
		}
	}
	if n, err := heir.Dropped(), heir.Err(); n != 2 || err == nil || !strings.Contains(err.Error(), "not passed on") {
		t.Errorf("%d dropped: %v", n, err)
	}
	g.Abandon()
	heir.Start()
	for i, c := range peers {
		if i != 2 && i != 5 {
			mustWrite(t, c, []byte{0, 0})
			mustRead(t, c, 2)
		}
	}
	_ = dialled.SetDeadline(time.Now().Add(limit))
	if len(mustEnd(t, dialled)) != 0 {
		t.Error("who was dialled hears something")
	}
	dial(t, addr)
	if c := wait(t, conns, "a connection"); slices.Contains(list, c) {
		t.Errorf("%#x again", uint64(c))
	}
	for _, i := range []int{2, 5} { // in a process of its own they were closed with all that nobody claims
		_ = unix.Close(l.FD(list[i]))
	}
}

// recordAt returns where the record number n begins in a state.
func recordAt(state []byte, n int) int {
	u32 := func(at int) int { return int(binary.LittleEndian.Uint32(state[at:])) }
	at := 40 + 16*u32(24) + 8*u32(28) + 16*u32(32)
	for range n {
		at += 4 + u32(at)
	}
	return at + 4
}

// Freezing on the way may be given up: the links go on in the old group.
func TestSuccessorIsCalledOff(t *testing.T) {
	g := newGroup(t, netpoll.Config{}, echoFrames)
	addr := listen(t, g)
	g.Start()
	c := dial(t, addr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Pause(ctx); err != nil && !errors.Is(err, context.Canceled) { // the loops may have been faster
		t.Errorf("%v", err)
	}
	_ = g.Freeze(ctx)
	g.Thaw()
	mustWrite(t, c, []byte{0, 0})
	mustRead(t, c, 2)
	succeed(t, g, netpoll.Config{}, echoFrames)
	mustWrite(t, c, []byte{0, 0})
	mustRead(t, c, 2)
}

// A successor steers by its own settings, whatever program its predecessor left with the sockets.
func TestSuccessorSteers(t *testing.T) {
	const n = 4
	x := newLine(t, n)
	fds, addr := x.server.passed(serverIP, n)
	opened := make(chan int, 1000)
	set := func(h *hooks) { h.opened = func(netpoll.Conn, int) { opened <- h.loop.Number() } }
	cfg := netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: queues(n, 0)}
	g := newGroup(t, cfg, set)
	if _, err := g.Adopt(fds...); err != nil {
		t.Fatal(err)
	}
	g.Start()
	come := func(times int, want func(queue int) int) (astray int) {
		t.Helper()
		for i := range n * times {
			x.come(addr, i%n, -1)
			if wait(t, opened, "the connection") != want(i%n) {
				astray++
			}
		}
		return astray
	}
	same := func(q int) int { return q }
	turned := func(q int) int { return n - 1 - q }
	if k := come(5, same); k != 0 {
		t.Errorf("%d connections came astray", k)
	}
	other := cfg
	other.Queues = queues(n, 0)
	slices.Reverse(other.Queues.Queues)
	off := cfg
	off.Steer = netpoll.SteerOff
	for i, cfg := range []netpoll.Config{cfg, other, off, cfg} {
		g = succeed(t, g, cfg, set)
		want := same
		if i == 1 {
			want = turned
		}
		if k := come(10, want); (k == 0) == (i == 2) {
			t.Errorf("successor %d: %d connections of %d came astray: %+v", i, k, 10*n, g.Steering())
		}
		if i != 2 {
			told(t, g, netpoll.SteerQueue, 0, false, "")
		}
	}
}

func TestSuccessorsListeners(t *testing.T) {
	sources := make(chan int, 10)
	set := func(h *hooks) {
		echoFrames(h)
		h.opened = func(_ netpoll.Conn, source int) { sources <- source }
	}
	cfg := netpoll.Config{Loops: 2}
	g := newGroup(t, cfg, set)
	path := unixPath(t)
	tcp := listen(t, g)
	_, goneAddr, err := g.Listen("tcp", "127.66.7.8:0") // where nobody else takes the port
	if err != nil {
		t.Fatal(err)
	}
	gone := goneAddr.String()
	if _, _, err := g.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	g.Start()
	fd, adopted := passed(t)
	unix.CloseOnExec(fd)
	if _, err := g.Adopt(fd); err != nil {
		t.Fatal(err)
	}
	mustFreeze(t, g)
	waiting := dial(t, tcp)
	states := appendStates(g)
	heir := inherit(t, states, cfg, set)
	g.Abandon()
	var told []string
	for _, l := range heir.Listeners() {
		told = append(told, fmt.Sprint(l.Source, " ", l.Addr.Network(), " ", l.Addr))
	}
	if want := []string{"0 tcp " + tcp, "1 tcp " + gone, "2 unix " + path, "3 tcp " + adopted}; !slices.Equal(told, want) {
		t.Errorf("inherited %q, want %q", told, want)
	}
	heir.Forget(1)
	heir.Forget(9)
	if n := len(heir.Listeners()); n != 3 {
		t.Errorf("%d listeners when one is forgotten", n)
	}
	source, fresh, err := heir.Listen("tcp", "127.0.0.1:0")
	if err != nil || source != 4 {
		t.Errorf("a new listener is number %d, %v", source, err)
	}
	early := dial(t, fresh.String())
	select {
	case s := <-sources:
		t.Errorf("accepted from %d before Start", s)
	default:
	}
	heir.Start()
	heir.Forget(0) // too late
	first := []int{wait(t, sources, "who waited"), wait(t, sources, "who waited")}
	if slices.Sort(first); !slices.Equal(first, []int{0, 4}) {
		t.Errorf("accepted from %v", first)
	}
	for _, c := range []net.Conn{waiting, early} {
		mustWrite(t, c, []byte{0, 0})
		mustRead(t, c, 2)
	}
	for want, open := range map[int]func() net.Conn{
		0: func() net.Conn { return dial(t, tcp) },
		2: func() net.Conn { return dialUnix(t, path) },
		3: func() net.Conn { return dial(t, adopted) },
		4: func() net.Conn { return dial(t, fresh.String()) },
	} {
		c := open()
		if s := wait(t, sources, "a connection"); s != want {
			t.Errorf("accepted from %d, want %d", s, want)
		}
		mustWrite(t, c, []byte{0, 0})
		mustRead(t, c, 2)
	}
	if c, err := net.DialTimeout("tcp", gone, limit); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a forgotten listener: %v, %v", c, err)
	}
	succeed(t, heir, cfg, set) // what was opened before and after goes on alike
	dial(t, fresh.String())
	if s := wait(t, sources, "a connection"); s != 4 {
		t.Errorf("accepted from %d", s)
	}
}
