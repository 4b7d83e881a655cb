package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// settingAlone is a setting by which Dial tells that the connection will never have more than one call. It is from the range for
// experiments (RFC 9113, section 11.3), and who does not know it ignores it (section 6.5.2). A setting belongs to a connection: where
// a proxy stands between, it does not come through.
const settingAlone = http2.SettingID(0xf1ed)

// Sniff reads what a client says first, and tells whether it is Dial of this package: then Accept serves it. What was read is
// returned in any case, so that something else can serve the connection, even if it is no HTTP/2 at all. How long it takes
// is for the connection's deadline to bound.
func Sniff(conn net.Conn) (read []byte, alone bool, err error) {
	var buf [len(http2.ClientPreface) + headLen + frameLen]byte
	for n := 0; ; {
		k, err := conn.Read(buf[n:])
		n += k
		if told, alone := judge(buf[:n]); told {
			return buf[:n], alone, nil
		}
		if err != nil {
			return buf[:n], false, err
		}
	}
}

// judge says whether b is enough to tell whether the first frame has the setting, and whether it has.
func judge(b []byte) (told, alone bool) {
	if n := min(len(b), len(http2.ClientPreface)); string(b[:n]) != http2.ClientPreface[:n] {
		return true, false
	}
	want := len(http2.ClientPreface) + headLen
	if len(b) < want {
		return false, false
	}
	f := parseHead(b[len(http2.ClientPreface):])
	if f.kind != http2.FrameSettings || f.flags != 0 || f.length > frameLen {
		return true, false
	}
	if len(b) < want+f.length {
		return false, false
	}
	for s := b[want : want+f.length]; len(s) >= settingLen; s = s[settingLen:] {
		if http2.SettingID(binary.BigEndian.Uint16(s)) == settingAlone && binary.BigEndian.Uint32(s[2:]) == 1 {
			alone = true
		}
	}
	return true, alone
}

// Accept serves a connection of which Sniff says that there is one call on it, whose first bytes it has read, and waits until the
// client asks for a method. Of the options Path, Authority, Polled and Lookup mean nothing. ctx counts for Accept alone. If it
// fails, the connection is closed.
func Accept(ctx context.Context, conn net.Conn, read []byte, o Options) (*Call, error) {
	o.check()
	c, err := newCall(conn, o)
	if err == nil {
		c.server = true
		c.in.r, c.in.w = len(http2.ClientPreface), copy(c.in.buf, read)
		err = setUserTimeout(c.conn.(*pooled), o.KeepAliveTimeout)
	}
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		err = c.welcome()
		if !stop() && err == nil {
			err = lost(context.Cause(ctx).Error())
		}
	}
	if err != nil {
		_ = conn.Close() // the error says more
		return nil, err
	}
	c.probe.start(c)
	return c, nil
}

// welcome says what we are, and takes frames until the client has asked for a method.
func (c *Call) welcome() error {
	c.mu.Lock()
	c.out.answers = append(c.out.answers, c.settled(nil,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.options.Window)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHead},
	)...)
	c.mu.Unlock()
	for !c.in.greeted {
		if err := c.frame(); err != nil {
			return err
		}
	}
	return nil
}

// Path is the method that the client of an accepted call asked for: "/package.Service/Method".
func (c *Call) Path() string { return c.path }

// asked obeys the only head that a client sends.
func (c *Call) asked(h *head) error {
	in := &c.in
	if in.greeted {
		return c.broken(http2.ErrCodeProtocol, "a second head")
	}
	c.mu.Lock()
	c.headLocked(false, hpack.HeaderField{Name: ":status", Value: "200"}, hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	c.mu.Unlock()
	in.greeted, in.last, c.path = true, in.closes, h.path
	if h.method != "POST" || !isGRPC(h.contentType) {
		return c.refuse(http2.ErrCodeProtocol, codes.Internal, "%s of %q with the content-type %q is no call", h.method, h.path, h.contentType)
	}
	if h.packing != "identity" {
		in.packing = h.packing
	}
	return nil
}

// half notes that the client has said all.
func (c *Call) half() error {
	if c.in.have > 0 {
		return c.refuse(http2.ErrCodeCancel, codes.Internal, "%v", io.ErrUnexpectedEOF)
	}
	c.in.last, c.in.halved = false, true
	return io.EOF
}

// headLocked appends a head to the answers, at either end. The mutex is held.
func (c *Call) headLocked(last bool, fields ...hpack.HeaderField) {
	var block, b bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0) // the peer's table then needs no care
	for _, f := range fields {
		_ = e.WriteField(f) // a buffer takes everything
	}
	_ = http2.NewFramer(&b, nil).WriteHeaders(http2.HeadersFrameParam{
		StreamID: streamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: last,
	})
	c.out.answers = append(c.out.answers, b.Bytes()...)
}

// trailLocked appends the end of an accepted call to the answers. The mutex is held.
func (c *Call) trailLocked(err error) {
	if !c.in.greeted || c.out.closed {
		return
	}
	c.out.closed = true
	s := status.New(codes.OK, "")
	if err != io.EOF {
		s = status.Convert(err)
	}
	fields := []hpack.HeaderField{{Name: "grpc-status", Value: strconv.Itoa(int(s.Code()))}}
	if text := s.Message(); text != "" {
		fields = append(fields, hpack.HeaderField{Name: "grpc-message", Value: encodeText(text[:min(len(text), maxText)])})
	}
	c.headLocked(true, fields...)
}

// Finish ends an accepted call with a gRPC status, of which nil and io.EOF are OK, and returns when the client has left, or after
// patience. Who is in Send or Recv finds the end. Any goroutine may call it, once.
func (c *Call) Finish(err error, patience time.Duration) {
	if err == nil {
		err = io.EOF
	}
	conn, until := c.conn.(*pooled), time.Now().Add(patience)
	_ = conn.SetWriteDeadline(until) // what can go wrong shows when it is used
	c.probe.stop()
	c.mu.Lock()
	if c.end == nil { // else the client knows it, or has left
		c.end, c.ours = err, true
		c.moved.Broadcast()
		c.trailLocked(err)
	}
	c.mu.Unlock()
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	c.stead.mu.Lock() // nobody reads any more
	_ = conn.SetReadDeadline(until)
	c.stead.mu.Unlock()
	c.flushAll()
	// To close what has input would reset the connection, and the client might lose what it has not read. It leaves when it has.
	for rest := make([]byte, 4096); ; {
		if _, err := conn.Conn.Read(rest); err != nil {
			break
		}
	}
	_ = conn.Close()
	c.flusher.Wait()
}

// flushAll writes the answers, after whoever writes now. It waits for the socket.
func (c *Call) flushAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out.writing {
		c.moved.Wait()
	}
	if len(c.out.answers) > 0 && !c.out.failed {
		c.out.begin()
		_ = c.write() // nobody is left to be told
	}
}
