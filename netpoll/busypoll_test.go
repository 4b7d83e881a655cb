package netpoll_test

import (
	"errors"
	"testing"
	"time"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

// A kernel that has it takes it, another one says so; the loops run in either case.
func TestBusyPoll(t *testing.T) {
	want := netpoll.BusyPoll{Time: 64 * time.Microsecond, Budget: 8, Prefer: true}
	g := newGroup(t, netpoll.Config{Loops: 2, BusyPoll: want}, echoFrames)
	addr := listen(t, g)
	g.Start()
	on := g.Steering().BusyPoll
	if err := g.Err(); on == (err != nil) || err != nil && !errors.Is(err, unix.ENOTTY) {
		t.Errorf("on %v, Err %v", on, err)
	}
	if on {
		for i, l := range g.Loops() {
			if got, err := l.BusyPoll(); err != nil || got != want {
				t.Errorf("loop %d: %+v, %v", i, got, err)
			}
		}
	}
	c := dial(t, addr)
	mustWrite(t, c, []byte{0, 0})
	mustRead(t, c, 2)
}

func TestBusyPollIsOff(t *testing.T) {
	g := newGroup(t, netpoll.Config{}, echoFrames)
	if got, err := g.Loops()[0].BusyPoll(); err == nil && got != (netpoll.BusyPoll{}) || g.Steering().BusyPoll {
		t.Errorf("%+v", got)
	}
}

// A message to and fro over a veth, whose queues have NAPIs: what busy polling does to the time, and to the CPU of the process,
// client included.
func BenchmarkBusyPoll(b *testing.B) {
	for _, bc := range []struct {
		name string
		poll netpoll.BusyPoll
	}{{"off", netpoll.BusyPoll{}}, {"64us", netpoll.BusyPoll{Time: 64 * time.Microsecond}}, {"64us prefer", netpoll.BusyPoll{Time: 64 * time.Microsecond, Prefer: true}}} {
		b.Run(bc.name, func(b *testing.B) {
			cpu, other := twoCPUs(b)
			x := newLine(b, 2) // one queue has no file for XPS
			x.napis()
			g := newGroup(b, netpoll.Config{CPUs: []int{cpu}, BusyPoll: bc.poll}, echoFrames)
			addr := listenAt(x, g)
			g.Start()
			frame := appendFrame(nil, make([]byte, 64))
			var before, after unix.Rusage
			x.client.must("send and receive", func() (err error) {
				onCPU(other, func() {
					var fd int
					if fd, err = x.connect(addr); err != nil {
						return
					}
					_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
					in := make([]byte, len(frame))
					for b.Loop() {
						if _, err = unix.Write(fd, frame); err == nil {
							_, err = unix.Read(fd, in)
						}
						if err != nil {
							return
						}
					}
					_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
				})
				return err
			})
			cpuTime := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
			b.ReportMetric(float64(cpuTime.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
