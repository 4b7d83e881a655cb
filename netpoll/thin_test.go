package netpoll_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"edged/netpoll"
)

func frameLength(head []byte) int { return 2 + int(binary.BigEndian.Uint16(head)) }

func all([]byte) bool { return true }

// blockedSink returns a connection whose peer has read nothing of a frame that is larger than what the kernel takes.
func blockedSink(t testing.TB, cfg netpoll.Config) (s *sink, l *netpoll.Loop, c netpoll.Conn, first []byte, peer *os.File) {
	s, l, _ = newSink(t, cfg)
	peer = socketPair(t, l, 1)
	c = wait(t, s.conn, "the connection")
	first = appendFrame(nil, noise(random(t), 30000))
	on(t, l, func() { l.Write(c, first) })
	until(t, l, "a full kernel", func() bool { return len(s.backlogs) == 1 })
	return s, l, c, first, peer
}

// When nothing is left behind a full kernel, the owner hears so once the kernel has room, not from within Thin, and no event
// comes again and again.
func TestThinOfAllThatIsBlocked(t *testing.T) {
	s, l, c, _, peer := blockedSink(t, netpoll.Config{})
	on(t, l, func() {
		if dropped, _ := l.Thin(c, 1, all); dropped != 0 {
			t.Error("Thin without Config.Piece dropped something")
		}
	})
	_ = mustRead(t, peer, 30002)
	until(t, l, "word that all is taken", func() bool { return s.backlogs[len(s.backlogs)-1] == 0 })

	s, l, c, first, peer := blockedSink(t, netpoll.Config{Piece: frameLength})
	on(t, l, func() {
		rest := l.Unsent(c)
		l.Write(c, appendFrame(nil, make([]byte, 100)))
		l.Write(c, appendFrame(nil, make([]byte, 200)))
		if dropped, freed := l.Thin(c, 1000, all); dropped != 2 || freed != 304 || l.Unsent(c) != rest {
			t.Errorf("%d pieces of %d bytes dropped, %d bytes left of %d", dropped, freed, l.Unsent(c), rest)
		}
		if len(s.backlogs) != 1 {
			t.Errorf("backlogs %v", s.backlogs)
		}
	})
	if got := mustRead(t, peer, len(first)); !bytes.Equal(got, first) {
		t.Error("the first frame came torn")
	}
	until(t, l, "word that all is taken", func() bool { return s.backlogs[len(s.backlogs)-1] == 0 })
	waitIdle(t, l)
}

// Frames that the kernel takes whole or not at all: the output begins with a whole one when it is full.
func TestThinLeavesNothing(t *testing.T) {
	for _, kernelBytes := range []int{0, 1 << 10} {
		s, l, _ := newSink(t, netpoll.Config{Piece: frameLength, KernelBytes: kernelBytes})
		peer := socketPair(t, l, 1+100*kernelBytes)
		c := wait(t, s.conn, "the connection")
		frame := appendFrame(nil, make([]byte, 62)) // one send of it is taken whole or not at all
		sent := 0
		until(t, l, "a full kernel", func() bool {
			if len(s.backlogs) == 0 {
				l.Write(c, frame)
				sent++
			}
			return len(s.backlogs) != 0
		})
		on(t, l, func() {
			waits := l.Unsent(c)
			if dropped, freed := l.Thin(c, 1<<20, all); freed != waits || dropped != waits/len(frame) || l.Unsent(c) != 0 {
				t.Errorf("%d pieces of %d bytes dropped of %d bytes", dropped, freed, waits)
			}
			sent -= waits / len(frame)
			if n := l.Stats().BufferBytes; n == 0 || len(s.backlogs) != 1 {
				t.Errorf("%d bytes of buffers, backlogs %v", n, s.backlogs)
			}
		})
		if kernelBytes == 0 {
			waitIdle(t, l)
		}
		mustRead(t, peer, sent*len(frame))
		until(t, l, "word that nothing waits", func() bool { return s.backlogs[len(s.backlogs)-1] == 0 })
		waitIdle(t, l)
		on(t, l, func() { l.Write(c, []byte{0, 1, 7}) })
		if got := mustRead(t, peer, 3); got[2] != 7 {
			t.Errorf("got %v", got)
		}
	}
}

