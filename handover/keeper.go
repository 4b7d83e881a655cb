package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

const (
	crashWindow = time.Minute
	helloLimit  = 2 * time.Second
	tellLimit   = 10 * time.Second // for a gateway to take what it is sent
	strangers   = 8                // connections that have not said hello
)

// Keeper holds what a gateway needs to be succeeded after its death: duplicates of descriptors, and one shared memory. It knows
// the meaning of neither.
type Keeper struct {
	// Static after NewKeeper.
	cfg      KeeperConfig
	log      *slog.Logger
	listener *net.UnixListener
	user     uint32
	waiting  chan struct{} // a place for each connection that has not said hello

	wg sync.WaitGroup

	mu      sync.Mutex // guards all below
	gateway *keeperConn
	conns   map[*keeperConn]bool // all that are open
	closed  bool                 // by the keeper itself: whose connection ends is not dead
	links   map[uint64]int32     // descriptor by key
	memory  int                  // -1: none
	crashes []time.Time          // the last ones
	dropped int                  // since the last welcome
	why     Dropped
	hold    *time.Timer // nil while there is a gateway, or nothing to hold
	counts  KeeperStats
}

// KeeperStats counts what a keeper did since it started.
type KeeperStats struct {
	Links    int // kept now
	Gateways uint64
	Crashes  uint64
	Added    uint64
	Released uint64
	Dropped  uint64
	Full     uint64 // not kept: no descriptors left
	Refused  uint64 // connections of other users, or beside a gateway
}

// NewKeeper listens on the socket, which nobody but this user can open. Serve must follow.
func NewKeeper(cfg KeeperConfig, log *slog.Logger) (*Keeper, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if c, err := net.Dial("unixpacket", cfg.Socket); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("keeper: another one listens on %s", cfg.Socket)
	}
	if st, err := os.Lstat(cfg.Socket); err == nil && st.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(cfg.Socket) // of a keeper that died
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: cfg.Socket, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	if err := os.Chmod(cfg.Socket, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("keeper: %w", err)
	}
	return &Keeper{
		cfg: cfg, log: log, listener: l, user: uint32(os.Geteuid()), waiting: make(chan struct{}, strangers),
		conns: map[*keeperConn]bool{}, links: map[uint64]int32{}, memory: -1,
	}, nil
}

// Serve keeps until ctx ends, and then lets go of everything.
func (k *Keeper) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = k.listener.Close() })
	defer stop()
	var err error
	for {
		var c *net.UnixConn
		if c, err = k.listener.AcceptUnix(); err != nil {
			if ctx.Err() != nil {
				err = nil
				break
			}
			if errors.Is(err, net.ErrClosed) {
				break
			}
			time.Sleep(10 * time.Millisecond) // no descriptors: a release will come
			continue
		}
		k.greet(newKeeperConn(c))
	}
	_ = k.listener.Close()
	k.close()
	k.wg.Wait()
	return err
}

// close ends all connections and drops everything.
func (k *Keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for c := range k.conns {
		_ = c.Close()
	}
	k.drop(droppedEnd)
}

// greet lets a new connection speak, if it is this user's.
func (k *Keeper) greet(c *keeperConn) {
	uid, err := peerUser(c)
	if err != nil || uid != k.user {
		k.refuse(c, "a connection of another user was refused", "user", uid, "error", err)
		return
	}
	select {
	case k.waiting <- struct{}{}:
	default:
		k.refuse(c, "too many connections that say nothing")
		return
	}
	k.mu.Lock()
	k.conns[c] = true
	k.mu.Unlock()
	k.wg.Go(func() {
		defer k.forget(c)
		k.converse(c)
	})
}

func (k *Keeper) refuse(c *keeperConn, message string, args ...any) {
	k.mu.Lock()
	k.counts.Refused++
	k.mu.Unlock()
	k.log.Warn(message, args...)
	_ = c.Close()
}

func (k *Keeper) forget(c *keeperConn) {
	_ = c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// converse serves one connection to its end.
func (k *Keeper) converse(c *keeperConn) {
	m, err := c.read(time.Now().Add(helloLimit))
	<-k.waiting
	closeFiles(m.fds)
	if err != nil || m.kind != keepHello {
		return
	}
	if !k.welcome(c) {
		k.refuse(c, "a second gateway was refused")
		return
	}
	left := false
	for {
		m, err := c.read(time.Time{})
		if err == nil {
			err = k.obey(c, m, &left)
		}
		if err != nil {
			k.parted(err, left)
			return
		}
	}
}

// welcome makes c the gateway's connection, and tells it what there is.
func (k *Keeper) welcome(c *keeperConn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gateway != nil {
		_ = c.write(time.Now().Add(helloLimit), appendKeeperMessage(nil, keepBusy, 0))
		return false
	}
	k.gateway = c
	k.counts.Gateways++
	if k.hold != nil {
		k.hold.Stop()
		k.hold = nil
	}
	b := appendKeeperMessage(nil, keepWelcome, 0, uint64(len(k.links)), uint64(k.recentCrashes()), uint64(k.dropped), uint64(k.why))
	var fds []int
	if k.memory >= 0 {
		fds = append(fds, k.memory)
	}
	k.dropped, k.why = 0, DroppedNothing
	_ = c.write(time.Now().Add(helloLimit), b, fds...) // if it has gone, that is found out by reading
	k.log.Info("a gateway came", "links", len(k.links), "crashes", len(k.crashes))
	return true
}

var errOdd = errors.New("a message that does not fit")

// obey carries out one message of the gateway. What it does not know it passes over.
func (k *Keeper) obey(c *keeperConn, m keeperMsg, left *bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		closeFiles(m.fds)
		return net.ErrClosed
	}
	switch m.kind {
	case keepAdd:
		return k.add(c, m)
	case keepMemory:
		if len(m.fds) != 1 {
			closeFiles(m.fds)
			return errOdd
		}
		if m.arg == 0 {
			k.drop(DroppedAnew)
		}
		k.setMemory(m.fds[0])
		return nil
	}
	closeFiles(m.fds)
	switch m.kind {
	case keepRelease:
		for i := range m.len() {
			k.release(m.key(i))
		}
	case keepTake:
		return k.giveBack(c)
	case keepLeave:
		*left = true
		if m.arg == 0 {
			k.drop(DroppedAnew)
			k.dropped, k.why = 0, DroppedNothing
		}
	}
	return nil
}

