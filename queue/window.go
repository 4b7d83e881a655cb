package queue

import (
	"context"
	"slices"
	"sync"
)

// maxBytes bounds what entries in flight take, once as they were read and once as messages. One may exceed it alone.
const maxBytes = 64 << 20

// window is the entries that were read and are not done.
type window struct {
	entries int // bound

	mu      sync.Mutex
	ids     map[string]bool
	bytes   int
	average int           // of the entries of the last reads
	left    []string      // IDs that were removed since the read under way began: it may bring them once more
	freed   chan struct{} // one token: there is more room
}

func newWindow(entries int) window {
	return window{entries: entries, ids: make(map[string]bool), average: 1 << 20, freed: make(chan struct{}, 1)}
}

// room waits until there is some, and returns for how many entries of the usual size, at most most. 0: ctx has ended. A read may
// begin then.
func (w *window) room(ctx context.Context, most int) int {
	for {
		if ctx.Err() != nil {
			return 0
		}
		w.mu.Lock()
		n := min(most, w.entries-len(w.ids))
		if n > 0 && len(w.ids) > 0 {
			n = min(n, (maxBytes-w.bytes)/w.average)
		} else if n > 0 {
			n = min(n, max(maxBytes/w.average, 1))
		}
		if n > 0 {
			clear(w.left)
			w.left = w.left[:0]
		}
		w.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-w.freed:
		case <-ctx.Done():
		}
	}
}

// add takes entries in, and returns those that were not in there.
func (w *window) add(entries []Entry) []*item {
	w.mu.Lock()
	defer w.mu.Unlock()
	items := make([]*item, 0, len(entries))
	bytes := 0
	for _, e := range entries {
		size := e.size()
		bytes += size
		if w.ids[e.ID] || e.Tries > 1 && slices.Contains(w.left, e.ID) {
			continue
		}
		w.ids[e.ID] = true
		w.bytes += size
		items = append(items, &item{Entry: e, size: size})
	}
	if len(entries) > 0 {
		w.average = max((w.average+bytes/len(entries))/2, bytes/len(entries), 1)
	}
	return items
}

// remove takes items out that are done.
func (w *window) remove(items []*item) {
	w.mu.Lock()
	for _, i := range items {
		delete(w.ids, i.ID)
		w.left = append(w.left, i.ID)
		w.bytes -= i.size
	}
	w.mu.Unlock()
	select {
	case w.freed <- struct{}{}:
	default:
	}
}

func (w *window) state() (entries, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ids), w.bytes
}
