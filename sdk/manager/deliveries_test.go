package manager_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
)

// fleet is a Manager that follows its pushes, with gateways "a", "b", ... that a test plays by hand.
type fleet struct {
	t     *testing.T
	d     manager.Deliveries
	m     *manager.Manager
	pipes map[string]*pipe
	seqs  map[string]uint64
	got   map[string]*down
	told  []manager.Outcome
}

func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, pipes: map[string]*pipe{}, seqs: map[string]uint64{}, got: map[string]*down{}}
	f.m = manager.New(manager.Options{Handler: manager.Handler{Acked: f.d.Acked, Undelivered: f.d.Undelivered, Lost: f.d.Lost}})
	for _, name := range names {
		f.join(name, 1)
	}
	return f
}

// join connects a gateway, whose life is that epoch.
func (f *fleet) join(name string, epoch uint64) {
	f.t.Helper()
	got := &down{t: f.t}
	f.pipes[name], f.seqs[name], f.got[name] = call(f.m, got.add), 0, got
	h := hello(name, epoch, 0)
	h.Address = "192.0.2.7:" + fmt.Sprint(8000+int(name[0]))
	f.pipes[name].say(f.t, &pb.Upstream{Hello: h})
	synctest.Wait()
}

// says has a gateway tell something.
func (f *fleet) says(name string, it *pb.UpItem) {
	f.t.Helper()
	f.seqs[name]++
	f.pipes[name].say(f.t, &pb.Upstream{Seq: f.seqs[name], Items: []*pb.UpItem{it}})
	synctest.Wait()
}

// play carries out a script: "a here", "b no_ack", "a acked", "1m" (time passes), "a anew" (the gateway starts afresh).
func (f *fleet) play(script string) {
	f.t.Helper()
	for step := range strings.SplitSeq(script, ",") {
		who, what, _ := strings.Cut(strings.TrimSpace(step), " ")
		switch what {
		case "":
			d, err := time.ParseDuration(who)
			if err != nil {
				f.t.Fatal(err)
			}
			time.Sleep(d)
			synctest.Wait()
		case "anew":
			f.pipes[who].cancel()
			<-f.pipes[who].result
			f.join(who, 2)
		case "acked", "sampled":
			f.says(who, acked("m", what == "sampled"))
		case "not_here":
			f.says(who, &pb.UpItem{What: &pb.UpItem_Undelivered{Undelivered: &pb.Undelivered{Losses: []*pb.Loss{
				{MsgId: "m", Reason: pb.Loss_NOT_HERE}}}}})
		default:
			reason, ok := pb.Loss_Reason_value[strings.ToUpper(what)]
			if !ok {
				f.t.Fatalf("no such step: %s", step)
			}
			f.says(who, lost("m", pb.Loss_Reason(reason)))
		}
	}
}

func acked(id string, sampled bool) *pb.UpItem {
	return &pb.UpItem{Link: ref(0, 7, 8), Session: session("user", "42", "device", "phone"), What: &pb.UpItem_Acked{
		Acked: &pb.Acked{Receipts: []*pb.Receipt{{MsgId: "other"}, {MsgId: id, Sampled: sampled, Tries: 3}}}}}
}

func lost(id string, why pb.Loss_Reason) *pb.UpItem {
	return &pb.UpItem{Link: ref(0, 7, 8), Session: session("user", "42", "device", "phone"), What: &pb.UpItem_Undelivered{
		Undelivered: &pb.Undelivered{Losses: []*pb.Loss{{MsgId: "other"}, {MsgId: id, Reason: why}}}}}
}

func (f *fleet) stop() {
	stop(f.t, f.m)
	for _, p := range f.pipes {
		<-p.result
	}
}

func TestDeliveries(t *testing.T) {
	user, device := manager.ToUser("42"), manager.ToDevice("42", "phone")
	for _, c := range []struct {
		name, script string
		to           manager.Target
		ttl          time.Duration
		want         string // "acked", a reason, or "" as long as nothing was told
	}{
		{"acked", "a acked", user, 0, "acked"},
		{"acked once", "a acked, b acked, a no_ack, 1h", user, 0, "acked"},
		{"known elsewhere", "a not_here, b acked", user, 0, "acked"},
		{"nobody asked yet", "a not_here", user, 0, ""},
		{"nowhere", "a not_here, b not_here", user, 0, "not_here"},
		{"a device of several", "a no_ack, b not_here", user, 0, ""},
		{"another device has it", "a no_ack, b not_here, a acked", user, 0, "acked"},
		{"no device has it", "a no_ack, b not_here, 3m", user, 0, "no_ack"},
		{"the device", "a no_ack, b not_here", device, 0, "no_ack"},
		{"the device, other order", "b not_here, a link_closed", device, 0, "link_closed"},
		{"only sampled", "a sampled, b sampled", user, 0, ""},
		{"silence", "3m", user, 0, "unspecified"},
		{"half silence", "a not_here, 3m", user, 0, "unspecified"},
		{"half silence of a device", "a no_ack, 3m", device, 0, "unspecified"},
		{"time to live", "a not_here, b no_ack, 11s", user, 6 * time.Second, "no_ack"},
		{"before the end", "10s", user, 6 * time.Second, ""},
		{"longer than patience", "3m", user, time.Hour, "unspecified"},
		{"a gateway afresh", "a anew, b not_here", user, 0, "unspecified"},
		{"a gateway afresh at last", "b not_here, a anew", user, 0, "unspecified"},
		{"a gateway afresh, another has it", "a anew, b acked", user, 0, "acked"},
		{"answers of strangers", "a anew, a not_here, 1s", user, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, "a", "b")
				defer f.stop()
				err := f.d.PushTo(f.m, c.to, manager.Push{Payload: []byte("x"), MsgID: "m", TTL: c.ttl},
					func(o manager.Outcome) { f.told = append(f.told, o) })
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for name, got := range f.got {
					last := got.batches[len(got.batches)-1].GetItems()
					if len(last) != 1 || last[0].GetPush().GetAck() != pb.Push_REQUIRED {
						t.Errorf("gateway %s got %v", name, last)
					}
				}
				f.play(c.script)
				f.check(c.want)
				f.d.Close()
			})
		})
	}
}

