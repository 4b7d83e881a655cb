package manager_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
)

func num(n int64) *pb.Value { return &pb.Value{Kind: &pb.Value_Int{Int: n}} }

// request is a Message with a tag, a request number and one integer in its body.
func request(a, b, number, value int64) *pb.Message {
	return &pb.Message{
		Header: map[uint32]*pb.Value{1: num(a), 2: num(b), 3: num(number)},
		Body:   map[uint32]*pb.Value{0: num(value)},
	}
}

// ask sends one Message and returns the answer.
func (u *up) ask(m *pb.Message) *pb.Message {
	u.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		u.t.Fatal(err)
	}
	return u.askRaw(b)
}

func (u *up) askRaw(payload []byte) *pb.Message {
	u.t.Helper()
	u.items(said(pb.ClientMessage_DATA, ref(0, 1, 1), payload))
	answer := new(pb.Message)
	if err := proto.Unmarshal(u.next(1)[0].GetData(), answer); err != nil {
		u.t.Fatal(err)
	}
	return answer
}

func routed(t *testing.T, r *manager.Router) (*served, *up) {
	t.Helper()
	s := serve(t, manager.Options{Handler: manager.Handler{Data: r.Serve}})
	return s, s.open(hello("gw", 1, 0))
}

func TestRouter(t *testing.T) {
	var r manager.Router
	r.Handle(manager.Tag{A: 1}, func(c *manager.Call) { _ = c.Answer(map[uint32]any{0: "Hello world"}) })
	r.Handle(manager.Tag{A: 1, B: 1}, func(c *manager.Call) {
		_ = c.Answer(map[uint32]any{0: c.Int(0) + 1, 1: c.Tag.String(), 2: c.Has(9)})
	})
	r.Handle(manager.Tag{A: 2}, func(c *manager.Call) { _ = c.Fail(manager.CodeFirst+1, "no money") })
	r.Handle(manager.Tag{A: 3}, func(*manager.Call) { panic("broken") })
	r.Handle(manager.Tag{A: 4}, func(c *manager.Call) {
		reply := c.Detach()
		go func() { _ = reply.Answer(map[uint32]any{0: reply.Link().String()}) }()
	})
	r.Handle(manager.Tag{A: 5}, func(c *manager.Call) {
		reply := c.Detach()
		go func() { _ = reply.Fail(100, "later") }()
	})
	s, u := routed(t, &r)
	text := func(v string) *pb.Value { return &pb.Value{Kind: &pb.Value_String_{String_: v}} }
	for _, c := range []struct {
		name string
		ask  *pb.Message
		code int64 // 0: no error
		body map[uint32]*pb.Value
	}{
		{"hello", request(1, 0, 10, 0), 0, map[uint32]*pb.Value{0: text("Hello world")}},
		{"another", request(1, 1, 11, 41), 0,
			map[uint32]*pb.Value{0: num(42), 1: text("(1,1)"), 2: {Kind: &pb.Value_Bool{}}}},
		{"unknown", request(9, 9, 12, 0), manager.CodeUnknownTag, map[uint32]*pb.Value{0: text("unknown tag (9,9)")}},
		{"its own error", request(2, 0, 13, 0), 17, map[uint32]*pb.Value{0: text("no money")}},
		{"panic", request(3, 0, 14, 0), manager.CodePanic, map[uint32]*pb.Value{0: text("the handler failed")}},
		{"after a panic", request(1, 1, 15, 1), 0,
			map[uint32]*pb.Value{0: num(2), 1: text("(1,1)"), 2: {Kind: &pb.Value_Bool{}}}},
		{"detached", request(4, 0, 16, 0), 0, map[uint32]*pb.Value{0: text("192.0.2.7:8000:1:1")}},
		{"detached error", request(5, 0, 17, 0), 100, map[uint32]*pb.Value{0: text("later")}},
	} {
		want := &pb.Message{Header: c.ask.GetHeader(), Body: c.body}
		got := u.ask(c.ask)
		if c.code != 0 {
			want.Header[manager.HeaderError] = num(c.code)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", c.name, got, want)
		}
	}
	if st := s.Stats(); st.Panics != 1 || st.NoTag != 1 {
		t.Errorf("%+v", st)
	}
}

func TestRouterMalformed(t *testing.T) {
	s, u := routed(t, new(manager.Router))
	marshal := func(m *pb.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	text := &pb.Value{Kind: &pb.Value_String_{String_: "1"}}
	for name, payload := range map[string][]byte{
		"garbage":     {0xff, 0xff},
		"cut":         marshal(request(1, 0, 3, 4))[:9],
		"empty":       nil,
		"no second":   marshal(&pb.Message{Header: map[uint32]*pb.Value{1: num(1), 3: num(77)}}),
		"not a int":   marshal(&pb.Message{Header: map[uint32]*pb.Value{1: num(1), 2: text, 3: num(77)}}),
		"empty value": marshal(&pb.Message{Header: map[uint32]*pb.Value{1: num(1), 2: {}, 3: num(77)}}),
	} {
		got := u.askRaw(payload)
		if code := got.GetHeader()[manager.HeaderError].GetInt(); code != manager.CodeMalformed {
			t.Errorf("%s: %v", name, got)
		}
		if n := got.GetHeader()[manager.HeaderRequest]; n != nil && n.GetInt() != 77 {
			t.Errorf("%s: request number %v", name, n)
		}
	}
	if n := s.Stats().Malformed; n != 6 {
		t.Errorf("%d counted", n)
	}
}

func TestHandleRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(*manager.Call)
		want string
	}{
		"twice": {func(*manager.Call) {}, "tag (1,0) is handled twice"},
		"nil":   {nil, "tag (1,0) has a nil function"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if v, _ := recover().(string); !strings.Contains(v, c.want) {
					t.Errorf("%q, want %q in it", v, c.want)
				}
			}()
			var r manager.Router
			if c.f != nil {
				r.Handle(manager.Tag{A: 1}, c.f)
			}
			r.Handle(manager.Tag{A: 1}, c.f)
		})
	}
}