// Close and Abort find a connection in order that Thin left blocked and empty.
func TestEndAfterThinLeftNothing(t *testing.T) {
	for name, end := range map[string]func(l *netpoll.Loop, c netpoll.Conn){
		"close":      func(l *netpoll.Loop, c netpoll.Conn) { l.Close(c) },
		"last words": func(l *netpoll.Loop, c netpoll.Conn) { l.Close(c, []byte("bye")) },
		"abort":      func(l *netpoll.Loop, c netpoll.Conn) { l.Abort(c) },
	} {
		s, l, _ := newSink(t, netpoll.Config{Piece: frameLength, Linger: limit})
		peer := socketPair(t, l, 1)
		c := wait(t, s.conn, "the connection")
		until(t, l, "a full kernel", func() bool {
			if len(s.backlogs) == 0 {
				l.Write(c, appendFrame(nil, make([]byte, 62)))
			}
			return len(s.backlogs) != 0
		})
		on(t, l, func() { l.Thin(c, 1<<20, all); end(l, c) })
		got := mustEnd(t, peer)
		if bye := bytes.HasSuffix(got, []byte("bye")); bye != (name == "last words") {
			t.Errorf("%s: last words %v", name, bye)
		}
		_ = peer.Close()
		until(t, l, "the slot to be free", func() bool { st := l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
	}
}

// Output of this turn has not met the kernel yet, and the kernel is not asked.
func TestThinOfWhatIsOnlyDirty(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{Piece: frameLength})
	peer := dial(t, addr)
	c := wait(t, s.conn, "the connection")
	on(t, l, func() {
		for i := range 100 {
			l.Write(c, []byte{0, 1}, []byte{byte(i)})
		}
		writes := l.Stats().Writes
		odd := func(p []byte) bool { return p[2]%2 == 1 }
		if dropped, freed := l.Thin(c, 30, odd); dropped != 10 || freed != 30 {
			t.Errorf("%d pieces of %d bytes", dropped, freed)
		}
		if dropped, freed := l.Thin(c, 0, odd); dropped != 0 || freed != 0 {
			t.Errorf("%d pieces of %d bytes for nothing asked", dropped, freed)
		}
		if l.Stats().Writes != writes {
			t.Error("Thin sent")
		}
	})
	got := mustRead(t, peer, 270)
	for i, want := 0, 0; i < len(got); i, want = i+3, want+1 {
		if want < 20 && want%2 == 1 {
			want++
		}
		if int(got[i+2]) != want {
			t.Fatalf("piece %d came where %d is due", got[i+2], want)
		}
	}
	on(t, l, func() {
		l.Write(c, []byte{0, 0})
		l.Thin(c, 2, all)
		l.Write(c, []byte{0, 0})
	})
	mustRead(t, peer, 2)
	on(t, l, func() {
		if n, m := l.Thin(c, 1, all); n != 0 || m != 0 || len(s.backlogs) != 0 {
			t.Errorf("%d pieces of no output, backlogs %v", n, s.backlogs)
		}
	})
}

// Room is made where it is missed: in the word that a Write was about to be refused.
func TestThinInsideBacklog(t *testing.T) {
	conns := make(chan netpoll.Conn, 1)
	thinned := 0
	l, _ := serve(t, netpoll.Config{HighWater: 4 << 10, Piece: frameLength}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { conns <- c }
		h.backlog = func(c netpoll.Conn, pending int) {
			if pending > 0 {
				dropped, _ := h.loop.Thin(c, pending, all)
				thinned += dropped
			}
		}
	})
	peer := socketPair(t, l, 1)
	c := wait(t, conns, "the connection")
	refused, kept := 0, 0
	on(t, l, func() {
		for range 1000 {
			if !l.Write(c, appendFrame(nil, make([]byte, 198))) {
				refused++
			}
		}
		kept = 1000 - refused - thinned
		if refused == 0 || refused > 100 || thinned < 800 {
			t.Errorf("%d refused, %d thinned out", refused, thinned)
		}
		l.Close(c)
	})
	if got := mustEnd(t, peer); len(got) != kept*200 || whole(got) != len(got) {
		t.Errorf("%d bytes came of %d frames", len(got), kept)
	}
}

