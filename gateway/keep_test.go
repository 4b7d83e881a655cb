package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/handover"
	"edged/linkpool"
	"edged/wire"
)

// keeper is a real one, and a gateway's side of it.
type keeper struct {
	*handover.Keeper
	socket string
	stop   func()
}

func newKeeper(t *testing.T, socket string) *keeper {
	t.Helper()
	cfg := handover.DefaultKeeper()
	cfg.Socket = socket
	k, err := handover.NewKeeper(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Serve(ctx) }()
	x := &keeper{k, socket, func() { cancel(); <-done }}
	t.Cleanup(x.stop)
	return x
}

// connect opens the gateway's side, and takes what is kept.
func (k *keeper) connect(t *testing.T) (side *handover.Keeping, w handover.Welcome, fds map[uint64]int) {
	t.Helper()
	eventually(t, "the keeper lets us in", func() bool {
		var err error
		side, w, err = handover.OpenKeeping(k.socket, nil)
		return err == nil
	})
	fds = map[uint64]int{}
	if err := side.Take(func(key uint64, fd int) { fds[key] = fd }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); side.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return side, w, fds
}

// TestKeeper: the keeper has the connections of all links, of no other, and lets go of them when they end; after a crash they and
// the memory come from it.
func TestKeeper(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, filepath.Join(t.TempDir(), "s"))
	m := serve(t, "", "", bindNames)
	o := kept(t, options(m.address))
	side, _, _ := k.connect(t)
	o.Keep.Deposit = func(int) *handover.Deposit { return side.Deposit() }
	o.Keep.Whole = func() {
		if err := side.Share(o.Keep.Memory.FD(), false); err != nil {
			t.Error(err)
		}
	}
	r := startAs(t, o)
	var links []*client
	for i := range 100 {
		links = append(links, r.loginAs(fmt.Sprint("user", i, "/phone")))
	}
	eventually(t, "it keeps all", func() bool { return k.Stats().Links == 100 })
	for _, c := range links[:40] {
		_ = c.conn.Close()
	}
	links = links[40:]
	eventually(t, "it lets go of those that end", func() bool { return k.Stats().Links == 60 && r.Links() == 60 })
	for key, fd := range r.Crash(gateway.AmidTurn) {
		_ = key
		_ = unix.Close(fd)
	}
	r.gone = true
	side.Close()

	side, w, fds := k.connect(t)
	for _, c := range []*client{links[0], links[1]} { // both are torn
		c.write([]byte{0, 0})
		fd := fds[uint64(c.ref().Uniq)<<32|uint64(c.ref().Index)]
		if n, err := unix.Read(fd, make([]byte, 2)); n != 2 {
			t.Fatal(n, err)
		}
	}
	if w.Memory < 0 || len(fds) != 60 || w.Crashes != 1 {
		t.Fatalf("%+v, %d connections", w, len(fds))
	}
	p := options(m.address)
	left, err := handover.OpenMemory(w.Memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = left.Close() })
	if p.Inherit, err = gateway.Revive(left, fds); err != nil {
		t.Fatal(err)
	}
	p = kept(t, p)
	p.Keep.Began = left.Retire
	p.Keep.Deposit = func(int) *handover.Deposit { return side.Deposit() }
	next := startAs(t, p)
	for _, c := range links[:2] {
		c.eof()
	}
	for _, c := range links[2:] {
		c.beat()
	}
	if st := next.total(); st.Links != 58 || st.Restored != 60 || st.Ended[gateway.EndTorn] != 2 || st.Keep.Links != 58 || st.Keep.Deposit.Added != 0 {
		t.Errorf("%d links, %d restored, ended %v, %+v", st.Links, st.Restored, st.Ended, st.Keep)
	}
	_ = links[2].conn.Close()
	next.loginAs("zoe/phone")
	next.loginAs("zoe/tablet")
	eventually(t, "it follows", func() bool { return k.Stats().Links == 59 })
}

