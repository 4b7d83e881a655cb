package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"edged/linkpool"
	"edged/offline"
	"edged/registry"
)

// How far a device has everything (edged:sync) is the version up to which all had their turn on its link, but for what was not
// acknowledged: what waits for its ACK, what was given up without one, and what the link did not take. Of a message that asks
// for no acknowledgement the word of the client's kernel counts: it has all bytes that were sent.

// syncEvery is how long the shard gathers before it has stored how far devices have everything, and syncSlice of how many a
// turn finds out.
const (
	syncEvery = 200 * time.Millisecond
	syncSlice = 1024
)

// syncing is the links of a shard of which something is to be stored.
type syncing struct {
	due   []linkName // at at
	later []linkName // after that: what they were sent has not arrived
	at    linkpool.Millis
	stuck map[uint32]uint64 // by place: the first version that came to nothing on a link
}

// unsync notes that the link's device may have more than is stored.
func (s *shard) unsync(place uint32, l *link) {
	if l.flags&unsynced != 0 || l.order == 0 || !s.logged(l) {
		return
	}
	l.flags |= unsynced
	y := &s.syncing
	if len(y.due)+len(y.later) == 0 {
		y.at = s.now().Deadline(syncEvery)
	}
	_, uniq := s.links.At(place)
	y.due = append(y.due, linkName{place, uniq})
}

// syncDue has stored what has gathered.
func (s *shard) syncDue(now linkpool.Millis) {
	y := &s.syncing
	if len(y.due)+len(y.later) == 0 || now.Before(y.at) {
		return
	}
	n := min(len(y.due), syncSlice)
	for _, x := range y.due[:n] {
		l := s.links.Get(x.place, x.uniq)
		if l == nil || l.flags&unsynced == 0 {
			continue
		}
		if !s.arrived(l) {
			y.later = append(y.later, x)
			continue
		}
		s.sync(x.place, l)
	}
	y.due = y.due[:copy(y.due, y.due[n:])]
	if len(y.due) == 0 {
		y.due, y.later = y.later, y.due
		y.at = now.Deadline(syncEvery)
	}
}

// syncWait is how long the loop may sleep for syncDue; ok is false while there is nothing to store.
func (s *shard) syncWait() (d time.Duration, ok bool) {
	y := &s.syncing
	return max(y.at.Sub(s.now()), 0), len(y.due)+len(y.later) > 0
}

// arrived says that the client's kernel has all that was sent, as far as that matters. Of a connection that was lost it says
// what was known before.
func (s *shard) arrived(l *link) bool {
	if l.flags&loose != 0 && s.loop.Unsent(l.conn) == 0 && s.loop.Outstanding(l.conn) == 0 {
		l.flags &^= loose
	}
	return l.flags&loose == 0
}

// sync has stored how far the link's device has everything, all having arrived.
func (s *shard) sync(place uint32, l *link) {
	if l.flags&unsynced == 0 {
		return
	}
	l.flags &^= unsynced
	if v := s.confirmed(place, l); v > 0 {
		s.g.syncs.add(registry.Name{
			User: string(s.sessions.Value(l.session, "user")), Device: string(s.sessions.Value(l.session, "device")),
		}, v)
	}
}

// syncNow is sync for a link that is the device's no longer.
func (s *shard) syncNow(place uint32, l *link) {
	if s.arrived(l) {
		s.sync(place, l)
	}
	l.flags &^= unsynced
}

// confirmed is the version up to which a device has everything.
func (s *shard) confirmed(place uint32, l *link) uint64 {
	whole := s.orders.Whole(l.order)
	if v := s.syncing.stuck[place]; l.flags&stuck != 0 && v <= whole {
		whole = v - 1
	}
	s.windows.Each(l.unacked, func(_ uint32, frame []byte) bool {
		if v := frameVersion(frame); v != 0 && v <= whole {
			whole = v - 1
		}
		return true
	})
	return whole
}

// stick notes that a stored message did not reach the link, and will not come again before the next one of its device.
func (s *shard) stick(place uint32, l *link, version uint64) {
	if version == 0 || !s.logged(l) {
		return
	}
	if v, had := s.syncing.stuck[place]; !had || version < v {
		s.syncing.stuck[place] = version
	}
	l.flags |= stuck
	s.keep.change(place)
}

func (s *shard) unstick(place uint32, l *link) {
	if l.flags&stuck != 0 {
		l.flags &^= stuck
		delete(s.syncing.stuck, place)
		s.keep.change(place)
	}
}

// syncs stores in the background how far devices have everything: the newest word of each, tried again while Redis is away.
type syncs struct {
	store OfflineLog
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex // guards what follows
	pending map[registry.Name]uint64
	taken   []offline.Point // by flush, which is storing them

	dropped atomic.Uint64
}

// maxSyncs bounds what waits while Redis is away. A device of which the word is dropped gets some messages again.
const (
	maxSyncs   = 1 << 20
	syncBatch  = 512
	syncRetry  = time.Second
	syncWithin = 5 * time.Second
)

func newSyncs(store OfflineLog, log *slog.Logger) *syncs {
	return &syncs{store: store, log: log, wake: make(chan struct{}, 1), pending: map[registry.Name]uint64{}}
}

func (y *syncs) add(n registry.Name, v uint64) {
	y.mu.Lock()
	if old, known := y.pending[n]; !known && len(y.pending) >= maxSyncs {
		y.dropped.Add(1)
	} else if v > old {
		y.pending[n] = v
	}
	y.mu.Unlock()
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// run stores until ctx ends.
func (y *syncs) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-y.wake:
		case <-ctx.Done():
			return
		}
		for y.flush(ctx) != nil && ctx.Err() == nil {
			select {
			case <-time.After(syncRetry):
			case <-ctx.Done():
			}
		}
	}
}

// flush stores what waits; an error means that some of it waits again.
func (y *syncs) flush(ctx context.Context) error {
	for {
		points := y.take()
		if len(points) == 0 {
			return nil
		}
		limit, cancel := context.WithTimeout(ctx, syncWithin)
		errs := y.store.Sync(limit, points)
		cancel()
		var failed error
		for i, err := range errs {
			if err == nil || y.hopeless(err) {
				continue
			}
			failed = err
			y.putBack(points[i])
		}
		y.mu.Lock()
		y.taken = nil
		y.mu.Unlock()
		if failed != nil {
			return failed
		}
	}
}

// each calls f for everything that is not known to be stored.
func (y *syncs) each(f func(offline.Point)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, p := range y.taken {
		f(p)
	}
	for n, v := range y.pending {
		f(offline.Point{User: n.User, Device: n.Device, Version: v})
	}
}

// hopeless says that an error will come again.
func (y *syncs) hopeless(err error) bool {
	var clash *offline.ClashError
	var ahead *offline.AheadError
	if errors.As(err, &clash) || errors.As(err, &ahead) || errors.Is(err, offline.ErrUser) {
		y.log.Debug("synced version not stored", "err", err)
		return true
	}
	return false
}

func (y *syncs) take() (points []offline.Point) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for n, v := range y.pending {
		points = append(points, offline.Point{User: n.User, Device: n.Device, Version: v})
		delete(y.pending, n)
		if len(points) == syncBatch {
			break
		}
	}
	y.taken = points
	return points
}

func (y *syncs) putBack(p offline.Point) {
	n := registry.Name{User: p.User, Device: p.Device}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.pending[n] = max(y.pending[n], p.Version)
}