// What begins no piece is left alone, and so is all behind it that waited when the kernel took a part.
func TestThinOfWhatIsNoPiece(t *testing.T) {
	cfg := netpoll.Config{Piece: func(head []byte) int {
		if head[0] == 0xff {
			return -1
		}
		return frameLength(head)
	}}
	s, l, c, first, peer := blockedSink(t, cfg)
	noPiece := []byte{0xff, 1, 2}
	frame := appendFrame(nil, []byte("a frame"))
	on(t, l, func() {
		l.Write(c, frame)
		l.Write(c, noPiece)
		l.Write(c, frame)
		if dropped, freed := l.Thin(c, 1000, all); dropped != 1 || freed != len(frame) {
			t.Errorf("%d pieces of %d bytes", dropped, freed)
		}
	})
	want := append(append(first, noPiece...), frame...)
	if got := mustRead(t, peer, len(want)); !bytes.Equal(got, want) {
		t.Error("other bytes came")
	}
	until(t, l, "word that all is taken", func() bool { return s.backlogs[len(s.backlogs)-1] == 0 })

	s, l, _ = newSink(t, cfg)
	peer = socketPair(t, l, 1)
	c = wait(t, s.conn, "the connection")
	on(t, l, func() { l.Write(c, bytes.Repeat(noPiece[:1], 30000)) })
	until(t, l, "a full kernel", func() bool { return len(s.backlogs) == 1 })
	on(t, l, func() {
		l.Write(c, frame)
		l.Write(c, frame)
		if dropped, freed := l.Thin(c, 1, all); dropped != 1 || freed != len(frame) {
			t.Errorf("%d pieces of %d bytes behind what is none", dropped, freed)
		}
	})
	mustRead(t, peer, 30000+len(frame))

	for _, garbage := range []func([]byte) int{
		func([]byte) int { return 0 },
		func([]byte) int { return -5 },
		func([]byte) int { return 1 << 40 },
	} {
		s, l, c, _, peer := blockedSink(t, netpoll.Config{Piece: garbage, PieceHead: 64})
		on(t, l, func() {
			l.Write(c, frame)
			if dropped, freed := l.Thin(c, 1000, all); dropped != 0 || freed != 0 {
				t.Errorf("%d pieces of %d bytes", dropped, freed)
			}
		})
		mustRead(t, peer, 30002+len(frame))
		until(t, l, "word that all is taken", func() bool { return s.backlogs[len(s.backlogs)-1] == 0 })
	}
	for _, bad := range []int{-1, 65} {
		if _, err := netpoll.New(netpoll.Config{PieceHead: bad}, nil); err == nil {
			t.Errorf("a head of %d bytes was taken", bad)
		}
	}
}

// What leaves in its turn is not looked at, and output of a slow peer costs no memory of its own.
func TestPieceCostsNothing(t *testing.T) {
	asked := 0
	cfg := netpoll.Config{Piece: func(head []byte) int { asked++; return frameLength(head) }}
	l, addr := serve(t, cfg, echoFrames)
	c := dial(t, addr)
	frame := appendFrame(nil, make([]byte, 62))
	b := make([]byte, len(frame))
	echo := func() {
		for range 1000 {
			if err := trip(c, frame, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	echo()
	if n := mallocs(echo); n > 10 {
		t.Errorf("%d allocations for 1,000 messages", n)
	}
	on(t, l, func() {
		if asked != 0 {
			t.Errorf("asked for the length of %d pieces", asked)
		}
	})

	_, l, conn, _, _ := blockedSink(t, cfg)
	odd := false
	turn := func() {
		for range 100 {
			l.Write(conn, frame)
		}
		l.Thin(conn, 1<<20, func([]byte) bool { odd = !odd; return odd })
		l.Thin(conn, 1<<20, all)
	}
	on(t, l, func() {
		turn()
		if n := testing.AllocsPerRun(100, turn); n != 0 {
			t.Errorf("%v allocations for pieces that wait", n)
		}
	})

	o := netpoll.NewOutput(cfg, -1)
	parts := func() {
		for range 100 {
			o.Write(o.Conn, frame)
		}
		for n := o.Unsent(o.Conn); n > 0; n = o.Unsent(o.Conn) {
			o.Sent(min(n, 777))
		}
	}
	parts()
	if n := testing.AllocsPerRun(100, parts); n != 0 {
		t.Errorf("%v allocations for pieces that are sent in parts", n)
	}
}