// TestAnotherKeeper: one that comes later gets all links.
func TestAnotherKeeper(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := kept(t, options(m.address))
	var side *handover.Keeping
	found := make(chan struct{})
	o.Keep.Deposit = func(int) *handover.Deposit {
		select {
		case <-found:
			return side.Deposit()
		default:
			return nil
		}
	}
	r := startAs(t, o)
	for i := range 600 {
		r.loginAs(fmt.Sprint("user", i, "/phone"))
	}
	socket := filepath.Join(t.TempDir(), "s")
	k := newKeeper(t, socket)
	side, _, _ = k.connect(t)
	close(found)
	eventually(t, "it has all", func() bool { return k.Stats().Links == 600 })
	k.stop()
	k = newKeeper(t, socket)
	r.loginAs("zoe/phone")
	eventually(t, "the next one has as well", func() bool { return k.Stats().Links == 601 })
}

// TestNoRoomToKeep: a link for which there are no blocks is as if it had no record. A crash ends it, and its Manager is told.
func TestNoRoomToKeep(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	g, err := gateway.KeepGeometry(o)
	if err != nil {
		t.Fatal(err)
	}
	g.Blocks = 12
	memory, err := handover.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	o.Keep = &gateway.Keep{Memory: memory}
	r := startAs(t, o)
	r.way = way{crash: true}
	silent := r.dial() // needs none
	silent.beat()
	var links []*client
	for i := range 12 {
		links = append(links, r.loginAs(fmt.Sprint("user", i, "/phone")))
	}
	st := r.total()
	if st.Unkept == 0 || st.Keep.Links < 2 || st.Keep.Links > 12 {
		t.Fatalf("%d times no room, %+v", st.Unkept, st.Keep)
	}
	next := r.succeed(options(m.address))
	silent.beat()
	alive := 1
	for _, c := range links {
		c.write([]byte{0, 0})
		if _, err := c.next(patience); err == nil {
			alive++
		}
	}
	if after := next.total(); alive != st.Keep.Links || after.Links != alive || after.Ended[gateway.EndTorn] != uint64(13-alive) {
		t.Errorf("%d of %d live on, ended %v", after.Links, st.Keep.Links, after.Ended)
	}
	for range 13 - alive {
		m.until("an end is told", func(i *edgedpb.UpItem) bool { return string(i.GetClosed().GetEvidence()) == "torn" })
	}
	next.balanced()
}

// TestNamesDoNotComeBack: after a crash no link gets a name that one before it can have had, also where that was not written down.
func TestNamesDoNotComeBack(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := way{kept: true, crash: true}.start(t, options(m.address))
	had := map[string]bool{}
	for range 4 {
		var links []*client
		for i := range 6 {
			c := r.loginAs(fmt.Sprint("user", i, "/phone"))
			if had[c.link] {
				t.Errorf("%s came back", c.link)
			}
			had[c.link] = true
			links = append(links, c)
		}
		for _, c := range links[3:] {
			_ = c.conn.Close()
		}
		eventually(t, "they have ended", func() bool { return r.Links() == 3 })
		r = r.succeed(options(m.address))
		for _, c := range links[:3] {
			c.beat()
			_ = c.conn.Close()
		}
		eventually(t, "all have ended", func() bool { return r.Links() == 0 })
	}
	r.balanced()
}

