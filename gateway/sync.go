package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"edged/linkpool"
	"edged/offline"
	"edged/registry"
)

// syncEvery is how long the shard gathers before it has stored how far devices have everything.
const syncEvery = 200 * time.Millisecond

// unsync notes that the link's device may have more than is stored.
func (s *shard) unsync(place uint32, l *link) {
	if l.flags&unsynced != 0 || l.order == 0 || !s.logged(l) {
		return
	}
	l.flags |= unsynced
	if len(s.unsynced) == 0 {
		s.syncAt = s.now().Deadline(syncEvery)
	}
	_, uniq := s.links.At(place)
	s.unsynced = append(s.unsynced, linkName{place, uniq})
}

// syncDue has stored what has gathered.
func (s *shard) syncDue(now linkpool.Millis) {
	if len(s.unsynced) == 0 || now.Before(s.syncAt) {
		return
	}
	for _, n := range s.unsynced {
		if l := s.links.Get(n.place, n.uniq); l != nil {
			s.sync(l)
		}
	}
	s.unsynced = s.unsynced[:0]
}

// sync has stored how far the link's device has everything.
func (s *shard) sync(l *link) {
	if l.flags&unsynced == 0 {
		return
	}
	l.flags &^= unsynced
	if v := s.confirmed(l); v > 0 {
		s.g.syncs.add(registry.Name{
			User: string(s.sessions.Value(l.session, "user")), Device: string(s.sessions.Value(l.session, "device")),
		}, v)
	}
}

// confirmed is the version up to which a device has everything: all had their turn, and none of those lacks its ACK.
func (s *shard) confirmed(l *link) uint64 {
	whole := s.orders.Whole(l.order)
	s.windows.Each(l.unacked, func(_ uint32, frame []byte) bool {
		if v := frameVersion(frame); v != 0 && v <= whole {
			whole = v - 1
		}
		return true
	})
	return whole
}

// syncs stores in the background how far devices have everything: the newest word of each, tried again while Redis is away.
type syncs struct {
	store OfflineLog
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex
	pending map[registry.Name]uint64
	dropped uint64
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
		y.dropped++
	} else if v > old {
		y.pending[n] = v
	}
	y.mu.Unlock()
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// run stores until ctx ends, and then once more what waits.
func (y *syncs) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-y.wake:
		case <-ctx.Done():
		}
		for y.flush(ctx) != nil && ctx.Err() == nil {
			select {
			case <-time.After(syncRetry):
			case <-ctx.Done():
			}
		}
	}
	_ = y.flush(context.Background()) // flush has a limit of its own, and who comes later pulls more than he needs
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
		if failed != nil {
			return failed
		}
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
	return points
}

func (y *syncs) putBack(p offline.Point) {
	n := registry.Name{User: p.User, Device: p.Device}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.pending[n] = max(y.pending[n], p.Version)
}