// add keeps descriptors. When there is no room for all, the first ones came.
func (k *Keeper) add(c *keeperConn, m keeperMsg) error {
	if len(m.fds) > m.len() || m.len() > mostFiles {
		closeFiles(m.fds)
		return errOdd
	}
	for i, fd := range m.fds {
		key := m.key(i)
		if old, ok := k.links[key]; ok {
			closeFile(int(old))
		}
		k.links[key] = int32(fd)
	}
	k.counts.Added += uint64(len(m.fds))
	if missing := m.len() - len(m.fds); missing > 0 {
		k.counts.Full += uint64(missing)
		b := appendKeeperHead(nil, keepFull, missing, 0)
		return c.write(time.Now().Add(tellLimit), append(b, m.keys[8*len(m.fds):]...))
	}
	return nil
}

func (k *Keeper) release(key uint64) {
	if fd, ok := k.links[key]; ok {
		closeFile(int(fd))
		delete(k.links, key)
		k.counts.Released++
	}
}

func (k *Keeper) setMemory(fd int) {
	if k.memory >= 0 {
		closeFile(k.memory)
	}
	k.memory = fd
}

// giveBack sends all that is kept. It stays kept: the one who takes it may die as well.
func (k *Keeper) giveBack(c *keeperConn) error {
	keys, fds := make([]uint64, 0, mostFiles), make([]int, 0, mostFiles)
	var b []byte
	send := func() error {
		b = appendKeeperMessage(b[:0], keepLinks, 0, keys...)
		err := c.write(time.Now().Add(tellLimit), b, fds...)
		keys, fds = keys[:0], fds[:0]
		return err
	}
	for key, fd := range k.links {
		if keys, fds = append(keys, key), append(fds, int(fd)); len(keys) == mostFiles {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if len(keys) > 0 {
		if err := send(); err != nil {
			return err
		}
	}
	return c.write(time.Now().Add(tellLimit), appendKeeperMessage(b[:0], keepTaken, uint32(len(k.links))))
}

// parted is the end of a gateway's connection. One that did not say that it leaves has died, or made no sense.
func (k *Keeper) parted(why error, left bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gateway = nil
	if k.closed {
		return
	}
	crashed := !left
	if crashed {
		k.counts.Crashes++
		k.crashes = append(k.crashes, time.Now())
	}
	n := k.recentCrashes()
	if errors.Is(why, io.EOF) {
		why = nil
	}
	k.log.Info("the gateway went", "crashed", crashed, "links", len(k.links), "crashes", n, "error", why)
	if crashed && n >= k.cfg.Crashes {
		k.drop(DroppedCrashLoop)
	}
	if len(k.links) > 0 || k.memory >= 0 {
		gateway := k.counts.Gateways
		k.hold = time.AfterFunc(k.cfg.Hold, func() { k.nobodyCame(gateway) })
	}
}

func (k *Keeper) recentCrashes() int {
	for len(k.crashes) > 0 && time.Since(k.crashes[0]) > crashWindow {
		k.crashes = k.crashes[1:]
	}
	return len(k.crashes)
}

// nobodyCame drops what is kept, unless there was another gateway since.
func (k *Keeper) nobodyCame(after uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts.Gateways == after {
		k.drop(DroppedNobody)
	}
}

// drop lets go of everything. Whose last descriptor that was is told by the kernel; a gateway that lives has its own. The mutex is
// held.
func (k *Keeper) drop(why Dropped) {
	if n := len(k.links); n > 0 {
		if why == droppedEnd {
			k.log.Warn("the keeper ends: a gateway that lives goes on with its links, those of a dead one are closed", "links", n)
		} else {
			k.log.Warn("links dropped", "links", n, "why", why.String())
		}
		k.dropped += n
		k.why = why
		k.counts.Dropped += uint64(n)
	}
	for _, fd := range k.links {
		closeFile(int(fd))
	}
	clear(k.links)
	if k.memory >= 0 {
		closeFile(k.memory)
		k.memory = -1
	}
	if k.hold != nil {
		k.hold.Stop()
		k.hold = nil
	}
}

// Stats may be called at any time.
func (k *Keeper) Stats() KeeperStats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.counts
	s.Links = len(k.links)
	return s
}
