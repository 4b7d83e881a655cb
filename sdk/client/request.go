package client

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
)

// Header keys of a Message (PROTOCOL.md, section 1.4).
const (
	HeaderTagA    = 1
	HeaderTagB    = 2
	HeaderRequest = 3
)

// NewMessage makes a Message with the tag (a,b).
func NewMessage(a, b int64, body map[uint32]*edgedpb.Value) *edgedpb.Message {
	return &edgedpb.Message{Header: map[uint32]*edgedpb.Value{HeaderTagA: Int(a), HeaderTagB: Int(b)}, Body: body}
}

// Int makes a Value of an integer.
func Int(n int64) *edgedpb.Value { return &edgedpb.Value{Kind: &edgedpb.Value_Int{Int: n}} }

// String makes a Value of a text, which must be valid UTF-8.
func String(s string) *edgedpb.Value { return &edgedpb.Value{Kind: &edgedpb.Value_String_{String_: s}} }

// Bytes makes a Value of bytes.
func Bytes(b []byte) *edgedpb.Value { return &edgedpb.Value{Kind: &edgedpb.Value_Bytes{Bytes: b}} }

// Double makes a Value of a number.
func Double(f float64) *edgedpb.Value { return &edgedpb.Value{Kind: &edgedpb.Value_Double{Double: f}} }

// Bool makes a Value of a truth.
func Bool(b bool) *edgedpb.Value { return &edgedpb.Value{Kind: &edgedpb.Value_Bool{Bool: b}} }

// calls are the requests that wait for an answer.
type calls struct {
	mu   sync.Mutex
	last int64
	open map[int64]*call
}

type call struct {
	a, b   int64  // tag
	end    uint64 // place in the outbox's stream
	answer chan result
}

type result struct {
	m   *edgedpb.Message
	err error
}

// Request sends a Message and waits for its answer: the Message with the same tag and request number. The header of m
// holds the tag; the request number is set in a copy, so that m may be used again. Without a link it waits for the next
// one. It returns ErrFull at once when the queue is full, and ErrLost when the link that it went to breaks. When ctx ends
// it returns; the request may still be sent.
func (c *Client) Request(ctx context.Context, m *edgedpb.Message) (*edgedpb.Message, error) {
	n, k, err := c.call(m)
	if err != nil {
		return nil, err
	}
	defer c.calls.forget(n)
	select {
	case r := <-k.answer:
		return r.m, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// call registers a request and queues it, as one step for those who answer or fail it.
func (c *Client) call(m *edgedpb.Message) (int64, *call, error) {
	s := &c.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	n := s.last
	header := maps.Clone(m.GetHeader())
	if header == nil {
		header = make(map[uint32]*edgedpb.Value, 1)
	}
	header[HeaderRequest] = Int(n)
	b, err := proto.Marshal(&edgedpb.Message{Header: header, Body: m.GetBody()})
	if err != nil {
		return 0, nil, fmt.Errorf("client: request: %w", err)
	}
	end, err := c.out.put(b)
	if err != nil {
		return 0, nil, err
	}
	c.count.sent.Add(1)
	k := &call{a: header[HeaderTagA].GetInt(), b: header[HeaderTagB].GetInt(), end: end, answer: make(chan result, 1)}
	if s.open == nil {
		s.open = make(map[int64]*call)
	}
	s.open[n] = k
	return n, k, nil
}

func (s *calls) forget(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, n)
}

// answered gives a payload to the request that it answers; false: it answers none.
func (s *calls) answered(payload []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == 0 {
		return false
	}
	var m edgedpb.Message
	if proto.Unmarshal(payload, &m) != nil {
		return false // the Manager may send what it likes
	}
	h := m.GetHeader()
	if h[HeaderRequest] == nil {
		return false
	}
	n := h[HeaderRequest].GetInt()
	k := s.open[n]
	if k == nil || h[HeaderTagA].GetInt() != k.a || h[HeaderTagB].GetInt() != k.b {
		return false
	}
	delete(s.open, n)
	k.answer <- result{m: &m}
	return true
}

// lost fails the requests that were taken for a link which is no more.
func (s *calls) lost(taken uint64) { s.fail(taken, ErrLost) }

// close fails them all.
func (s *calls) close(why error) { s.fail(^uint64(0), why) }

func (s *calls) fail(upTo uint64, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, k := range s.open {
		if k.end <= upTo {
			delete(s.open, n)
			k.answer <- result{err: why}
		}
	}
}
