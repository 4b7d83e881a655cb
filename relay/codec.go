package relay

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// codec passes bytes through. On the wire it calls itself proto, because what passes through are
// protobuf messages, encoded and read by package batch.
type codec struct{}

// Name is the content subtype that generated servers expect.
func (codec) Name() string { return "proto" }

// Marshal lends a batch's bytes to gRPC until Put; a plain slice is gRPC's for good.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *Batch:
		v.ref()
		return mem.BufferSlice{mem.NewBuffer(&v.wire, v)}, nil
	case []byte:
		return mem.BufferSlice{mem.SliceBuffer(v)}, nil
	}
	return nil, fmt.Errorf("relay: %T cannot be sent", v)
}

// Unmarshal copies the message into a buffer that is used again and again.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*inbound)
	if !ok {
		return fmt.Errorf("relay: %T cannot be received", v)
	}
	in.b = in.b[:0]
	for _, part := range data {
		in.b = append(in.b, part.ReadOnlyData()...)
	}
	return nil
}
