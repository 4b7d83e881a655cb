package relay

import "edged/batch"

// peer is what is known about the process that answers at an address.
//
//	stranger ──admitted without hello──> mute ──hello on a stream that began with 1──┐
//	    └──────────────────────────── hello ────────────────────────────────────> named
//
// A mute peer is taken for the same one for ever. A named one must say its name again on each
// stream: no hello or another name mean another process. A mute one that says hello in the middle of
// a numbering becomes changed: its stream is ended, and on the next one it counts as another.
type peer struct {
	met     bool
	named   bool
	changed bool
	id      string
}

// introduces says that nothing may be sent on a new stream before the peer's hello, or the time for it, came.
func (p *peer) introduces() bool { return p.named || p.changed }

// meet judges a new stream by its hello, nil if none came. whole says that the stream will begin
// with number 1, so that a peer without a name before cannot miss anything.
func (p *peer) meet(h *batch.ManagerHello, whole bool) (other bool) {
	switch {
	case h == nil:
		other = p.introduces()
	case p.named:
		other = p.id != h.ID
	default:
		other = p.changed || p.met && !whole
	}
	*p = peer{met: true}
	if h != nil {
		p.named, p.id = true, h.ID
	}
	return other
}

// greet takes a hello on a stream that was admitted before. After an error the stream cannot go on.
func (p *peer) greet(h *batch.ManagerHello, whole bool) error {
	switch {
	case p.named && p.id == h.ID:
		return nil
	case p.named:
		return errGarbage // two names on one stream
	case !whole:
		p.changed = true
		return errRenewed
	}
	p.named, p.id = true, h.ID
	return nil
}
