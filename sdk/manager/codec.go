package manager

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // what rawCodec gives other messages to
	"google.golang.org/grpc/mem"
)

// Codec returns the codec that a server needs for Register: it moves the Manager protocol's batches as bytes, and leaves
// the messages of other services to the usual protobuf codec.
func Codec() encoding.CodecV2 {
	return rawCodec{encoding.GetCodecV2("proto")}
}

type rawCodec struct {
	encoding.CodecV2
}

// inbox holds the bytes of one received batch. The slice is used again for the next one.
type inbox struct {
	b []byte
}

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.lend(), nil
	}
	return c.CodecV2.Marshal(v)
}

func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*inbox)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	in.b = in.b[:0]
	for _, part := range data {
		in.b = append(in.b, part.ReadOnlyData()...)
	}
	return nil
}
