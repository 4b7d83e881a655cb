package manager

import (
	"errors"
	"fmt"

	"edged/batch"
	"edged/linkpool"
	"edged/wire"
)

var (
	// ErrGone is returned for a link whose gateway has no stream to this Manager: it is away, or came back with another
	// epoch, which means that its links of before are no more.
	ErrGone = errors.New("manager: the link's gateway is gone")
	// ErrFull is returned when as much waits as may: Options.KeepBytes for a gateway, SenderOptions.KeepBytes for the queue
	// layer, Deliveries.Most without an outcome. Nothing was sent.
	ErrFull = errors.New("manager: too much waits already")
	// ErrTarget is returned for a Target that means neither a user, nor a device, a room or everyone.
	ErrTarget = errors.New("manager: not a target")
	// ErrTooLarge is returned for what no gateway could carry out.
	ErrTooLarge = errors.New("manager: larger than a gateway takes")
	// ErrText is returned for a string that is not UTF-8, which the protocol cannot carry.
	ErrText = errors.New("manager: text is not UTF-8")
)

// Gateway is what a gateway said about itself.
type Gateway struct {
	ID      string // stable over restarts and upgrades
	Address string // advertised IP:port, the first two parts of every link ID
	Version string
	Epoch   uint64 // changes at every cold start, and with it all links are gone
	Resumed bool   // the process is the successor of one that handed its links over
}

// Link names one link of one gateway for as long as that gateway's epoch lasts. It is a small value: it can be compared,
// kept, be the key of a map and be used from any goroutine. The zero Link names nothing.
type Link struct {
	of    *epoch
	index uint32
	uniq  uint32
}

// IsZero says whether l names nothing, as in an Undelivered about a room.
func (l Link) IsZero() bool { return l.of == nil }

// Gateway returns the gateway that holds the link.
func (l Link) Gateway() Gateway {
	if l.of == nil {
		return Gateway{}
	}
	return *l.of.info.Load()
}

// String returns the link ID (PROTOCOL.md 1.3), which is also the session's key "link".
func (l Link) String() string {
	if l.of == nil {
		return "no link"
	}
	return string(wire.AppendLinkID(nil, l.of.info.Load().Address, l.index, l.uniq))
}

// shard is the shard that owns the link.
func (l Link) shard() int {
	shard, _ := linkpool.Place(l.index)
	return shard
}

func (l Link) name() batch.Link { return batch.Link{Index: l.index, Uniq: l.uniq} }

// Link finds the link that a link ID names. Whether it still lives, only its gateway knows. It returns ErrGone if no
// gateway with that address has a stream to this Manager.
func (m *Manager) Link(id string) (Link, error) {
	address, index, uniq, err := wire.ParseLinkID(id)
	if err != nil {
		return Link{}, fmt.Errorf("manager: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.gateways {
		if e.up.Load() > 0 && e.info.Load().Address == address {
			return Link{of: e, index: index, uniq: uniq}, nil
		}
	}
	return Link{}, ErrGone
}
