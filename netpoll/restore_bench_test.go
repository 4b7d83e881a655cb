package netpoll_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"edged/handover"
	"edged/netpoll"
)

// keeperAside runs a keeper in a process of its own, so that what it does is not taken for the reactor's.
func keeperAside(b *testing.B, name string) (socket string) {
	b.Helper()
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		b.Fatal(err)
	}
	socket = filepath.Join(dir, "k.sock")
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^"+name+"$")
	cmd.Env = append(os.Environ(), childEnv+"=1", keeperEnv+"="+socket)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _, _ = in.Close(), cmd.Wait(), os.RemoveAll(dir) })
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		if line == "keeps\n" {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return socket
		}
	}
}

// keepAside is that process.
func keepAside(b *testing.B) {
	cfg := handover.DefaultKeeper()
	cfg.Socket = os.Getenv(keeperEnv)
	k, err := handover.NewKeeper(cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\nkeeps\n")
	go func() { _ = k.Serve(b.Context()) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.Goexit()
}

// threadTime is the CPU time of this thread.
func threadTime(b *testing.B) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return ts.Nano()
}

// BenchmarkKeepAccepted is what it costs a reactor to have a connection kept, and another one no more: record and descriptor, sent
// with those of a turn.
func BenchmarkKeepAccepted(b *testing.B) {
	if isChild() {
		keepAside(b)
	}
	const conns, slots = 64, 1 << 14
	for _, burst := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("burst-%d", burst), func(b *testing.B) {
			k, _, err := handover.OpenKeeping(keeperAside(b, "BenchmarkKeepAccepted"), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			m, err := handover.NewMemory(handover.Geometry{Shards: 1, Records: slots})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			records, d := m.Records(0), k.Deposit()
			l, addr := serve(b, netpoll.Config{}, echoFrames)
			for range conns {
				dial(b, addr)
			}
			until(b, l, "the connections", func() bool { return l.Stats().Conns == conns })
			on(b, l, func() {
				list := l.Everyone()
				room := make([]byte, 0, 4096)
				n := uint64(0)
				before := threadTime(b)
				for b.Loop() {
					c := list[n%conns]
					room = l.AppendConn(room[:0], c)
					records.PutAll(int(n%slots), room, nil)
					d.Add(n, l.FD(c))
					if n >= 1000 {
						d.Release(n - 1000)
						records.Clear(int((n - 1000) % slots))
					}
					if n++; n%uint64(burst) == 0 {
						records.Commit()
						for d.Flush(); d.Waiting(); d.Flush() {
							runtime.Gosched() // the keeper is behind
						}
					}
				}
				b.ReportMetric(float64(threadTime(b)-before)/float64(n), "cpu-ns/op")
				if d.Stats().Missed != 0 {
					b.Error("the keeper was too slow")
				}
			})
		})
	}
}

// BenchmarkKeepMessage is what a message costs beside Note: the record of its connection, with as many bytes as the owner has to say
// of it, in a turn of its own, and with so many connections that take turns.
func BenchmarkKeepMessage(b *testing.B) {
	for _, links := range []int{1 << 8, 1 << 13, 1 << 16} {
		b.Run(fmt.Sprintf("%d-links", links), func(b *testing.B) {
			m, err := handover.NewMemory(handover.Geometry{Shards: 1, Records: links})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			records := m.Records(0)
			l, addr := serve(b, netpoll.Config{}, echoFrames)
			dial(b, addr)
			until(b, l, "the connection", func() bool { return l.Stats().Conns == 1 })
			on(b, l, func() {
				c := l.Everyone()[0]
				room := make([]byte, 0, 4096)
				beside := make([]byte, 24)
				for i := range links {
					records.PutAll(i, l.AppendConn(room[:0], c), nil)
				}
				n := 0
				before := threadTime(b)
				for b.ReportAllocs(); b.Loop(); n++ {
					slot := int(uint32(n) * 2654435761 % uint32(links)) // far from the last one
					room = append(l.AppendConn(room[:0], c), beside...)
					records.Put(slot, room)
					records.Commit()
				}
				b.ReportMetric(float64(threadTime(b)-before)/float64(n), "cpu-ns/op")
			})
		})
	}
}

// BenchmarkKeptEcho is the CPU time of a reactor for a message that it sends back, without a keeper and with one.
func BenchmarkKeptEcho(b *testing.B) {
	const conns, records = 64, 1 << 10
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprintf("kept=%v", kept), func(b *testing.B) {
			var cfg netpoll.Config
			var keeper *keptLoop
			k, _, err := handover.OpenKeeping(newKeeper(b), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			m, err := handover.NewMemory(handover.Geometry{Shards: 1, Records: records, Blocks: records})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			if kept {
				cfg.Note = func(_ *netpoll.Loop, touched []netpoll.Conn) { keeper.note(touched) }
			}
			g := newGroup(b, cfg, func(h *hooks) {
				echoFrames(h)
				keeper = newKeptLoop(h.loop, m, k)
				h.closed = func(c netpoll.Conn, _ error) { keeper.closed(c) }
			})
			defer g.Stop() // before the memory goes
			addr := listen(b, g)
			g.Start()
			l := g.Loops()[0]
			var clients []net.Conn
			for range conns {
				clients = append(clients, dial(b, addr))
			}
			message, room := appendFrame(nil, make([]byte, 64)), make([]byte, 66)
			now := func() (ns int64) { on(b, l, func() { ns = threadTime(b) }); return ns }
			n := 0
			before := now()
			for b.Loop() {
				for _, c := range clients {
					if n%(1<<16) == 0 {
						renew(b, c)
					}
					if _, err := c.Write(message); err != nil {
						b.Fatal(err)
					}
				}
				for _, c := range clients {
					if _, err := io.ReadFull(c, room); err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(now()-before)/float64(n), "cpu-ns/message")
		})
	}
}
