package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
)

// leastWindow is the smallest that grpc-go opens; a Manager that does not heed it ends the stream.
const leastWindow = 64 << 10

type relayStream = grpc.BidiStreamingClient[pb.Upstream, pb.Downstream]

// dial returns a gateway's stream to a Manager, of which the hellos are exchanged.
func dial(t *testing.T, address string) relayStream {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(leastWindow), grpc.WithStaticConnWindowSize(leastWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), programLimit)
	t.Cleanup(func() {
		cancel()
		_ = conn.Close()
	})
	s, err := pb.NewManagerClient(conn).Relay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, &pb.Upstream{Hello: &pb.GatewayHello{GatewayId: "g", Address: "127.0.0.1:1", Protocol: 1, Epoch: 1}})
	first, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if h := first.GetHello(); h.GetManagerId() != "bench-c" || h.GetProtocol() != 1 || h.GetReceipts() || len(first.GetItems()) > 0 {
		t.Fatalf("the Manager begins with %v", first)
	}
	return s
}

func send(t *testing.T, s relayStream, u *pb.Upstream) {
	t.Helper()
	if err := s.Send(u); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next n items.
func receive(t *testing.T, s relayStream, n int) []*pb.DownItem {
	t.Helper()
	var items []*pb.DownItem
	for len(items) < n {
		d, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if d.GetSeq() != 0 || d.GetReceived() != 0 {
			t.Fatalf("receipts of a Manager that gives none: %v", d)
		}
		items = append(items, d.GetItems()...)
	}
	if len(items) > n {
		t.Fatalf("%d items, want %d: %v", len(items), n, items)
	}
	return items
}

// from is a client's message.
func from(index uint32, session map[string]string, kind pb.ClientMessage_Kind, payload []byte) *pb.UpItem {
	return &pb.UpItem{
		Link:    &pb.LinkRef{Index: index, Uniq: 7},
		Session: &pb.Session{Values: session},
		What:    &pb.UpItem_Message{Message: &pb.ClientMessage{Kind: kind, Payload: payload}},
	}
}

const hello, data = pb.ClientMessage_HELLO, pb.ClientMessage_DATA

// openedSession is what a gateway writes at first.
func openedSession() map[string]string {
	return map[string]string{"link": "127.0.0.1:1:1:7", "opened_at": "1732220000000", "remote": "127.0.0.1:50000", "listener": "main"}
}

func sizeOf(session map[string]string) int {
	n := 0
	for k, v := range session {
		n += len(k) + len(v)
	}
	return n
}

// same says that an item is for the link that has this place.
func same(t *testing.T, item *pb.DownItem, index uint32) {
	t.Helper()
	if l := item.GetLink(); l.GetIndex() != index || l.GetUniq() != 7 || item.GetRef() != 0 {
		t.Errorf("an item for %v with ref %d, want place %d, uniq 7, 0", l, item.GetRef(), index)
	}
}

// TestCManager: a link is let in as a user of its own, its session filled up, and what it says comes back.
func TestCManager(t *testing.T) {
	program := buildC(t, "cmanager")
	for _, at := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "m.sock")} {
		t.Run(strings.SplitN(at, ":", 2)[0], func(t *testing.T) {
			const wanted = 150
			s := dial(t, serve(t, program, "-s", strconv.Itoa(wanted), at).address)
			session := openedSession()
			places := []uint32{0, 1<<24 | 3}
			for i, place := range places {
				send(t, s, &pb.Upstream{Seq: 1, Items: []*pb.UpItem{from(place, session, hello, nil), from(place, session, data, []byte("said")), from(place, nil, data, nil)}})
				items, user := receive(t, s, 4), fmt.Sprintf("user%06d", i+1)
				for _, item := range items {
					same(t, item, place)
				}
				if b := items[0].GetBind(); b.GetUser() != user || b.GetDevice() != "bench" {
					t.Errorf("bound to %v, want %s", b, user)
				}
				full := maps.Clone(session)
				full["user"], full["device"] = user, "bench"
				maps.Copy(full, items[1].GetSession().GetSet())
				if got := sizeOf(full); got != wanted {
					t.Errorf("the session has %d bytes, want %d: %v", got, wanted, full)
				}
				if string(items[2].GetData()) != "said" || items[3].GetWhat() == nil || len(items[3].GetData()) > 0 {
					t.Errorf("came back: %v", items[2:])
				}
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if d, err := s.Recv(); err != io.EOF {
				t.Errorf("behind the end: %v, %v", d, err)
			}
		})
	}
}

// TestCManagerFull: a session that has its size already is not patched; neither is any without -s.
func TestCManagerFull(t *testing.T) {
	program := buildC(t, "cmanager")
	for _, args := range [][]string{{"-s", "50"}, {}} {
		s := dial(t, serve(t, program, append(args, "127.0.0.1:0")...).address)
		send(t, s, &pb.Upstream{Items: []*pb.UpItem{from(1, map[string]string{"link": strings.Repeat("x", 60)}, hello, nil), from(1, nil, data, []byte("end"))}})
		if items := receive(t, s, 2); items[0].GetBind() == nil || string(items[1].GetData()) != "end" {
			t.Errorf("%v: got %v", args, items)
		}
	}
}

