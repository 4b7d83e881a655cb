package manager_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

func TestLogin(t *testing.T) {
	events := make(chan string, 10)
	s := serve(t, manager.Options{Handler: manager.Handler{
		Opened: func(e *manager.Event) {
			events <- fmt.Sprintf("%v %v from %s", e.Kind, e.Link, e.Session.Value("remote"))
		},
		Hello: func(e *manager.Event) {
			var h pb.Hello
			if err := proto.Unmarshal(e.Payload, &h); err != nil {
				t.Error(err)
			}
			events <- fmt.Sprintf("%v %s at %s", e.Kind, h.GetUser(), e.Gateway().ID)
			_ = e.Patch(map[string]string{"auth.level": "2"}, []string{"auth.old"}, 7)
			_ = e.BindSynced(h.GetUser(), h.GetDevice(), h.GetSyncedVersion())
			_ = e.Bind("second", "")
			_ = e.Join("lobby", 8)
			_ = e.Leave("lobby", 9)
			_ = e.Push(manager.Push{Payload: []byte("hi"), MsgID: "m1", Ack: manager.AckRequired, AllowGzip: true, TTL: 1500 * time.Microsecond})
		},
	}})
	u := s.open(hello("gw", 1, 0))
	if h := u.hello.GetHello(); h.GetProtocol() != 1 || !h.GetReceipts() || h.GetManagerId() == "" {
		t.Errorf("hello %v", h)
	}
	l := ref(0, 231, 23)
	u.items(opened(l, "remote", "198.51.100.1:4000"))
	payload, _ := proto.Marshal(&pb.Hello{User: "42", Device: "phone", SyncedVersion: 9})
	u.items(said(pb.ClientMessage_HELLO, l, payload))
	if got, want := within(t, "opened", events), "Opened 192.0.2.7:8000:231:23 from 198.51.100.1:4000"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := within(t, "hello", events), "Hello 42 at gw"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	equal(t, u.next(6),
		"231/23 ref 7 patch map[auth.level:2] [auth.old]",
		"231/23 bind 42 phone 9",
		"231/23 bind second  0",
		"231/23 ref 8 join lobby",
		"231/23 ref 9 leave lobby",
		"231/23 push hi m1 REQUIRED true 2")
}

// A handler's answers to one batch are one batch, which also carries the receipt.
func TestEcho(t *testing.T) {
	s := serve(t, manager.Options{Handler: manager.Handler{
		Data: func(e *manager.Event) { _ = e.Data(e.Payload) },
	}})
	u := s.open(hello("gw", 1, 0))
	var items []*pb.UpItem
	var want []string
	for i := range 100 {
		items = append(items, data(ref(0, uint32(i), 1), fmt.Sprint("message ", i), "link", "x"))
		want = append(want, fmt.Sprintf("%d/1 data message %d", i, i))
	}
	u.items(items...)
	b := u.recv()
	equal(t, b.GetItems(), want...)
	if b.GetSeq() != 1 || b.GetReceived() != 1 {
		t.Errorf("seq %d, received %d; want 1 and 1", b.GetSeq(), b.GetReceived())
	}
	if st := s.Stats(); st.ItemsIn != 100 || st.ItemsOut != 100 || st.BatchesIn != 2 || st.Streams != 1 || st.Gateways != 1 {
		t.Errorf("%+v", st)
	}
}