// TestReviveRefuses: what was handed over, or is none of this gateway's, is not gone on with.
func TestReviveRefuses(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	r := way{kept: true}.start(t, o)
	c := r.loginAs("ann/phone")
	memory := r.Memory()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := r.Product()
	if err := errors.Join(p.Pause(ctx), p.Freeze(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.Revive(memory, nil); err == nil || !memory.Retired() {
		t.Errorf("a memory that was handed over: %v", err)
	}
	p.Thaw(false)
	if c.beat(); memory.Retired() {
		t.Error("it is still retired")
	}
	fresh := kept(t, o)
	if _, err := gateway.Revive(fresh.Keep.Memory, nil); err == nil {
		t.Error("a memory that nobody wrote to")
	}
	o.Config.Reactors = 2
	if _, err := revive(t, memory, nil, o); err == nil || !strings.Contains(err.Error(), "reactors") {
		t.Errorf("another number of reactors: %v", err)
	}
	o = options(m.address)
	o.Keep = fresh.Keep
	o.Config.Capacity *= 4
	if _, err := gateway.New(o); err == nil || !strings.Contains(err.Error(), "shared memory") {
		t.Errorf("a memory that is too small: %v", err)
	}
}

// TestStraysAreClosed: connections that the keeper has, and the memory does not know, are closed.
func TestStraysAreClosed(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := way{kept: true, crash: true}.start(t, options(m.address))
	known, unknown, missing := r.loginAs("ann/phone"), r.loginAs("bob/phone"), r.loginAs("eve/phone")
	fds := r.Crash(gateway.AfterCommit)
	r.gone = true
	for key, fd := range fds {
		_, place := linkpool.Place(uint32(key))
		switch place {
		case unknown.ref().Index: // as if a link that was not committed had it
			delete(fds, key)
			fds[key+1<<40] = fd
		case missing.ref().Index:
			delete(fds, key)
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
			_ = unix.Close(fd)
		}
	}
	next, err := revive(t, r.Memory(), fds, options(m.address))
	if err != nil {
		t.Fatal(err)
	}
	known.beat()
	for _, c := range []*client{unknown, missing} {
		if _, err := c.next(patience); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("not closed: %v", err)
		}
	}
	if st := next.total(); st.Links != 1 || st.Ended[gateway.EndTorn] != 2 {
		t.Errorf("%d links, ended %v", st.Links, st.Ended)
	}
	if n := next.Directory().Devices(); n != 1 {
		t.Errorf("%d devices", n)
	}
	next.balanced()
}

// TestRivals: where a crash comes between a bind and the end of the link that was the device's before, the later one stays.
func TestRivals(t *testing.T) {
	t.Parallel()
	for _, turned := range []bool{false, true} { // the shards are read at the same time
		t.Run(fmt.Sprint(turned), func(t *testing.T) {
			t.Parallel()
			m := serve(t, "", "", bindNames)
			o := options(m.address)
			o.Config.Reactors = 2
			r := way{kept: true, crash: true}.start(t, o)
			var on [2]*client
			for i := 0; on[0] == nil || on[1] == nil; i++ {
				c := r.loginAs(fmt.Sprint("user", i, "/phone"))
				shard, _ := linkpool.Place(c.ref().Index)
				on[shard] = c
			}
			before, after := on[0], on[1]
			m.mu.Lock()
			m.sends = 1 // the other reactor dies first
			m.mu.Unlock()
			if turned {
				after.send(wire.KindHello, "ann/phone")
				eventually(t, "it is bound", func() bool { return r.shardOf("ann", "phone") == 1 })
			}
			before.send(wire.KindHello, "ann/phone")
			eventually(t, "it is bound", func() bool { return r.shardOf("ann", "phone") == 0 })
			if turned {
				after.bye(wire.ByeReplaced)
				after = r.loginAs("zoe/phone")
				for s, _ := linkpool.Place(after.ref().Index); s != 1; s, _ = linkpool.Place(after.ref().Index) {
					after = r.loginAs("zoe/phone")
				}
			}
			fds := r.Crash(gateway.AmidTurn, func() {
				after.send(wire.KindHello, "ann/phone")
				eventually(t, "the other one is bound", func() bool { return r.shardOf("ann", "phone") == 1 })
			})
			r.gone = true
			next, err := revive(t, r.Memory(), fds, o)
			if err != nil {
				t.Fatal(err)
			}
			before.bye(wire.ByeReplaced)
			after.beat()
			if next.shardOf("ann", "phone") != 1 {
				t.Error("the directory has another one")
			}
			next.balanced()
		})
	}
}

// shardOf is the shard of a device's link, -1 for none.
func (r *rig) shardOf(user, device string) int {
	l, ok := r.Directory().Link([]byte(user), []byte(device))
	if !ok {
		return -1
	}
	return l.Shard
}