// Each Go type goes into a Value and comes out of a Call.
func TestValues(t *testing.T) {
	var r manager.Router
	r.Handle(manager.Tag{A: 1}, func(c *manager.Call) {
		_ = c.Answer(map[uint32]any{
			0: c.Int(0), 1: c.Double(1), 2: c.Bool(2), 3: c.String(3), 4: c.Bytes(4), 5: c.Value(5),
			6: []any{int8(1), int16(2), int32(3), int(len(c.List(6)))},
			7: map[uint32]any{1: uint8(1), 2: uint16(2), 3: uint32(len(c.Map(5)))},
			8: float32(0.5),
		})
	})
	_, u := routed(t, &r)
	list := func(v ...*pb.Value) *pb.Value { return &pb.Value{Kind: &pb.Value_List{List: &pb.List{Items: v}}} }
	fields := func(m map[uint32]*pb.Value) *pb.Value {
		return &pb.Value{Kind: &pb.Value_Map{Map: &pb.Map{Fields: m}}}
	}
	ask := request(1, 0, 1, math.MinInt64)
	ask.Body[1] = &pb.Value{Kind: &pb.Value_Double{Double: 0.25}}
	ask.Body[2] = &pb.Value{Kind: &pb.Value_Bool{Bool: true}}
	ask.Body[3] = &pb.Value{Kind: &pb.Value_String_{String_: "grün"}}
	ask.Body[4] = &pb.Value{Kind: &pb.Value_Bytes{Bytes: []byte{0xff}}}
	ask.Body[5] = fields(map[uint32]*pb.Value{9: num(9)})
	ask.Body[6] = list(num(1), num(1), num(1), num(1))
	want := proto.Clone(ask).(*pb.Message)
	want.Body[6] = list(num(1), num(2), num(3), num(4))
	want.Body[7] = fields(map[uint32]*pb.Value{1: num(1), 2: num(2), 3: num(1)})
	want.Body[8] = &pb.Value{Kind: &pb.Value_Double{Double: 0.5}}
	if got := u.ask(ask); !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEncode(t *testing.T) {
	b, err := manager.Encode(manager.Tag{A: 3, B: -1}, map[uint32]any{0: "bob", 7: 5})
	if err != nil {
		t.Fatal(err)
	}
	var got pb.Message
	want := &pb.Message{Header: map[uint32]*pb.Value{1: num(3), 2: num(-1)},
		Body: map[uint32]*pb.Value{0: {Kind: &pb.Value_String_{String_: "bob"}}, 7: num(5)}}
	if err := proto.Unmarshal(b, &got); err != nil || !proto.Equal(&got, want) {
		t.Errorf("%v, %v", &got, err)
	}
	if _, err := manager.Encode(manager.Tag{}, map[uint32]any{0: struct{}{}}); !errors.Is(err, manager.ErrValue) {
		t.Errorf("%v, want ErrValue", err)
	}
}

func TestBadValues(t *testing.T) {
	for name, v := range map[string]any{
		"nil": nil, "struct": struct{}{}, "nil value": (*pb.Value)(nil), "uint64": uint64(1),
		"in a list": []any{1, struct{}{}}, "in a map": map[uint32]any{1: struct{}{}},
	} {
		if _, err := manager.NewValue(v); !errors.Is(err, manager.ErrValue) {
			t.Errorf("%s: %v, want ErrValue", name, err)
		}
	}
	var r manager.Router
	r.Handle(manager.Tag{A: 1}, func(c *manager.Call) {
		for _, bad := range []any{struct{}{}, "\xff"} {
			if err := c.Answer(map[uint32]any{0: bad}); !errors.Is(err, manager.ErrValue) {
				t.Errorf("Answer: %v, want ErrValue", err)
			}
			if err := c.Detach().Answer(map[uint32]any{0: bad}); !errors.Is(err, manager.ErrValue) {
				t.Errorf("Reply.Answer: %v, want ErrValue", err)
			}
		}
		if err := c.Fail(20, "\xff"); !errors.Is(err, manager.ErrValue) {
			t.Errorf("Fail: %v, want ErrValue", err)
		}
		_ = c.Answer(nil)
	})
	_, u := routed(t, &r)
	u.ask(request(1, 0, 1, 1))
}