// Each kind of event carries what the gateway said.
func TestEvents(t *testing.T) {
	got := make(chan string, 10)
	s := serve(t, manager.Options{Handler: manager.Handler{
		Acked: func(e *manager.Event) {
			e.Receipts(func(r manager.Receipt) bool {
				got <- fmt.Sprint("acked ", r.TID, " ", string(r.MsgID), " ", r.Sampled, " ", r.Tries)
				return r.TID != 5
			})
		},
		Undelivered: func(e *manager.Event) {
			e.Losses(func(l manager.Loss) bool {
				got <- fmt.Sprint("lost ", string(l.MsgID), " ", l.Reason, " ", e.Link.IsZero(), " ", e.Link)
				return true
			})
			if err := e.Data(nil); !errors.Is(err, manager.ErrGone) {
				t.Errorf("an event without a link sent data: %v", err)
			}
		},
		Closed: func(e *manager.Event) {
			got <- fmt.Sprint(e.Kind, " ", e.Reason, " ", e.Side, " ", string(e.Evidence), " ", e.Session.Text("user"))
		},
		Refused: func(e *manager.Event) {
			got <- fmt.Sprint(e.Kind, " ", e.Ref, " ", e.Code, " ", string(e.Text))
		},
	}})
	u := s.open(hello("gw", 1, 0))
	l := ref(0, 1, 2)
	u.items(
		&pb.UpItem{Link: l, What: &pb.UpItem_Acked{Acked: &pb.Acked{Receipts: []*pb.Receipt{
			{Tid: 4, MsgId: "a", Tries: 1}, {Tid: 5, MsgId: "b", Sampled: true, Tries: 2}, {Tid: 6}}}}},
		&pb.UpItem{What: &pb.UpItem_Undelivered{Undelivered: &pb.Undelivered{Losses: []*pb.Loss{
			{MsgId: "c", Reason: pb.Loss_NOT_HERE}}}}},
		&pb.UpItem{Link: l, What: &pb.UpItem_Refused{Refused: &pb.Refused{Ref: 9, Code: pb.Refused_SESSION_FULL, Reason: "4096"}}},
		&pb.UpItem{Link: l, Session: session("user", "42"), What: &pb.UpItem_Closed{Closed: &pb.Closed{
			Reason: 2, Side: pb.Closed_GATEWAY, Evidence: "silent"}}},
		&pb.UpItem{Link: l}, // tells nothing that we know
		said(2, l, nil),     // nor does this kind
	)
	for _, want := range []string{
		"acked 4 a false 1", "acked 5 b true 2", "lost c not_here true no link",
		"Refused 9 session_full 4096", "Closed idle_timeout gateway silent 42",
	} {
		if g := within(t, want, got); g != want {
			t.Errorf("%q, want %q", g, want)
		}
	}
	eventually(t, "unknown items", func() bool { return s.Stats().Unknown == 2 })
}

// What goes to a link takes the stream of the link's shard, whoever sends it.
func TestCrossStream(t *testing.T) {
	links := make(chan manager.Link, 1)
	var s *served
	s = serve(t, manager.Options{Handler: manager.Handler{
		Opened: func(e *manager.Event) { links <- e.Link },
		Data: func(e *manager.Event) {
			other := <-links
			_ = s.Data(other, e.Payload, 5)
			_ = s.Close(other, wire.ByeDraining, 3*time.Second, "later")
			_ = s.Patch(other, map[string]string{"a.b": "c"}, nil)
			_ = s.Bind(other, "u", "d")
			_ = s.Join(other, "r")
			_ = s.Leave(other, "r")
			_ = s.Push(other, manager.Push{Payload: []byte("p")})
		},
	}})
	a, b := s.open(hello("gw", 1, 0)), s.open(hello("gw", 1, 1))
	b.items(opened(ref(1, 5, 6)))
	a.items(data(ref(0, 1, 1), "over"))
	at := fmt.Sprintf("%d/6 ", ref(1, 5, 6).GetIndex())
	equal(t, b.next(7), at+"ref 5 data over", at+"close 8 3000 later", at+"patch map[a.b:c] []", at+"bind u d 0", at+"join r",
		at+"leave r", at+"push p  NONE false 0")
	if d := a.recv(); len(d.GetItems()) != 0 || d.GetReceived() != 1 || d.GetSeq() != 0 {
		t.Errorf("the other stream got %v, want a bare receipt", d)
	}
}

// A gateway that serves a shard over another stream than the one of its number is followed, but not as long as the stream
// that was followed first is up: operations on a link keep their order only on one stream.
func TestHomeIsLearnt(t *testing.T) {
	links := make(chan manager.Link, 1)
	s := serve(t, manager.Options{Handler: manager.Handler{Opened: func(e *manager.Event) { links <- e.Link }}})
	a, b := s.open(hello("gw", 1, 0)), s.open(hello("gw", 1, 1))
	b.items(opened(ref(7, 5, 6)))
	if err := s.Data(within(t, "link", links), []byte("x")); err != nil {
		t.Error(err)
	}
	b.next(1)
	a.items(opened(ref(7, 6, 7)))
	l := within(t, "link", links)
	if err := s.Data(l, []byte("y")); err != nil {
		t.Error(err)
	}
	b.next(1)
	b.cancel()
	eventually(t, "the end of a stream", func() bool { return s.Stats().Streams == 1 })
	a.items(opened(ref(7, 8, 9)))
	within(t, "link", links)
	if err := s.Data(l, []byte("z")); err != nil {
		t.Error(err)
	}
	equal(t, a.next(1), fmt.Sprintf("%d/7 data z", ref(7, 6, 7).GetIndex()))
}