// TestCManagerIgnores: what tells of links that come and go is not answered.
func TestCManagerIgnores(t *testing.T) {
	s := dial(t, serve(t, buildC(t, "cmanager"), "127.0.0.1:0").address)
	link := &pb.LinkRef{Index: 1, Uniq: 7}
	send(t, s, &pb.Upstream{Seq: 1, Received: 9, Items: []*pb.UpItem{
		{Link: link, What: &pb.UpItem_Opened{Opened: &pb.Opened{}}},
		{Link: link, What: &pb.UpItem_Closed{Closed: &pb.Closed{Reason: 1, Side: pb.Closed_CLIENT, Evidence: "e"}}},
		{Link: link, What: &pb.UpItem_Acked{Acked: &pb.Acked{Receipts: []*pb.Receipt{{Tid: 1, MsgId: "m"}}}}},
		{What: &pb.UpItem_Undelivered{Undelivered: &pb.Undelivered{Losses: []*pb.Loss{{MsgId: "m", Reason: pb.Loss_NOT_HERE}}}}},
		{What: &pb.UpItem_Refused{Refused: &pb.Refused{Ref: 1, Reason: "r"}}},
		from(2, nil, data, []byte("end")),
	}})
	if items := receive(t, s, 1); string(items[0].GetData()) != "end" {
		t.Errorf("got %v", items)
	}
}

// TestCManagerRoom: with -r a link joins at its HELLO, and what it says goes to all.
func TestCManagerRoom(t *testing.T) {
	s := dial(t, serve(t, buildC(t, "cmanager"), "-r", "all", "127.0.0.1:0").address)
	send(t, s, &pb.Upstream{Items: []*pb.UpItem{from(1, nil, hello, nil), from(1, nil, data, []byte("said"))}})
	items := receive(t, s, 3)
	same(t, items[0], 1)
	same(t, items[1], 1)
	if items[0].GetBind() == nil || items[1].GetJoin() != "all" || items[2].GetRoom() != "all" || string(items[2].GetData()) != "said" {
		t.Errorf("got %v", items)
	}
}

// TestCManagerPushes: with -a DATA is answered with a push, and an acknowledgement with the next.
func TestCManagerPushes(t *testing.T) {
	program := buildC(t, "cmanager")
	for _, mode := range []pb.Push_Ack{pb.Push_NONE, pb.Push_REQUIRED} {
		t.Run(mode.String(), func(t *testing.T) {
			s := dial(t, serve(t, program, "-a", strings.ToLower(mode.String()), "127.0.0.1:0").address)
			acked := &pb.UpItem{Link: &pb.LinkRef{Index: 1, Uniq: 7}, What: &pb.UpItem_Acked{Acked: &pb.Acked{Receipts: []*pb.Receipt{{MsgId: "m0", Tries: 1}}}}}
			send(t, s, &pb.Upstream{Items: []*pb.UpItem{from(1, nil, data, nil), from(1, nil, data, nil), acked}})
			ids := make(map[string]bool)
			for _, item := range receive(t, s, 3) {
				same(t, item, 1)
				p := item.GetPush()
				if p.GetAck() != mode || len(p.GetPayload()) != 64 || p.GetAllowGzip() {
					t.Errorf("got %v", p)
				}
				ids[p.GetMsgId()] = true
			}
			if want := map[pb.Push_Ack]int{pb.Push_NONE: 1, pb.Push_REQUIRED: 3}[mode]; len(ids) != want {
				t.Errorf("%d names of three pushes: %v", len(ids), ids)
			}
		})
	}
}

