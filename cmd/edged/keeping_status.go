package main

import (
	"edged/admin"
	"edged/gateway"
)

// status shows whether the links outlive the process; nil where they are not to.
func (k *keeping) status(i *instance, st gateway.Stats) *admin.KeeperStatus {
	if k == nil {
		return nil
	}
	s := &admin.KeeperStatus{State: "ok", Links: kept(st), Crashes: i.crashes, Recovered: i.recovered.Load()}
	switch {
	case !k.keeper.Stats().Up:
		s.State, s.Links = "not there: a crash would cost the links", 0
	case !k.isShared():
		s.State = "not everything is kept yet"
	}
	return s
}

// kept is how many links the keeper has.
func kept(st gateway.Stats) (n int) {
	for i := range st.Shards {
		n += st.Shards[i].Keep.Links
	}
	return n
}

// metrics shows the same as numbers.
func (k *keeping) metrics(m *metrics) {
	if k == nil {
		return
	}
	s := k.keeper.Stats()
	m.gauge("edged_keeper_up", "1 while the keeper is there", flag(s.Up))
	m.gauge("edged_keeper_whole", "1 while it has all that another process would need", flag(s.Up && k.isShared()))
	m.counter("edged_keeper_found_total", "times that a keeper was found after it was away", s.Renews)
	m.counter("edged_keeper_full_total", "links that the keeper had no room for", s.Full)
	m.counter("edged_keeper_dropped_total", "links that the keeper had let go of when this process came", k.dropped)
}

func (m *metrics) kept(s *gateway.ShardStats, reactor admin.Label) {
	k := &s.Keep
	m.gauge("edged_keeper_links", "links that would outlive a crash", k.Links, reactor)
	m.counter("edged_keeper_turns_total", "turns of the reactor that were written down", k.Turns, reactor)
	m.gauge("edged_keeper_free_blocks", "room in the shared memory, in blocks of 252 bytes", k.FreeBlocks, reactor)
	m.counter("edged_keeper_unkept_total", "times that something was not written down for want of room", s.Unkept, reactor)
	m.counter("edged_keeper_given_total", "links given to the keeper, each again when there is another one", k.Deposit.Added, reactor)
	m.counter("edged_keeper_released_total", "links that the keeper was told to let go of", k.Deposit.Released, reactor)
	m.counter("edged_keeper_put_off_total", "messages for which the keeper had no room yet", k.Deposit.Put, reactor)
	m.counter("edged_links_restored_total", "links that were taken back after a crash or a restart", s.Restored, reactor)
}
