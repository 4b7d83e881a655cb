package netpoll

import (
	"sync"
	"sync/atomic"
)

// inbox takes what others want done on the loop's thread.
type inbox struct {
	full atomic.Bool
	mu   sync.Mutex
	todo []func() // guarded by mu
	gone bool     // the loop has stopped; guarded by mu
}

func (b *inbox) put(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return false
	}
	b.todo = append(b.todo, f)
	b.full.Store(true)
	return true
}

func (b *inbox) run() {
	b.mu.Lock()
	todo := b.todo
	b.todo = nil
	b.full.Store(false)
	b.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// close refuses further work and does what is there.
func (b *inbox) close() {
	b.refuse()
	b.run()
}

// refuse takes no further work.
func (b *inbox) refuse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
}
