package manager

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"edged/batch"
	"edged/linkpool"
)

// maxGateways bounds how many gateways are remembered. Beyond it the one that has been away longest is forgotten.
const maxGateways = 4096

// epoch is one life of one gateway, from a cold start to the next, with a lane for each of its reactors.
type epoch struct {
	m     *Manager
	id    string // what we call ourselves to this epoch: never the same twice, so that nobody repeats to the wrong memory
	epoch uint64

	info atomic.Pointer[Gateway]
	// homes says for each shard which lane its links' operations take: that of the reactor with its number, or else one
	// over which its items came.
	homes [linkpool.MaxShards]atomic.Pointer[lane]
	first atomic.Pointer[lane] // of the lowest reactor, for shards that have not been heard of
	up    atomic.Int32         // streams that are up
	dead  atomic.Bool          // another epoch is in force

	// Guarded by the Manager's mu.
	lanes map[uint32]*lane
	users int    // streams that have joined and not left
	left  uint64 // Manager.records when the last one left: the lower, the longer ago
}

// home returns the lane for operations on links of a shard. It is one and the same as long as the gateway does not move
// the shard to another stream, so that operations keep their order; also while that lane's stream is down.
func (e *epoch) home(shard int) *lane {
	if l := e.homes[shard].Load(); l != nil {
		return l
	}
	return e.first.Load()
}

// claim finds the lane for an operation on a link and locks it: put must follow.
func (m *Manager) claim(l Link) (*lane, error) {
	e := l.of
	if e == nil || e.m != m || e.dead.Load() || e.up.Load() == 0 {
		m.count.gone.Add(1)
		return nil, ErrGone
	}
	ln := e.home(l.shard())
	if err := ln.claim(); err != nil {
		return nil, err
	}
	return ln, nil
}

// toAll does an operation that names no link once for each gateway, over any stream of it that is up.
func (m *Manager) toAll(t Target, op func(*box) error) (gateways int, err error) {
	told, err := m.tell(t, op)
	return len(told), err
}

// tell is toAll; it returns who was told. A link is known to one gateway alone: at the others its index and uniq might be
// another client's.
func (m *Manager) tell(t Target, op func(*box) error) (told []*epoch, err error) {
	switch {
	case t.Kind < batch.TargetUser || t.Kind > batch.TargetEveryone:
		return nil, ErrTarget
	case !utf8.ValidString(t.User) || !utf8.ValidString(t.Device) || !utf8.ValidString(t.Room):
		return nil, ErrText
	}
	m.mu.Lock()
	var lanes []*lane
	for _, e := range m.gateways {
		if l := e.anyLaneLocked(); l != nil {
			lanes = append(lanes, l)
		}
	}
	m.mu.Unlock()
	for _, l := range lanes {
		if e := l.claim(); e != nil {
			err = errors.Join(err, fmt.Errorf("gateway %s: %w", l.of.info.Load().ID, e))
			continue
		}
		if e := l.put(op(&l.box)); e != nil {
			return told, e // it is the operation itself, the same for all
		}
		told = append(told, l.of)
	}
	if len(told) == 0 && err == nil {
		m.count.gone.Add(1)
		err = ErrGone
	}
	return told, err
}

// anyLaneLocked returns the lane with the lowest number whose stream is up; Manager.mu is held.
func (e *epoch) anyLaneLocked() *lane {
	var best *lane
	for _, l := range e.lanes {
		if l.up() && (best == nil || l.reactor < best.reactor) {
			best = l
		}
	}
	return best
}

// join finds or makes the lane that a stream's hello asks for. A stream that served it before is told to go.
func (m *Manager) join(s *stream, h batch.GatewayHello) (*lane, error) {
	m.mu.Lock()
	e, old := m.gateways[h.ID], (*epoch)(nil)
	if e == nil || e.epoch != h.Epoch {
		if e == nil && len(m.gateways) >= maxGateways {
			if old = m.longestGoneLocked(); old == nil {
				m.mu.Unlock()
				return nil, status.Errorf(codes.ResourceExhausted, "%d gateways have streams already", maxGateways)
			}
		} else {
			old = e
		}
		lost := m.buryLocked(old)
		e = m.newEpochLocked(h)
		defer lost()
	}
	defer m.mu.Unlock()
	g := Gateway{ID: h.ID, Address: h.Address, Version: h.Version, Epoch: h.Epoch, Resumed: h.Resumed}
	e.info.Store(&g)
	l := e.lanes[h.Reactor]
	if l == nil {
		l = newLane(e, h.Reactor)
		e.lanes[h.Reactor] = l
		e.homes[h.Reactor].CompareAndSwap(nil, l)
		if first := e.first.Load(); first == nil || first.reactor > l.reactor {
			e.first.Store(l)
		}
	}
	if l.holder != nil {
		l.holder.kick(errTaken)
	}
	l.holder = s
	e.users++
	if e.users == 1 {
		m.log.Info("gateway up", "gateway", h.ID, "address", h.Address, "version", h.Version, "epoch", h.Epoch)
	}
	return l, nil
}

func (m *Manager) newEpochLocked(h batch.GatewayHello) *epoch {
	m.records++
	e := &epoch{m: m, id: fmt.Sprintf("%s.%d", m.id, m.records), epoch: h.Epoch, lanes: make(map[uint32]*lane)}
	m.gateways[h.ID] = e
	return e
}

// leave is the last that a stream does with its lane.
func (m *Manager) leave(s *stream, l *lane) {
	m.mu.Lock()
	e := l.of
	if l.holder == s {
		l.holder = nil
	}
	e.users--
	last, dead := e.users == 0, e.dead.Load()
	m.records++
	e.left = m.records
	m.mu.Unlock()
	if !last {
		return
	}
	m.log.Info("gateway gone", "gateway", e.info.Load().ID, "epoch", e.epoch)
	if dead {
		m.lost(e)
	}
}

// buryLocked ends an epoch. The function that it returns is to be called without the lock.
func (m *Manager) buryLocked(e *epoch) (lost func()) {
	if e == nil {
		return func() {}
	}
	e.dead.Store(true)
	delete(m.gateways, e.info.Load().ID)
	for _, l := range e.lanes {
		if l.holder != nil {
			l.holder.kick(errEpoch)
		}
		l.discard()
	}
	if e.users > 0 {
		return func() {} // the last one to leave tells
	}
	return func() { m.lost(e) }
}

func (m *Manager) longestGoneLocked() *epoch {
	var found *epoch
	for _, e := range m.gateways {
		if e.users == 0 && (found == nil || e.left < found.left) {
			found = e
		}
	}
	return found
}

func (m *Manager) lost(e *epoch) {
	if m.handler.Lost == nil {
		return
	}
	defer m.caught("Lost")
	m.handler.Lost(*e.info.Load())
}
