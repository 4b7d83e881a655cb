package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
)

// rawPeer speaks HTTP/2 frame by frame, as no library would.
type rawPeer struct {
	net.Conn
	*http2.Framer
	t *testing.T
}

// dialRaw connects and says what a client begins with. A window of its own is for streams that open later.
func dialRaw(t *testing.T, address string, s ...http2.Setting) *rawPeer {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, programLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(programLimit)); err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{c, http2.NewFramer(c, c), t}
	p.AllowIllegalWrites = true
	p.bytes(http2.ClientPreface)
	p.check(p.WriteSettings(s...))
	return p
}

func (p *rawPeer) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) bytes(text string) {
	p.t.Helper()
	_, err := p.Write([]byte(text))
	p.check(err)
}

// head opens a stream.
func (p *rawPeer) head(id uint32) {
	p.t.Helper()
	p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: request(), EndHeaders: true}))
}

func request() []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/edged.v1.Manager/Relay"}, {":authority", "a"}, {"content-type", "application/grpc"}} {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return b.Bytes()
}

// message returns a gRPC message in which a client says something.
func message(t *testing.T, payload string) []byte {
	t.Helper()
	b, err := proto.Marshal(&pb.Upstream{Items: []*pb.UpItem{from(1, nil, data, []byte(payload))}})
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// await returns the next frame of a type, and lets those pass that belong to no stream.
func (p *rawPeer) await(kind http2.FrameType) http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		p.check(err)
		if f.Header().Type == kind {
			return f
		}
		if f.Header().StreamID != 0 {
			p.t.Fatalf("got %v, want %v", f, kind)
		}
	}
}

// data returns the bytes of n messages, hello not counted if it has passed.
func (p *rawPeer) data(n int) []*pb.Downstream {
	p.t.Helper()
	var b []byte
	var all []*pb.Downstream
	for len(all) < n {
		b = append(b, p.await(http2.FrameData).(*http2.DataFrame).Data()...)
		for len(b) >= 5 && len(b) >= 5+int(binary.BigEndian.Uint32(b[1:])) {
			end := 5 + int(binary.BigEndian.Uint32(b[1:]))
			d := new(pb.Downstream)
			p.check(proto.Unmarshal(b[5:end], d))
			all, b = append(all, d), b[end:]
		}
	}
	if len(all) > n || len(b) > 0 {
		p.t.Fatalf("%d messages and %d bytes, want %d", len(all), len(b), n)
	}
	return all
}

// greeted reads up to the Manager's hello.
func (p *rawPeer) greeted() *rawPeer {
	p.t.Helper()
	h := p.await(http2.FrameHeaders).(*http2.HeadersFrame)
	fields, err := hpack.NewDecoder(4096, nil).DecodeFull(h.HeaderBlockFragment())
	p.check(err)
	if len(fields) != 2 || fields[0].Value != "200" || fields[1].Name != "content-type" || fields[1].Value != "application/grpc" {
		p.t.Fatalf("the answer's head is %v", fields)
	}
	if d := p.data(1); d[0].GetHello() == nil {
		p.t.Fatalf("got %v, want a hello", d)
	}
	return p
}

// echoes says something and awaits it.
func (p *rawPeer) echoes(id uint32, payload string) {
	p.t.Helper()
	p.check(p.WriteData(id, false, message(p.t, payload)))
	p.heard(payload)
}

func (p *rawPeer) heard(payload string) {
	p.t.Helper()
	d := p.data(1)
	if items := d[0].GetItems(); len(items) != 1 || string(items[0].GetData()) != payload {
		p.t.Fatalf("got %v, want %q", d, payload)
	}
}