// TestCManagerEcho: batches of all sizes over a narrow window come back whole, in their order, in batches that fill no two frames.
func TestCManagerEcho(t *testing.T) {
	s := dial(t, serve(t, buildC(t, "cmanager"), "127.0.0.1:0").address)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var said []*pb.UpItem
	var batches []*pb.Upstream
	for range 300 {
		u := &pb.Upstream{Seq: uint64(len(batches) + 1)}
		for range rng.IntN(200) {
			u.Items = append(u.Items, from(rng.Uint32(), openedSession(), data, text(rng, rng.IntN(200))))
		}
		if n := rng.IntN(100); n < 5 {
			u.Items = append(u.Items, from(1, nil, data, text(rng, 1<<(10+2*n)+rng.IntN(100)))) // up to 256 KiB
		}
		said = append(said, u.GetItems()...)
		batches = append(batches, u)
	}
	big := from(1, nil, data, text(rng, 3<<20))
	said, batches = append(said, big), append(batches, &pb.Upstream{Items: []*pb.UpItem{big}})
	sent := make(chan error, 1)
	go func() {
		for _, u := range batches {
			if err := s.Send(u); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	checkEcho(t, s, said)
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// checkEcho reads to the end.
func checkEcho(t *testing.T, s relayStream, said []*pb.UpItem) {
	t.Helper()
	for {
		d, err := s.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := proto.Size(d); n > 16384-5 && len(d.GetItems()) > 1 {
			t.Errorf("a batch of %d bytes and %d items", n, len(d.GetItems()))
		}
		for _, item := range d.GetItems() {
			if len(said) == 0 {
				t.Fatal("more comes back than was said")
			}
			if !proto.Equal(item.GetLink(), said[0].GetLink()) || string(item.GetData()) != string(said[0].GetMessage().GetPayload()) {
				t.Fatalf("%d are missing; got %.300v, want %.300v", len(said), item, said[0])
			}
			said = said[1:]
		}
	}
	if len(said) > 0 {
		t.Errorf("%d did not come back", len(said))
	}
}

func text(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestCManagerHolds: a gateway that does not read is not read from for ever, and gets all when it reads again.
func TestCManagerHolds(t *testing.T) {
	s := dial(t, serve(t, buildC(t, "cmanager"), "127.0.0.1:0").address)
	const most = 400 // of 64 KiB; windows and what is held on the way make about 60
	item := from(1, nil, data, make([]byte, 64<<10))
	taken, resume := make(chan int, most), make(chan struct{})
	go func() {
		defer close(taken)
		for i := range most {
			if s.Send(&pb.Upstream{Items: []*pb.UpItem{item}}) != nil {
				return
			}
			taken <- i
			select {
			case <-resume:
				_ = s.CloseSend()
				return
			default:
			}
		}
	}()
	var said []*pb.UpItem
	for stuck := false; !stuck; {
		select {
		case _, ok := <-taken:
			if !ok {
				t.Fatalf("the Manager took %d messages of which none was read", len(said))
			}
			said = append(said, item)
		case <-time.After(300 * time.Millisecond):
			stuck = true
		}
	}
	close(resume)
	checkEcho(t, s, append(said, item)) // the one that waits goes out too
}

// TestCManagerGateway: links of the real gateway exchange messages over it, are told what one of them says to a room, and acknowledge
// pushes, and every byte is right.
func TestCManagerGateway(t *testing.T) {
	if testing.Short() {
		t.Skip("builds edged")
	}
	b := &bench{ctx: t.Context(), dir: t.TempDir(), set: settings{window: 300 * time.Millisecond}}
	b.now = programs{cmanager: buildC(t, "cmanager"), cload: buildC(t, "cload"), cfan: buildC(t, "cfan"), cpush: buildC(t, "cpush"), edged: filepath.Join(b.dir, "edged")}
	if err := b.goBuild("../..", b.now.edged, "./cmd/edged"); err != nil {
		t.Fatal(err)
	}
	edged := subject{program: gateway, loops: 2, session: relaySession, manager: inC}
	for _, tt := range []struct {
		name string
		row  row
		push string
		want []figure
	}{
		{"one message", row{depth: 1, data: true}, "", []figure{messageCPU, managerCPU}},
		{"eight messages", row{depth: 8, data: true}, "", []figure{messageCPU, managerCPU}},
		{"a room", row{mode: fanout, depth: 16}, "", []figure{deliveryCPU}},
		{"plain pushes", row{mode: pushed, depth: 8}, "none", []figure{pushCPU, pushManager}},
		{"required pushes", row{mode: pushed, depth: 8}, "required", []figure{pushCPU, pushManager}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtime.LockOSThread() // the kernel ends a program with the thread that started it
			defer runtime.UnlockOSThread()
			tt.row.links, edged.push = 50, tt.push
			got, err := b.measure(tt.row, edged)
			b.stopAll()
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range tt.want {
				if len(got.values) != len(tt.want) || got.values[i].figure != f || got.values[i].value <= 0 {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			}
		})
	}
}

// TestCManagerFaults: whoever does not speak the protocol ends it.
func TestCManagerBroken(t *testing.T) {
	program := buildC(t, "cmanager")
	for _, tt := range []struct {
		item *pb.UpItem
		want string
	}{
		{from(1, nil, 9, nil), "a message of kind 9"},
		{&pb.UpItem{What: &pb.UpItem_Message{Message: &pb.ClientMessage{Kind: data}}}, "without a link"},
	} {
		m := serve(t, program, "127.0.0.1:0")
		s := dial(t, m.address)
		send(t, s, &pb.Upstream{Items: []*pb.UpItem{tt.item}})
		if d, err := s.Recv(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, %v", tt.want, d, err)
		}
		if status, said := m.fate(t); status != 1 || !strings.Contains(said, tt.want) {
			t.Errorf("status %d, it says %q, want %q", status, said, tt.want)
		}
	}
}
