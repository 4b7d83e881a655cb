package relay

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/batch"
)

// directory is where the shards note whom they have bound.
type directory struct{ users sync.Map }

func (d *directory) shards(user, _ []byte) (s Shards) {
	if shard, ok := d.users.Load(string(user)); ok {
		s.Add(shard.(int))
	}
	return s
}

// raceShard carries out what comes to one shard, in a goroutine of its own.
type raceShard struct {
	number int
	port   *Port
	wake   chan struct{}
	dir    *directory
	here   atomic.Int64 // items for users that are here
	casts  int
}

func (s *raceShard) run(done <-chan struct{}) {
	for {
		e, ok := s.port.Next()
		if !ok {
			select {
			case <-s.wake:
				continue
			case <-done:
				return
			}
		}
		if e.Kind == EventCast {
			s.casts++
		}
		items := batch.DownItems(e.Items)
		var it batch.DownItem
		for item, _, ok := items.Next(); ok; item, _, ok = items.Next() {
			if batch.ParseDownItem(item, &it) != nil {
				continue
			}
			if it.Op == batch.OpBind {
				s.dir.users.Store(string(it.Bind.User), s.number)
			} else if shard, ok := s.dir.users.Load(string(it.User)); ok && shard == s.number {
				s.here.Add(1)
			}
		}
	}
}

// An item for a user who is bound before it finds him, however fast the shard that binds him is: there is no
// moment at which a bind is neither under way nor known.
func TestBindIsAlwaysSeen(t *testing.T) {
	const shards, ways, rounds, castEvery = 4, 4, 3000, 100
	dir := new(directory)
	all := make([]*raceShard, shards)
	for i := range all {
		all[i] = &raceShard{number: i, dir: dir, wake: make(chan struct{}, 1)}
	}
	r := newTestRelay(shards, func(o *Options) {
		o.UserShards = dir.shards
		o.Cast = func(int, []byte) any { return "cast" }
		o.Wake = func(shard int) {
			select {
			case all[shard].wake <- struct{}{}:
			default:
			}
		}
	})
	done := make(chan struct{})
	var running, speaking sync.WaitGroup
	for i, s := range all {
		s.port = r.Port(i)
		running.Go(func() { s.run(done) })
	}
	for w := range ways {
		in := r.NewInlet(true)
		speaking.Go(func() {
			for i := range rounds {
				user := fmt.Sprint(w, "/", i)
				link := batch.Link{Index: uint32(i%shards)<<24 | 1}
				bind := batch.AppendBind(nil, link, 0, batch.Bind{User: []byte(user)})
				to := batch.AppendDataTo(nil, batch.ToUser(user), 0, nil)
				parts := [][]byte{bind, to}
				if i%3 == 0 {
					parts = [][]byte{append(bind, to...)}
				}
				if i%castEvery == 0 {
					parts = append(parts, batch.AppendDataTo(nil, batch.ToEveryone(), 0, nil))
				}
				for _, b := range parts {
					if err := in.Deliver(b, 20*time.Second); err != nil {
						t.Errorf("item %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	speaking.Wait()
	var here int64
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		here = 0
		for _, s := range all {
			here += s.here.Load()
		}
		if here >= ways*rounds {
			break
		}
	}
	for _, s := range all {
		for s.port.Pending() && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}
	close(done)
	running.Wait()
	if here != ways*rounds {
		t.Errorf("%d items found their user, of %d", here, ways*rounds)
	}
	for _, s := range all {
		if s.casts != ways*rounds/castEvery {
			t.Errorf("shard %d got %d casts", s.number, s.casts)
		}
	}
}