func TestLinkByID(t *testing.T) {
	s := serve(t, manager.Options{})
	u := s.open(hello("gw", 1, 0))
	l, err := s.Link("192.0.2.7:8000:231:23")
	if err != nil || l.String() != "192.0.2.7:8000:231:23" || l.Gateway().ID != "gw" {
		t.Fatal(l, err)
	}
	if err := s.Data(l, []byte("x")); err != nil {
		t.Error(err)
	}
	equal(t, u.next(1), "231/23 data x")
	if _, err := s.Link("192.0.2.8:8000:231:23"); !errors.Is(err, manager.ErrGone) {
		t.Errorf("unknown gateway: %v", err)
	}
	for _, bad := range []string{"", "x", "192.0.2.7:8000:231", "192.0.2.7:8000:231:99999999999"} {
		if _, err := s.Link(bad); err == nil || errors.Is(err, manager.ErrGone) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// No operation goes out that a gateway would refuse together with the rest of its batch.
func TestRefusedHere(t *testing.T) {
	s := serve(t, manager.Options{})
	u := s.open(hello("gw", 1, 0))
	l, err := s.Link("192.0.2.7:8000:0:0")
	if err != nil {
		t.Fatal(err)
	}
	const bad = "\xff"
	huge := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ got, want error }{
		"data":       {s.Data(l, make([]byte, 65535)), manager.ErrTooLarge},
		"push":       {s.Push(l, manager.Push{Payload: make([]byte, 1<<20)}), manager.ErrTooLarge},
		"huge push":  {s.Push(l, manager.Push{Payload: make([]byte, 2<<20)}), manager.ErrTooLarge},
		"msg id":     {s.Push(l, manager.Push{MsgID: strings.Repeat("x", 256)}), manager.ErrTooLarge},
		"bad msg id": {s.Push(l, manager.Push{MsgID: bad}), manager.ErrText},
		"user":       {s.Bind(l, bad, ""), manager.ErrText},
		"device":     {s.Bind(l, "", bad), manager.ErrText},
		"long user":  {s.Bind(l, huge, ""), manager.ErrTooLarge},
		"key":        {s.Patch(l, map[string]string{bad: ""}, nil), manager.ErrText},
		"value":      {s.Patch(l, map[string]string{"a.b": bad}, nil), manager.ErrText},
		"delete":     {s.Patch(l, nil, []string{bad}), manager.ErrText},
		"room":       {s.Join(l, bad), manager.ErrText},
		"leave":      {s.Leave(l, bad), manager.ErrText},
		"text":       {s.Close(l, wire.ByeKicked, 0, bad), manager.ErrText},
		"long text":  {s.Close(l, wire.ByeKicked, 0, huge), manager.ErrTooLarge},
		"no link":    {s.Data(manager.Link{}, nil), manager.ErrGone},
		"stranger":   {manager.New(manager.Options{}).Data(l, nil), manager.ErrGone},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	for _, target := range []manager.Target{manager.ToUser(bad), manager.ToDevice("", bad), manager.ToRoom(bad)} {
		if _, err := s.DataTo(target, nil); !errors.Is(err, manager.ErrText) {
			t.Errorf("%+v: %v, want ErrText", target, err)
		}
	}
	if err := s.Data(l, make([]byte, 65534)); err != nil {
		t.Error(err)
	}
	if got := u.next(1); len(got[0].GetData()) != 65534 {
		t.Errorf("%d bytes", len(got[0].GetData()))
	}
}

func TestToAll(t *testing.T) {
	s := serve(t, manager.Options{})
	if n, err := s.DataTo(manager.ToEveryone(), []byte("x")); n != 0 || !errors.Is(err, manager.ErrGone) {
		t.Errorf("without a gateway: %d, %v", n, err)
	}
	a := s.open(hello("a", 1, 0))
	a1 := s.open(hello("a", 1, 1))
	b := s.open(hello("b", 1, 3))
	a.cancel() // its other stream is told instead
	eventually(t, "the end of a stream", func() bool { return s.Stats().Streams == 2 })
	if n, err := s.PushTo(manager.ToRoom("live"), manager.Push{Payload: []byte("x"), MsgID: "m"}); n != 2 || err != nil {
		t.Errorf("PushTo: %d, %v", n, err)
	}
	if n, err := s.DataTo(manager.ToDevice("42", "phone"), []byte("x"), 3); n != 2 || err != nil {
		t.Errorf("DataTo: %d, %v", n, err)
	}
	for _, u := range []*up{a1, b} {
		got := u.next(2)
		if got[0].GetRoom() != "live" || string(got[0].GetPush().GetPayload()) != "x" {
			t.Error(got[0])
		}
		if d := got[1].GetDevice(); d.GetUser() != "42" || d.GetDevice() != "phone" || got[1].GetRef() != 3 {
			t.Error(got[1])
		}
	}
}

// What one batch makes the handlers write goes out in batches of one HTTP/2 frame each, in order.
func TestSplit(t *testing.T) {
	payload := strings.Repeat("x", 1000)
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
		for i := range 100 {
			_ = e.Data([]byte(fmt.Sprint(i, " ", payload)))
		}
		_ = e.Data(bytes.Repeat([]byte("y"), 60000)) // larger than a frame: alone
		_ = e.Data([]byte("end"))
	}}})
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "go"))
	var items []*pb.DownItem
	var received uint64
	for n := 1; len(items) < 102; n++ {
		b := u.recv()
		if b.GetSeq() != uint64(n) {
			t.Errorf("seq %d, want %d", b.GetSeq(), n)
		}
		if size := proto.Size(b); size+5 > 16384 && len(b.GetItems()) > 1 {
			t.Errorf("batch %d has %d bytes and %d items", n, size, len(b.GetItems()))
		}
		received = b.GetReceived()
		items = append(items, b.GetItems()...)
	}
	if received != 1 {
		t.Errorf("received %d, want 1", received)
	}
	for i, d := range items[:100] {
		if !strings.HasPrefix(string(d.GetData()), fmt.Sprint(i, " ")) {
			t.Fatalf("item %d is %.10q", i, d.GetData())
		}
	}
	if len(items[100].GetData()) != 60000 || string(items[101].GetData()) != "end" {
		t.Error("the last two items are not in order")
	}
}