// TestH2Frames: what a client may do to frames does not matter.
func TestH2Frames(t *testing.T) {
	m := serve(t, buildC(t, "cmanager"), "127.0.0.1:0")
	for _, tt := range []struct {
		name string
		say  func(p *rawPeer)
	}{
		{"padding", func(p *rawPeer) {
			p.check(p.WriteDataPadded(1, false, message(t, "padded"), make([]byte, 255)))
			p.heard("padded")
			p.check(p.WriteDataPadded(1, false, nil, make([]byte, 3)))
			p.echoes(1, "then")
		}},
		{"two messages in a frame", func(p *rawPeer) {
			p.check(p.WriteData(1, false, append(message(t, "one"), message(t, "two")...)))
			d := p.data(1)
			if items := d[0].GetItems(); len(items) != 2 || string(items[0].GetData()) != "one" || string(items[1].GetData()) != "two" {
				t.Errorf("got %v", d)
			}
		}},
		{"a message in many frames", func(p *rawPeer) {
			for _, b := range message(t, "apart") {
				p.check(p.WriteData(1, false, []byte{b}))
			}
			p.heard("apart")
		}},
		{"byte by byte", func(p *rawPeer) {
			var b bytes.Buffer
			p.check(http2.NewFramer(&b, nil).WriteData(1, false, message(t, "slow")))
			for _, c := range b.Bytes() {
				p.bytes(string([]byte{c}))
			}
			p.heard("slow")
		}},
		{"a ping", func(p *rawPeer) {
			p.check(p.WritePing(false, [8]byte{1, 2, 3}))
			if f := p.await(http2.FramePing).(*http2.PingFrame); !f.IsAck() || f.Data != [8]byte{1, 2, 3} {
				t.Errorf("got %v", f)
			}
			p.check(p.WritePing(true, [8]byte{}))
			p.echoes(1, "then")
		}},
		{"frames that mean nothing", func(p *rawPeer) {
			p.check(p.WritePriority(1, http2.PriorityParam{StreamDep: 3}))
			p.check(p.WriteRawFrame(0xbe, 0xff, 1, []byte("whatever")))
			p.check(p.WriteGoAway(0, http2.ErrCodeNo, nil))
			p.check(p.WriteWindowUpdate(99, 1))
			p.echoes(1, "then")
		}},
		{"a head in parts", func(p *rawPeer) {
			b := request()
			p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: b[:1]}))
			p.check(p.WriteContinuation(3, false, b[1:3]))
			p.check(p.WriteContinuation(3, true, b[3:]))
			p.greeted().echoes(3, "then")
		}},
		{"a stream that is reset", func(p *rawPeer) {
			p.check(p.WriteData(1, false, message(t, "cut")[:9]))
			p.check(p.WriteRSTStream(1, http2.ErrCodeCancel))
			p.check(p.WriteData(1, false, []byte("on its way")))
			p.head(3)
			p.greeted().echoes(3, "then")
		}},
		{"an end", func(p *rawPeer) {
			p.check(p.WriteData(1, true, message(t, "last")))
			p.heard("last")
			h := p.await(http2.FrameHeaders).(*http2.HeadersFrame)
			fields, err := hpack.NewDecoder(4096, nil).DecodeFull(h.HeaderBlockFragment())
			if err != nil || !h.StreamEnded() || len(fields) != 1 || fields[0].Name != "grpc-status" || fields[0].Value != "0" {
				t.Errorf("trailers %v, %v", fields, err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dialRaw(t, m.address)
			p.head(1)
			tt.say(p.greeted())
		})
	}
	if !m.alive() {
		t.Error("it ended")
	}
}

// TestH2Windows: nothing goes beyond a client's windows, whenever they change, and ours are given back.
func TestH2Windows(t *testing.T) {
	m := serve(t, buildC(t, "cmanager"), "127.0.0.1:0")
	p := dialRaw(t, m.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20})
	p.head(1)
	p.await(http2.FrameHeaders)
	p.silent()
	p.check(p.WriteWindowUpdate(1, 10))
	if n := len(p.await(http2.FrameData).(*http2.DataFrame).Data()); n != 10 {
		t.Errorf("%d bytes through a window of 10", n)
	}
	p.silent()
	p.check(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	hello := p.await(http2.FrameData).(*http2.DataFrame).Header().Length // its rest
	p.check(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	p.check(p.WriteData(1, false, message(t, "held")))
	p.check(p.WriteWindowUpdate(1, 5)) // the window was below 0
	p.silent()
	p.check(p.WriteWindowUpdate(1, 1<<20))
	p.heard("held")

	// The connection's window of 64 KiB is the narrower one from here on. hello took 10 bytes more.
	left := 65535 - 10 - int(hello) - len(message(t, "held")) + 2 // a DownItem lacks the kind
	p.check(p.WriteData(1, false, message(t, strings.Repeat("x", 70000))[:16384]))
	rest := message(t, strings.Repeat("x", 70000))[16384:]
	for len(rest) > 0 {
		n := min(len(rest), 16384)
		p.check(p.WriteData(1, false, rest[:n]))
		rest = rest[n:]
	}
	got := 0
	for got < left-10 {
		n := int(p.await(http2.FrameData).Header().Length)
		if got += n; n > 16384 {
			t.Errorf("a frame of %d bytes", n)
		}
	}
	p.silent()
	if got > left+10 {
		t.Errorf("%d bytes through a window of about %d", got, left)
	}
	p.check(p.WriteWindowUpdate(0, 1<<20))
	for got < 70000 {
		got += int(p.await(http2.FrameData).Header().Length)
	}
	if !m.alive() {
		t.Error("it ended")
	}
}

// silent says that nothing of a stream came before the answer to a ping.
func (p *rawPeer) silent() {
	p.t.Helper()
	p.check(p.WritePing(false, [8]byte{}))
	p.await(http2.FramePing)
}

// TestH2GivesBack: who sends for ever is given room for ever, on the stream and on the connection.
func TestH2GivesBack(t *testing.T) {
	p := dialRaw(t, serve(t, buildC(t, "cmanager"), "127.0.0.1:0").address)
	p.head(1)
	p.greeted()
	empty, err := proto.Marshal(&pb.Upstream{Items: []*pb.UpItem{{Session: &pb.Session{Values: map[string]string{"k": strings.Repeat("x", 16000)}}}}})
	p.check(err)
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(empty))), empty...)
	room := map[uint32]int{0: 1 << 24, 1: 1 << 20}
	for sent := 0; sent < 40<<20; sent += len(frame) {
		for room[0] < len(frame) || room[1] < len(frame) {
			w := p.await(http2.FrameWindowUpdate).(*http2.WindowUpdateFrame)
			room[w.StreamID] += int(w.Increment)
		}
		p.check(p.WriteData(1, false, frame))
		room[0] -= len(frame)
		room[1] -= len(frame)
	}
}

