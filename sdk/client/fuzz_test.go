package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// Whatever a gateway sends, a client must neither panic nor hang.
func FuzzGateway(f *testing.F) {
	f.Add(wire.AppendWelcome(nil, usual))
	f.Add(wire.AppendPush(wire.AppendWelcome(nil, usual), wire.Push{Flags: wire.FlagAck | wire.FlagGzip | wire.FlagStamped, MsgID: []byte("m")}))
	f.Add(wire.AppendBye(wire.AppendPing(nil, 1), wire.ByeReplaced, 0, "text"))
	f.Add(wire.Append(nil, wire.KindData, []byte{0x0a, 0}))
	var versions []byte
	for tid, v := range []uint64{7, 1<<64 - 1, 9, 7} {
		versions = wire.AppendPush(versions, wire.Push{Flags: wire.FlagStamped, TID: uint32(tid), Version: v, MsgID: []byte{byte(tid)}})
	}
	f.Add(versions)
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		links := make(chan net.Conn, 1)
		links <- near
		c, err := client.New(client.Options{
			Addresses: []string{"gate:1"}, MaxPayload: 1 << 20, OnData: func([]byte) {}, OnPush: func(client.Push) {},
			Hole: func(uint64, uint64) {}, Memory: client.Memory{Save: func(client.Progress) {}},
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				select {
				case c := <-links:
					return c, nil
				default:
					return nil, errors.New("one link is enough")
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = c.Request(ctx, client.NewMessage(1, 2, nil))
			close(asked)
		}()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			buf := make([]byte, 4096)
			for {
				if _, err := far.Read(buf); err != nil {
					return
				}
			}
		}()
		_ = far.SetWriteDeadline(time.Now().Add(wait))
		if _, err := far.Write(b); err != nil && errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("the client does not read")
		}
		c.Close()
		cancel()
		<-asked
		_ = far.Close()
		<-drained
	})
}
