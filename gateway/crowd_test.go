package gateway

import (
	"testing"

	"edged/batch"
	"edged/wire"
)

// TestOneLinkCannotTakeAllTheRoom: a link that talks and talks waits while much is held for its Manager; others say what they have
// to say, new ones are taken, and when the Manager has caught up the talker goes on where it stopped.
func TestOneLinkCannotTakeAllTheRoom(t *testing.T) {
	b := newBench(t, 1, func(c *Config) { c.Login = "none" })
	_, talker := b.dial()
	_, other := b.dial()
	var talk []byte
	for range 60 {
		talk = wire.Append(talk, wire.KindData, make([]byte, 1000))
	}
	waits := func(n linkName) bool { return b.s.links.Get(n.place, n.uniq).flags&waiting != 0 }
	var rest []byte
	b.turn(func() {
		for range 20 {
			if rest = b.read(talker, talk); len(rest) > 0 {
				break
			}
		}
		if len(rest) == 0 || !waits(talker) {
			t.Fatal("the talker does not wait")
		}
		if held := b.port.Held(0); held < crowdBytes || held > crowdBytes+len(talk) {
			t.Errorf("%d bytes are held", held)
		}
		if rest := b.read(other, talk[:3*1003]); len(rest) > 0 || waits(other) {
			t.Errorf("who says little was left %d bytes", len(rest))
		}
		if b.s.managers.allFull() {
			t.Error("new links are refused")
		}
		if wait := b.s.untilDue(); wait > crowdTick {
			t.Errorf("the shard looks again after %v", wait)
		}
	})
	b.dial()
	b.turn(func() { b.port.managers[0].queue = nil }) // the Manager has read it all
	b.on(func() {
		if waits(talker) || b.s.managers.anyCrowd() {
			t.Fatal("the talker waits still")
		}
		if rest = b.read(talker, rest); len(rest) > 0 {
			t.Errorf("%d bytes are left", len(rest))
		}
	})
	b.turn(func() {})
	b.on(func() {
		for _, i := range b.sent(0) {
			if i.What == batch.UpMessage && len(i.Payload) != 1000 {
				t.Errorf("a message of %d bytes", len(i.Payload))
			}
		}
	})
}
