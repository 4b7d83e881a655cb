package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
)

// patience bounds every wait.
const patience = 10 * time.Second

// dial serves a Manager of ours and returns a gateway's stream to it.
func dial(t *testing.T, session int) grpc.BidiStreamingClient[pb.Upstream, pb.Downstream] {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := manager.New(manager.Options{Handler: handler(session)})
	served := make(chan error, 1)
	go func() { served <- m.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() {
		_ = conn.Close()
		if err := m.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		cancel()
	})
	stream, err := pb.NewManagerClient(conn).Relay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send(t, stream, &pb.Upstream{Hello: &pb.GatewayHello{GatewayId: "g", Address: "127.0.0.1:1", Protocol: 1, Epoch: 1}})
	return stream
}

func send(t *testing.T, s grpc.BidiStreamingClient[pb.Upstream, pb.Downstream], u *pb.Upstream) {
	t.Helper()
	if err := s.Send(u); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next n items.
func receive(t *testing.T, s grpc.BidiStreamingClient[pb.Upstream, pb.Downstream], n int) []*pb.DownItem {
	t.Helper()
	var items []*pb.DownItem
	for len(items) < n {
		d, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, d.GetItems()...)
	}
	return items
}

// from is a client's message.
func from(index uint32, session map[string]string, kind pb.ClientMessage_Kind, payload string) *pb.UpItem {
	return &pb.UpItem{
		Link:    &pb.LinkRef{Index: index, Uniq: 7},
		Session: &pb.Session{Values: session},
		What:    &pb.UpItem_Message{Message: &pb.ClientMessage{Kind: kind, Payload: []byte(payload)}},
	}
}

func TestManager(t *testing.T) {
	const wanted = 150
	s := dial(t, wanted)
	session := map[string]string{"link": "127.0.0.1:1:1:7", "opened_at": "1732220000000", "remote": "127.0.0.1:50000", "listener": "main"}
	send(t, s, &pb.Upstream{Seq: 1, Items: []*pb.UpItem{
		from(1, session, pb.ClientMessage_HELLO, ""), from(2, session, pb.ClientMessage_HELLO, ""), from(1, session, pb.ClientMessage_DATA, "said"),
	}})
	users := make(map[string]bool)
	echoed := ""
	for _, item := range receive(t, s, 5) {
		switch {
		case item.GetBind() != nil:
			users[item.GetBind().GetUser()] = true
			session["user"], session["device"] = item.GetBind().GetUser(), item.GetBind().GetDevice()
		case item.GetSession() != nil:
			for k, v := range item.GetSession().GetSet() {
				session[k] = v
			}
		default:
			echoed = string(item.GetData())
		}
	}
	size := 0
	for k, v := range session {
		size += len(k) + len(v)
	}
	if size != wanted {
		t.Errorf("the session has %d bytes, want %d: %v", size, wanted, session)
	}
	if len(users) != 2 {
		t.Errorf("two links are users %v: the second replaces the first", users)
	}
	if echoed != "said" {
		t.Errorf("echoed %q", echoed)
	}
}

// TestManagerFull: a session that has its size already is not patched.
func TestManagerFull(t *testing.T) {
	s := dial(t, 50)
	send(t, s, &pb.Upstream{Seq: 1, Items: []*pb.UpItem{
		from(1, map[string]string{"link": strings.Repeat("x", 60)}, pb.ClientMessage_HELLO, ""), from(1, nil, pb.ClientMessage_DATA, "end"),
	}})
	if items := receive(t, s, 2); items[0].GetBind() == nil || string(items[1].GetData()) != "end" {
		t.Errorf("got %v", items)
	}
}