// check compares the outcomes so far.
func (f *fleet) check(want string) {
	f.t.Helper()
	if want == "" {
		if len(f.told) != 0 || f.d.Pending() != 1 {
			f.t.Errorf("told %v, %d pending", f.told, f.d.Pending())
		}
		return
	}
	if len(f.told) != 1 || f.d.Pending() != 0 {
		f.t.Fatalf("told %v, %d pending, want one outcome", f.told, f.d.Pending())
	}
	o := f.told[0]
	got := o.Reason.String()
	if o.Acked {
		got = "acked"
		if o.User != "42" || o.Device != "phone" || o.Tries != 3 || o.Link.IsZero() || o.Reason != manager.LossUnspecified {
			f.t.Errorf("%+v", o)
		}
	}
	if got != want || o.MsgID != "m" {
		f.t.Errorf("%s of %q, want %s of m", got, o.MsgID, want)
	}
}

func TestDeliveryToLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b")
		defer f.stop()
		l, err := f.m.Link("192.0.2.7:8097:1:2")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan manager.Outcome, 1)
		if err := f.d.Push(f.m, l, manager.Push{}, func(o manager.Outcome) { got <- o }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		items := f.got["a"].batches[len(f.got["a"].batches)-1].GetItems()
		id := items[0].GetPush().GetMsgId()
		if len(items) != 1 || id == "" || f.got["b"].items() != 0 {
			t.Fatalf("a got %v, b %v", items, f.got["b"].batches)
		}
		f.says("a", lost(id, pb.Loss_STALE_LINK))
		if o := within(t, "the outcome", got); o.MsgID != id || o.Acked || o.Reason != manager.LossStaleLink {
			t.Errorf("%+v", o)
		}
	})
}

// A push that cannot be followed is not sent.
func TestDeliveriesRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.stop()
		f.d.Most = 2
		done := func(o manager.Outcome) { f.told = append(f.told, o) }
		push := func(id string) error {
			return f.d.PushTo(f.m, manager.ToUser("42"), manager.Push{MsgID: id}, done)
		}
		wantErr := func(name string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		wantErr("no gateway", push("m"), manager.ErrGone)
		wantErr("no link", f.d.Push(f.m, manager.Link{}, manager.Push{}, done), manager.ErrGone)
		wantErr("a room", f.d.PushTo(f.m, manager.ToRoom("r"), manager.Push{}, done), manager.ErrTarget)
		wantErr("everyone", f.d.PushTo(f.m, manager.ToEveryone(), manager.Push{}, done), manager.ErrTarget)
		f.join("a", 1)
		wantErr("text", push("\xff"), manager.ErrText)
		wantErr("first", push("m"), nil)
		wantErr("the same again", push("m"), manager.ErrPending)
		wantErr("second", push("n"), nil)
		wantErr("third", push("o"), manager.ErrFull)
		synctest.Wait()
		if n := f.got["a"].items(); n != 2 {
			t.Errorf("%d items were sent, want 2", n)
		}
		f.says("a", acked("m", false))
		wantErr("after an outcome", push("m"), nil)
		f.d.Close()
		if len(f.told) != 3 || f.d.Pending() != 0 || f.told[1].Acked || f.told[1].Reason != manager.LossUnspecified {
			t.Errorf("told %+v", f.told)
		}
	})
}

// A gateway that has no room counts as one that did not take the push, and the others decide.
func TestDeliveryWithAFullGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.m = manager.New(manager.Options{KeepBytes: 8 << 10, Handler: manager.Handler{Acked: f.d.Acked, Undelivered: f.d.Undelivered}})
		defer f.stop()
		f.join("a", 1)
		l, err := f.m.Link("192.0.2.7:8097:1:2")
		if err != nil {
			t.Fatal(err)
		}
		for f.m.Data(l, make([]byte, 4096)) == nil {
			synctest.Wait()
		}
		f.join("b", 1)
		err = f.d.PushTo(f.m, manager.ToUser("42"), manager.Push{MsgID: "m"}, func(o manager.Outcome) { f.told = append(f.told, o) })
		if err != nil {
			t.Fatal(err)
		}
		f.play("b not_here")
		f.check("window_full")
	})
}

// An outcome may be told before Push returns to its caller, and its function may push again.
func TestPushFromAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a")
		defer f.stop()
		tries := 0
		var again func(manager.Outcome)
		push := func() error {
			return f.d.PushTo(f.m, manager.ToDevice("42", "phone"), manager.Push{MsgID: "m"}, again)
		}
		again = func(o manager.Outcome) {
			if tries++; !o.Acked {
				if err := push(); err != nil {
					t.Error(err)
				}
			}
		}
		if err := push(); err != nil {
			t.Fatal(err)
		}
		f.play("a no_ack, a not_here, a window_full, a acked, a acked")
		if tries != 4 || f.d.Pending() != 0 {
			t.Errorf("%d outcomes, %d pending", tries, f.d.Pending())
		}
	})
}
