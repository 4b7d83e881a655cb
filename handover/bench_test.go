package handover_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkUpgrade replaces a process with so many links, again and again, and tells how long they stood still and how long
// nobody was accepted.
func BenchmarkUpgrade(b *testing.B) {
	for _, mode := range []string{"fork", "exec"} {
		for _, links := range []int{1000, 15000} {
			b.Run(fmt.Sprintf("%s-%d", mode, links), func(b *testing.B) {
				p := startEcho(b)
				p.tell("grow %d", links)
				if w := p.expect("grown"); w[0] != "<nil>" {
					b.Skip(w)
				}
				var frozen, paused time.Duration
				for b.Loop() {
					words, ok := p.reload(mode, "none", "-", "-")
					if !ok {
						b.Fatal(words)
					}
					// running: PID, orphaned, frozen; reloaded: PID, bytes, frozen, paused
					f, _ := time.ParseDuration(words[2])
					frozen += f
					if mode == "fork" {
						p, _ := time.ParseDuration(words[6])
						paused += p
					}
				}
				if n, _ := p.stat(); n != links {
					b.Errorf("%d links", n)
				}
				b.ReportMetric(float64(frozen.Microseconds())/1000/float64(b.N), "ms-frozen/op")
				b.ReportMetric(float64(paused.Microseconds())/1000/float64(b.N), "ms-paused/op")
			})
		}
	}
}

// BenchmarkDeposit adds and releases links in bursts, as a reactor does, with a keeper process at the other end.
func BenchmarkDeposit(b *testing.B) {
	for _, burst := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("burst-%d", burst), func(b *testing.B) {
			socket := keeperSocket(b)
			p := startKeeper(b, socket)
			k, _ := openKeeping(b, socket)
			defer k.Close()
			d := k.Deposit()
			fds := files(b, 64)
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				d.Add(n, fds[n%64])
				if n >= 1000 {
					d.Release(n - 1000)
				}
				if n++; n%uint64(burst) == 0 {
					for d.Flush(); d.Waiting(); d.Flush() {
						runtime.Gosched() // the keeper is behind
					}
				}
			}
			until(b, "the keeper to have done it", func() bool { links, _, _ := p.figures(); return links <= 1000 })
			if s := d.Stats(); s.Missed > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}

// BenchmarkTake is what a gateway that follows a dead one waits for.
func BenchmarkTake(b *testing.B) {
	const links = 15000
	socket := keeperSocket(b)
	p := startKeeper(b, socket)
	k, _ := openKeeping(b, socket)
	d := k.Deposit()
	fds := files(b, 64)
	before := p.memory()
	for i := range links {
		d.Add(uint64(i), fds[i%64])
		for i%64 == 0 && d.Waiting() {
			d.Flush()
		}
	}
	until(b, "all of them", func() bool { // without garbage in the keeper
		d.Flush()
		p.tell("links")
		return p.expect("links")[0] == fmt.Sprint(links)
	})
	perLink := float64(p.memory()-before) / links
	for b.Loop() {
		if err := k.Take(func(_ uint64, fd int) { _ = unix.Close(fd) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(perLink, "keeper-B/link")
	k.Close()
}

// memory returns the resident bytes of a process.
func (p *process) memory() int {
	p.t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		p.t.Fatal(err)
	}
	return resident * os.Getpagesize()
}
