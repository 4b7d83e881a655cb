package gateway

import (
	"fmt"
	"hash/maphash"
	"testing"

	"edged/batch"
	"edged/linkpool"
)

// An item for a user is on its way to a shard when his link there ends; another one of his came too late to be given it.
func TestItemForALinkThatHasEnded(t *testing.T) {
	push := batch.Push{MsgID: []byte("m"), Payload: []byte("p"), Ack: batch.AckRequired}
	for _, tt := range []struct {
		name   string
		target batch.DownItem
		what   batch.UpWhat
	}{
		{"push to the user", batch.DownItem{Target: batch.TargetUser, Op: batch.OpPush, Push: push}, batch.UpUndelivered},
		{"push to the device", batch.DownItem{Target: batch.TargetDevice, Device: []byte("phone"), Op: batch.OpPush, Push: push}, batch.UpUndelivered},
		{"DATA with a ref", batch.DownItem{Target: batch.TargetUser, Op: batch.OpData, Ref: 7}, batch.UpRefused},
		{"DATA without one", batch.DownItem{Target: batch.TargetUser, Op: batch.OpData}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBenchOf(t, 1, func(o *Options) { o.Config.Reactors = 2 })
			one, two := b.g.shards[0], b.g.shards[1]
			tt.target.User = []byte("ann")
			ask := func() (answers []batch.UpItem) {
				b.on(func() { one.toUser(0, &tt.target); one.managers.flush(one); answers = b.sent(0) })
				return answers
			}
			b.onShard(two, func() { b.g.directory.Put([]byte("ann"), []byte("phone"), two.listed(3, 4)) })
			if got := ask(); len(got) != 0 {
				t.Fatalf("a shard that never had a link of the user answers %v", got)
			}
			b.on(func() { one.departed.note(one.now(), []byte("bob"), []byte("phone")) })
			b.on(func() { one.departed.note(one.now(), []byte("ann"), []byte("phone")) })
			got := ask()
			if tt.what == 0 && len(got) == 0 {
				return
			}
			if len(got) != 1 || got[0].What != tt.what || got[0].HasLink {
				t.Fatalf("answers %v", got)
			}
		})
	}
}

func TestDeparted(t *testing.T) {
	d := departed{seed: maphash.MakeSeed()}
	ann, phone := []byte("ann"), []byte("phone")
	now := linkpool.Millis(1<<32 - 100)
	if d.has(now, ann, nil) || d.has(now, nil, []byte{}) {
		t.Error("somebody has departed from nowhere")
	}
	d.note(now, ann, phone)
	for _, tt := range []struct {
		after  linkpool.Millis
		user   string
		device []byte
		want   bool
	}{
		{0, "ann", nil, true}, {0, "ann", phone, true}, {0, "ann", []byte("desk"), false}, {0, "bob", nil, false},
		{4999, "ann", nil, true}, {5000, "ann", nil, false},
	} {
		if got := d.has(now+tt.after, []byte(tt.user), tt.device); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
	for i := range departedKept - 1 {
		d.note(now, fmt.Append(nil, i), phone)
	}
	if !d.has(now, ann, nil) {
		t.Error("forgotten too early")
	}
	if d.note(now, []byte("zoe"), phone); d.has(now, ann, nil) || !d.has(now, []byte("zoe"), nil) {
		t.Error("the oldest is not the one that is forgotten")
	}
}
