package h2_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"edged/h2"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestFaults(t *testing.T) {
	frame := func(kind http2.FrameType, flags http2.Flags, id uint32, b string) func(*peer) error {
		return func(p *peer) error { return p.fr.WriteRawFrame(kind, flags, id, []byte(b)) }
	}
	say := func(b []byte) func(*peer) error { return func(p *peer) error { return p.fr.WriteData(1, false, b) } }
	ok := (*peer).ok
	end := func(fields ...string) func(*peer) error { return func(p *peer) error { return p.trailers(fields...) } }
	type steps = []func(*peer) error
	tests := []struct {
		name  string
		play  steps
		first string // message
		code  codes.Code
		text  string // part of it
	}{
		{"two in a frame", steps{ok, say(append(message("a"), message("b")...)), end("grpc-status", "3")}, "a", codes.InvalidArgument, ""},
		{"one in three frames", steps{ok, say(message("abc")[:2]), frame(0x99, 0xff, 77, "?"), say(message("abc")[2:6]), say(message("abc")[6:]), end("grpc-status", "3")}, "abc", codes.InvalidArgument, ""},
		{"padding", steps{ok, frame(http2.FrameData, http2.FlagDataPadded, 1, "\x04"+string(message("a"))+"\x00\x00\x00\x00"), end("grpc-status", "9")}, "a", codes.FailedPrecondition, ""},
		{"padding alone", steps{ok, frame(http2.FrameData, http2.FlagDataPadded, 1, "\x02\x00\x00"), say(message("a")), end("grpc-status", "9")}, "a", codes.FailedPrecondition, ""},
		{"too much padding", steps{ok, frame(http2.FrameData, http2.FlagDataPadded, 1, "\x04\x00\x00\x00")}, "", codes.Unavailable, "padding"},
		{"padding without length", steps{ok, frame(http2.FrameData, http2.FlagDataPadded, 1, "")}, "", codes.Unavailable, "padding"},
		{"trailers alone", steps{end(":status", "200", "content-type", "application/grpc+proto", "grpc-status", "12", "grpc-message", "what%3F%zz%")}, "", codes.Unimplemented, "what?%zz%"},
		{"no status", steps{ok, end("x", "y")}, "", codes.Unknown, ""},
		{"a status that is none", steps{ok, end("grpc-status", "many")}, "", codes.Unknown, "malformed grpc-status"},
		{"an end in the middle", steps{ok, say(message("abc")[:6]), end("grpc-status", "0")}, "", codes.Internal, "unexpected EOF"},
		{"an error in the middle", steps{ok, say(message("abc")[:6]), end("grpc-status", "14")}, "", codes.Unavailable, ""},
		{"an end without trailers", steps{ok, frame(http2.FrameData, http2.FlagDataEndStream, 1, string(message("a")))}, "a", codes.Internal, "without sending trailers"},
		{"not gRPC", steps{end(":status", "404", "content-type", "text/html")}, "", codes.Unimplemented, `404 (Not Found); transport: received unexpected content-type "text/html"`},
		{"a bad gateway", steps{end(":status", "502")}, "", codes.Unavailable, "missing HTTP content-type"},
		{"no HTTP status", steps{end("x", "y")}, "", codes.Internal, "missing HTTP status"},
		{"almost gRPC", steps{end(":status", "200", "content-type", "application/grpcweb")}, "", codes.Unknown, "unexpected content-type"},
		{"informational before", steps{func(p *peer) error { return p.head(false, ":status", "103") }, ok, say(message("a")), end("grpc-status", "3")}, "a", codes.InvalidArgument, ""},
		{"a second head", steps{ok, ok}, "", codes.Internal, "middle of a stream"},
		{"DATA at once", steps{say(message("a"))}, "", codes.Internal, "before HEADERS"},
		{"compressed", steps{ok, say([]byte{1, 0, 0, 0, 0})}, "", codes.Internal, "identity"},
		{"compressed by name", steps{func(p *peer) error {
			return p.head(false, ":status", "200", "content-type", "application/grpc", "grpc-encoding", "gzip")
		}, say([]byte{1, 0, 0, 0, 0})}, "", codes.Internal, `"gzip"`},
		{"another form", steps{ok, say([]byte{7, 0, 0, 0, 0})}, "", codes.Internal, "payload format 7"},
		{"too large", steps{ok, say([]byte{0, 0xff, 0xff, 0xff, 0xff})}, "", codes.ResourceExhausted, "larger than max (4294967295 vs. 4194304)"},
		{"reset: refused", steps{frame(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x07")}, "", codes.Unavailable, "REFUSED_STREAM"},
		{"reset: cancel", steps{ok, frame(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08")}, "", codes.Canceled, "CANCEL"},
		{"reset: calm", steps{ok, frame(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x0b")}, "", codes.ResourceExhausted, ""},
		{"reset: unknown", steps{ok, frame(http2.FrameRSTStream, 0, 1, "\x00\x00\xff\x0b")}, "", codes.Unknown, ""},
		{"reset of another", steps{ok, frame(http2.FrameRSTStream, 0, 3, "\x00\x00\x00\x08")}, "", codes.Unavailable, "RST_STREAM"},
		{"going, not us", steps{frame(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")}, "", codes.Unavailable, "draining"},
		{"going, then gone", steps{ok, frame(http2.FrameGoAway, 0, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00bye"), say(message("a"))}, "a", codes.Unavailable, `received prior goaway: code: NO_ERROR, debug data: "bye"`},
		{"going twice, later", steps{frame(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"), frame(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x03\x00\x00\x00\x00")}, "", codes.Unavailable, "GOAWAY"},
		{"short GOAWAY", steps{frame(http2.FrameGoAway, 0, 0, "\x00")}, "", codes.Unavailable, "GOAWAY"},
		{"gone", steps{ok}, "", codes.Unavailable, "error reading from server: EOF"},
		{"a push", steps{frame(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02")}, "", codes.Unavailable, "push"},
		{"short PING", steps{frame(http2.FramePing, 0, 0, "1234567")}, "", codes.Unavailable, "PING"},
		{"short SETTINGS", steps{frame(http2.FrameSettings, 0, 0, "12345")}, "", codes.Unavailable, "SETTINGS"},
		{"a full SETTINGS ACK", steps{frame(http2.FrameSettings, 1, 0, "123456")}, "", codes.Unavailable, "SETTINGS"},
		{"window too large", steps{frame(http2.FrameSettings, 0, 0, "\x00\x04\xff\xff\xff\xff")}, "", codes.Unavailable, "INITIAL_WINDOW_SIZE"},
		{"frames too small", steps{frame(http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x00\xff")}, "", codes.Unavailable, "MAX_FRAME_SIZE"},
		{"window grows by nothing", steps{frame(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00")}, "", codes.Unavailable, "window"},
		{"window overflows", steps{frame(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff")}, "", codes.Unavailable, "window"},
		{"window of another", steps{frame(http2.FrameWindowUpdate, 0, 3, "\x00\x00\x00\x01")}, "", codes.Unavailable, "WINDOW_UPDATE"},
		{"DATA of another", steps{ok, frame(http2.FrameData, 0, 3, "x")}, "", codes.Unavailable, "DATA"},
		{"HEADERS of another", steps{frame(http2.FrameHeaders, 4, 3, "x")}, "", codes.Unavailable, "HEADERS"},
		{"a long frame", steps{frame(http2.FrameData, 0, 1, strings.Repeat("x", 16385))}, "", codes.Unavailable, "16385"},
		{"CONTINUATION of nothing", steps{frame(http2.FrameContinuation, 4, 1, "")}, "", codes.Unavailable, "CONTINUATION"},
		{"something in a head", steps{frame(http2.FrameHeaders, 0, 1, ""), frame(http2.FramePing, 0, 0, "12345678")}, "", codes.Unavailable, "middle of a head"},
		{"a head that cannot be unpacked", steps{frame(http2.FrameHeaders, 4, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")}, "", codes.Unavailable, ""},
		{"a head with too much padding", steps{frame(http2.FrameHeaders, 4|8, 1, "\x05abc")}, "", codes.Unavailable, "padding"},
		{"a head in parts, padded, with priority", steps{func(p *peer) error {
			b := string(p.block(":status", "200", "content-type", "application/grpc"))
			if err := frame(http2.FrameHeaders, 8|0x20, 1, "\x02\x00\x00\x00\x00\x00"+b[:3]+"\x00\x00")(p); err != nil {
				return err
			}
			return frame(http2.FrameContinuation, 4, 1, b[3:])(p)
		}, say(message("a")), end("grpc-status", "3")}, "a", codes.InvalidArgument, ""},
		{"an endless head", steps{frame(http2.FrameHeaders, 0, 1, ""), func(p *peer) error {
			for range 5 {
				_ = frame(http2.FrameContinuation, 0, 1, strings.Repeat("\x00", 16000))(p) // it may have left already
			}
			return nil
		}}, "", codes.Internal, "header list size"},
		{"a bomb", steps{func(p *peer) error {
			b := append([]byte{}, p.block("x", strings.Repeat("y", 3000))...)
			for range 100 {
				b = append(b, 0x80|62) // the first of the table again
			}
			return frame(http2.FrameHeaders, 4, 1, string(b))(p)
		}}, "", codes.Internal, "header list size"},
		{"frames without end", steps{ok, func(p *peer) error {
			b := strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x00\x01", 12000) // DATA without data
			_, _ = p.Write([]byte(b))                                          // it may have left already
			return nil
		}}, "", codes.Unavailable, "without a byte"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := script(t, options(), func(p *peer) error {
				for _, step := range tt.play {
					if err := step(p); err != nil {
						return err
					}
				}
				_ = p.Conn.(*net.TCPConn).CloseWrite()
				return p.untilClosed()
			})
			within(t, "the end", func() {
				got, err := drain(c)
				if status.Code(err) != tt.code || !strings.Contains(textOf(err), tt.text) {
					t.Errorf("got %v, want %v %q", err, tt.code, tt.text)
				}
				if (len(got) > 0) != (tt.first != "") || len(got) > 0 && got[0] != tt.first {
					t.Errorf("got %q, want %q", got, tt.first)
				}
				if _, again := c.Recv(nil); again != err {
					t.Errorf("then %v", again)
				}
				c.Close()
			})
		})
	}
}

func TestDialFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	tests := []struct {
		name, address, text string
	}{
		{"refused", closed.Addr().String(), "connection error: desc = \"transport: Error while dialing: dial tcp " + closed.Addr().String() + ": connect: connection refused\""},
		{"silent", silent.Addr().String(), "error reading server preface: context deadline exceeded"},
		{"gone", serveRaw(t, func(*peer) error { return nil }), "error reading server preface: "},
		{"another protocol", serveRaw(t, func(p *peer) error { _, err := io.WriteString(p, "220 mail.example ESMTP\r\n"); return err }), "error reading server preface: "},
		{"PING first", serveRaw(t, func(p *peer) error { return p.fr.WritePing(false, [8]byte{}) }), "the first frame is PING"},
		{"no name", "nobody.invalid:1", "Error while dialing"},
		{"no address", "here", "missing port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			if tt.name == "no name" {
				o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, nil }
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			_, err := h2.Dial(ctx, "tcp", tt.address, o)
			if status.Code(err) != codes.Unavailable || !strings.Contains(textOf(err), tt.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Of a name's addresses the first that answers is taken.
func TestManyAddresses(t *testing.T) {
	_, address := serve(t, "tcp", "127.0.0.1:0", echo)
	_, port, _ := net.SplitHostPort(address)
	silent, err := net.Listen("tcp", "127.0.0.3:"+port)
	if err != nil {
		t.Skip("another one has the port")
	}
	defer silent.Close()
	o := options()
	o.Lookup = func(_ context.Context, host string) (out []netip.Addr, err error) {
		if host != "manager.example" {
			t.Errorf("looked for %q", host)
		}
		for _, a := range []string{"127.0.0.2", "127.0.0.3", "::ffff:127.0.0.1"} {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := h2.Dial(ctx, "tcp", "manager.example:"+port, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bounce(t, c, []int{10, 20})
}