// Pushes of many goroutines all arrive, each goroutine's in its order.
func TestManyGoroutines(t *testing.T) {
	const goroutines, each = 8, 500
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	streams := []*up{s.open(hello("gw", 1, 0)), s.open(hello("gw", 1, 1))} // their echoes share the way with the pushes
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				l, err := s.Link(fmt.Sprintf("192.0.2.7:8000:%d:%d", ref(g%2, uint32(g), 0).GetIndex(), g))
				if err == nil {
					err = s.Data(l, []byte(fmt.Sprint(i)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, u := range streams {
		wg.Go(func() {
			for range 50 {
				u.items(data(ref(0, 99, 99), "echo"))
			}
		})
		wg.Go(func() {
			last := map[uint32]int{}
			for n := 0; n < goroutines/2*each+50; {
				b, err := u.stream.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				for _, d := range b.GetItems() {
					n++
					if string(d.GetData()) == "echo" {
						continue
					}
					l := d.GetLink()
					if got := string(d.GetData()); got != fmt.Sprint(last[l.GetUniq()]) {
						t.Errorf("link %v: %s, want %d", l, got, last[l.GetUniq()])
						return
					}
					last[l.GetUniq()]++
				}
			}
		})
	}
	wg.Wait()
}

func TestPanic(t *testing.T) {
	var log syncBuffer
	s := serve(t, manager.Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: manager.Handler{Data: func(e *manager.Event) {
			_ = e.Data([]byte("before"))
			if string(e.Payload) == "bad" {
				panic("no such thing")
			}
		}},
	})
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "bad"), data(ref(0, 2, 1), "good"))
	equal(t, u.next(2), "1/1 data before", "2/1 data before")
	u.items(data(ref(0, 1, 1), "good"))
	equal(t, u.next(1), "1/1 data before")
	if s.Stats().Panics != 1 {
		t.Errorf("%d panics counted", s.Stats().Panics)
	}
	if l := log.String(); !strings.Contains(l, "no such thing") || !strings.Contains(l, "manager_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", l)
	}
}

// The kit lives on a server of others, with other services.
func TestRegister(t *testing.T) {
	m := manager.New(manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	srv := grpc.NewServer(grpc.ForceServerCodecV2(manager.Codec()))
	m.Register(srv)
	healthpb.RegisterHealthServer(srv, health.NewServer())
	lis := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	s := &served{Manager: m, t: t, conn: dial(t, lis)}
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "x"))
	equal(t, u.next(1), "1/1 data x")
	r, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := u.ends(); status.Code(err) != codes.Unavailable {
		t.Errorf("stream ended with %v", err)
	}
	if _, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("Stop took the server of others down: %v", err)
	}
	_ = s.conn.Close()
	srv.Stop()
	<-done
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