// TestH2Faults: whoever breaks a rule ends it, with a sentence.
func TestH2Faults(t *testing.T) {
	program := buildC(t, "cmanager")
	for _, tt := range []struct {
		name string
		say  func(p *rawPeer) error
		want string
	}{
		{"a long frame", func(p *rawPeer) error { return p.WriteData(1, false, make([]byte, 16385)) }, "a frame of 16385 bytes"},
		{"more padding than frame", func(p *rawPeer) error {
			return p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{3, 0, 0})
		}, "padding of 3 bytes"},
		{"no padding", func(p *rawPeer) error { return p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil) }, "padding of 0 bytes"},
		{"an unknown stream", func(p *rawPeer) error { return p.WriteData(3, false, nil) }, "data for stream 3"},
		{"data for the connection", func(p *rawPeer) error { return p.WriteRawFrame(http2.FrameData, 0, 0, nil) }, "data for stream 0"},
		{"behind the end", func(p *rawPeer) error {
			p.check(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			p.check(p.WriteData(1, true, message(p.t, "last")))
			return p.WriteData(1, true, nil)
		}, "data beyond the end"},
		{"an even stream", func(p *rawPeer) error {
			return p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, nil)
		}, "a head for stream 2"},
		{"within a head", func(p *rawPeer) error {
			p.check(p.WriteRawFrame(http2.FrameHeaders, 0, 3, nil))
			return p.WritePing(false, [8]byte{})
		}, "a frame of type 6 within a head"},
		{"a continuation of nothing", func(p *rawPeer) error { return p.WriteContinuation(1, true, nil) }, "more of a head"},
		{"a broken ping", func(p *rawPeer) error { return p.WriteRawFrame(http2.FramePing, 0, 0, []byte{1}) }, "a ping of 1 bytes"},
		{"broken settings", func(p *rawPeer) error { return p.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{1}) }, "settings of 1 bytes"},
		{"a huge window", func(p *rawPeer) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}, "a window of 2147483648"},
		{"a window that grows too far", func(p *rawPeer) error { return p.WriteWindowUpdate(1, 1<<31-1) }, "a window that grows"},
		{"a window that does not grow", func(p *rawPeer) error { return p.WriteWindowUpdate(0, 0) }, "a window that grows by 0"},
		{"a push promise", func(p *rawPeer) error { return p.WriteRawFrame(http2.FramePushPromise, 0, 1, []byte{0, 0, 0, 2}) }, "promises a push"},
		{"compressed", func(p *rawPeer) error { return p.WriteData(1, false, []byte{1, 0, 0, 0, 0}) }, "compressed"},
		{"too long", func(p *rawPeer) error { return p.WriteData(1, false, []byte{0, 0xff, 0, 0, 0}) }, "a message of 4278190080 bytes"},
		{"no field", func(p *rawPeer) error { return p.WriteData(1, false, []byte{0, 0, 0, 0, 1, 0x0c}) }, "a field of type 4"},
		{"half a field", func(p *rawPeer) error { return p.WriteData(1, false, []byte{0, 0, 0, 0, 2, 0x12, 9}) }, "a field of 9 bytes where 0 are left"},
		{"half a number", func(p *rawPeer) error { return p.WriteData(1, false, []byte{0, 0, 0, 0, 2, 0x18, 0x80}) }, "a number that does not end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := serve(t, program, "127.0.0.1:0")
			p := dialRaw(t, m.address)
			p.head(1)
			p.check(tt.say(p.greeted()))
			if status, said := m.fate(t); status != 1 || !strings.Contains(said, tt.want) {
				t.Errorf("status %d, it says %q, want %q", status, said, tt.want)
			}
		})
	}
}

// TestH2Preface: a client of another protocol ends it too.
func TestH2Preface(t *testing.T) {
	m := serve(t, buildC(t, "cmanager"), "127.0.0.1:0")
	c, err := net.DialTimeout("tcp", m.address, programLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	if status, said := m.fate(t); status != 1 || !strings.Contains(said, "does not begin with HTTP/2") {
		t.Errorf("status %d, it says %q", status, said)
	}
}
