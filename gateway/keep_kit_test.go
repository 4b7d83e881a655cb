package gateway_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/gateway"
	"edged/handover"
)

// way is how a gateway comes to a successor.
type way struct {
	name  string
	kept  bool // what it has is written down
	crash bool // it is killed, and that is all there is
	torn  bool // also when output has been sent and nothing is committed
}

// eachWay runs a test of what goes on in a successor with both ways.
func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	t.Parallel()
	for _, w := range []way{{name: "hand-over"}, {name: "hand-over when kept", kept: true}, {name: "crash", kept: true, crash: true}} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// kept gives the gateway of these options new shared memory.
func kept(t testing.TB, o gateway.Options) gateway.Options {
	t.Helper()
	g, err := gateway.KeepGeometry(o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := handover.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	o.Keep = &gateway.Keep{Memory: m}
	return o
}

// start starts a gateway that can be succeeded in that way.
func (w way) start(t *testing.T, o gateway.Options) *rig {
	t.Helper()
	if !w.kept {
		return startAs(t, o)
	}
	whole := make(chan struct{})
	o = kept(t, o)
	o.Keep.Whole = func() { close(whole) }
	r := startAs(t, o)
	r.way = w
	await(t, whole)
	return r
}

func await(t testing.TB, done chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("not all is written down")
	}
}

// crash kills a gateway and has another one go on with its links.
func (r *rig) crash(o gateway.Options) (*rig, error) {
	r.t.Helper()
	moments := []gateway.Moment{gateway.AmidTurn, gateway.AfterCommit, gateway.BeforeCommit}
	if !r.way.torn {
		moments = moments[:2]
	}
	moment := moments[rand.IntN(len(moments))]
	r.t.Log("crash at moment ", moment)
	fds := r.Crash(moment)
	r.gone = true
	next, err := revive(r.t, r.Memory(), fds, o)
	if err == nil {
		next.way = r.way
	}
	return next, err
}

// revive makes a gateway of what another one has left, and starts it.
func revive(t *testing.T, left *handover.Memory, fds map[uint64]int, o gateway.Options) (*rig, error) {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(left.FD()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	m, err := handover.OpenMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	if o.Inherit, err = gateway.Revive(m, fds); err != nil {
		return nil, err
	}
	whole := make(chan struct{})
	o = kept(t, o)
	o.Keep.Began = m.Retire
	o.Keep.Whole = func() { close(whole) }
	g, err := gateway.New(o)
	if err != nil {
		return nil, err
	}
	g.WatchKept(t.Errorf)
	next := &rig{Gateway: g, t: t}
	t.Cleanup(next.stop)
	g.Start()
	await(t, whole)
	return next, nil
}

func newLogRig(t *testing.T, change func(*gateway.Options)) *logRig {
	t.Helper()
	return newLogRigOf(t, way{kept: true}, change)
}
