package queue

import (
	"context"
	"sync/atomic"
	"time"
)

// stage is one step that items take, in their order. What fails is tried again, for as long as it takes: what Redis does not do
// today it may do tomorrow.
type stage struct {
	name string
	// work does the step and returns the items that failed, in their order, with one of their errors. It hands the others on.
	work func(ctx context.Context, items []*item) (failed []*item, err error)

	lot   lot
	held  atomic.Int64 // items in the lot
	fault atomic.Pointer[error]
}

// run takes batches until in is closed and nothing is held, or ctx has ended: what is held then stays with the Source.
func (s *stage) run(ctx context.Context, in <-chan []*item) {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		if in == nil && len(s.lot.items) == 0 {
			return
		}
		var items []*item
		retry := false
		select {
		case batch, ok := <-in:
			if !ok {
				in = nil
				continue
			}
			items = s.lot.admit(batch)
		case <-again.C:
			items, retry = s.lot.take(), true
		case <-ctx.Done():
			return
		}
		if len(items) == 0 {
			s.held.Store(int64(len(s.lot.items)))
			continue
		}
		first := len(s.lot.items) == 0
		failed, err := s.work(ctx, items)
		s.lot.hold(failed)
		s.held.Store(int64(len(s.lot.items)))
		s.judge(err)
		if len(failed) > 0 && first {
			again.Reset(s.lot.rest())
		} else if retry {
			s.lot.pause = 0
		}
	}
}

// judge publishes what is wrong. A step that went well for some while others are held is still wrong.
func (s *stage) judge(err error) {
	switch {
	case err != nil:
		s.fault.Store(&err)
	case len(s.lot.items) == 0:
		s.fault.Store(nil)
	}
}

func (s *stage) err() error {
	if e := s.fault.Load(); e != nil {
		return *e
	}
	return nil
}
