package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"edged/batch"
	"edged/relay"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// discardCodec is a Manager that costs as little as can be: it looks at nothing but lengths.
type discardCodec struct{}

func (discardCodec) Name() string { return "proto" }

func (discardCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (discardCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b := v.(*[]byte)
	*b = (*b)[:0]
	for _, part := range data {
		*b = append(*b, part.ReadOnlyData()...)
	}
	return nil
}

// startEcho serves a Manager that answers each item with answer, and each batch with a receipt.
func startEcho(b *testing.B, answer []byte) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(discardCodec{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		hello := batch.AppendDownstreamHello(nil, batch.ManagerHello{ID: "m", Protocol: 1, Receipts: true})
		if err := st.SendMsg(hello); err != nil {
			return err
		}
		var in, out []byte
		for seq := uint64(0); ; {
			if err := st.RecvMsg(&in); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			up, err := batch.ParseUpstream(in)
			if err != nil {
				return err
			}
			if up.Seq == 0 {
				continue
			}
			out = out[:0]
			for _, _, ok := up.Items.Next(); ok; _, _, ok = up.Items.Next() {
				out = append(out, answer...)
			}
			seq++
			if err := st.SendMsg(bytes.Clone(batch.AppendDownstreamSeq(out, seq, up.Seq))); err != nil {
				return err
			}
		}
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // returns when the server is stopped
	}()
	b.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String()
}

// The gateway's end and a minimal Manager's in one process: what is measured is both, per item, with a
// session of 150 bytes and a payload of 64. depth batches are under way; those that wait are merged, so
// that with more than one the batches are larger than their name says.
func BenchmarkRoundTrip(b *testing.B) {
	session := append([]byte{0x12, 150}, make([]byte, 149)...)
	session[2] = 0x01
	payload := make([]byte, 64)
	for _, size := range []int{1, 8, 64} {
		for _, depth := range []int{1, 8} {
			b.Run(fmt.Sprintf("batch=%d/depth=%d", size, depth), func(b *testing.B) {
				answer := batch.AppendData(nil, batch.Link{Index: 5, Uniq: 9}, 0, payload)
				p, wake := startPort(b, startEcho(b, answer))
				fly := 0
				send := func() {
					out := p.Take(0)
					for range size {
						out.Items = batch.AppendMessage(out.Items, batch.Link{Index: 5, Uniq: 9}, session, 3, payload)
					}
					p.Send(0, out)
					fly += size
				}
				receive := func() {
					for {
						e, ok := p.Next()
						if !ok {
							<-wake
							continue
						}
						if e.Kind == relay.EventItems {
							it := batch.DownItems(e.Items)
							for _, _, ok := it.Next(); ok; _, _, ok = it.Next() {
								fly--
							}
							return
						}
					}
				}
				for range 100 {
					send()
					receive()
				}
				b.ReportAllocs()
				b.ResetTimer()
				n := (b.N + size - 1) / size
				for range n {
					send()
					for fly >= depth*size {
						receive()
					}
				}
				for fly > 0 {
					receive()
				}
				b.StopTimer()
			})
		}
	}
}

func startPort(b *testing.B, address string) (*relay.Port, chan struct{}) {
	wake := make(chan struct{}, 1)
	c := relay.Default()
	c.Addresses = []string{address}
	r, err := relay.New(relay.Options{Config: c, Shards: 1, Wake: func(int) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	r.Start()
	b.Cleanup(func() { _ = r.Stop(b.Context()) }) // the context has ended: at once
	p := r.Port(0)
	for {
		if e, ok := p.Next(); ok && e.Kind == relay.EventUp {
			return p, wake
		}
		<-wake
	}
}
