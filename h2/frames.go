package h2

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// frame is what stands in the head of a frame (RFC 9113, section 4.1).
type frame struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	id     uint32
}

func parseHead(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]),
		flags:  http2.Flags(b[4]),
		id:     binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1), // the first bit means nothing
	}
}

// frame takes the next frame. Of one with DATA it takes the head alone: what is in it belongs to messages. Where fill fails nothing
// is taken, so that Poll can go on from there.
func (c *Call) frame() error {
	b, err := c.ahead(headLen)
	if err != nil {
		return err
	}
	f := parseHead(b)
	if err := c.expected(f); err != nil {
		return err
	}
	if b, err = c.ahead(headLen + f.wanted()); err != nil {
		return err
	}
	if c.in.futile++; c.in.futile > maxFutile {
		return c.broken(http2.ErrCodeEnhanceYourCalm, "%d frames in a second without a byte of a message", c.in.futile)
	}
	if f.kind == http2.FrameData {
		c.in.r += headLen
		return c.data(f)
	}
	c.in.r += len(b)
	return c.control(f, b[headLen:])
}

// wanted is how many bytes behind the head frame needs at once: the length of the padding, and all that is no message.
func (f frame) wanted() int {
	switch {
	case f.kind != http2.FrameData:
		return f.length
	case f.flags.Has(http2.FlagDataPadded):
		return min(f.length, 1)
	}
	return 0
}

// expected refuses a frame that cannot come now.
func (c *Call) expected(f frame) error {
	in := &c.in
	switch {
	case f.length > frameLen:
		return c.broken(http2.ErrCodeFrameSize, "a frame of %d bytes", f.length)
	case in.first && f.kind != http2.FrameSettings:
		return c.broken(http2.ErrCodeProtocol, "the first frame is %v", f.kind)
	case in.opened && (f.kind != http2.FrameContinuation || f.id != streamID):
		return c.broken(http2.ErrCodeProtocol, "%v in the middle of a head", f.kind)
	}
	return nil
}

// data begins a DATA frame: RFC 9113, section 6.1.
func (c *Call) data(f frame) error {
	in := &c.in
	if f.id != streamID {
		return c.broken(http2.ErrCodeProtocol, "DATA on stream %d", f.id)
	}
	if !in.greeted {
		return c.refuse(http2.ErrCodeProtocol, codes.Internal, "received DATA before HEADERS")
	}
	if in.halved {
		return c.broken(http2.ErrCodeStreamClosed, "DATA after the end")
	}
	in.left, in.pad, in.last = f.length, 0, f.flags.Has(http2.FlagDataEndStream)
	if f.flags.Has(http2.FlagDataPadded) {
		if f.length == 0 {
			return c.broken(http2.ErrCodeFrameSize, "padding without its length")
		}
		in.pad = int(in.buf[in.r]) // it is there, as frame wanted it
		in.r++
		if in.left -= 1 + in.pad; in.left < 0 {
			return c.broken(http2.ErrCodeProtocol, "padding of %d bytes in a frame of %d", in.pad, f.length)
		}
	}
	if in.left > 0 {
		in.futile = 0
	}
	c.credit(f.length)
	return nil
}

// credit lets the peer send more, once it has used up half of what it may send. Whether it obeys cannot be seen from here,
// nor does it matter: what it sends too early stays in the socket until somebody wants it.
func (c *Call) credit(n int) {
	in := &c.in
	if in.owed += n; in.owed < c.options.Window/2 || in.substituted {
		return
	}
	c.mu.Lock()
	c.answer(http2.FrameWindowUpdate, 0, 0, uint32(in.owed))
	c.answer(http2.FrameWindowUpdate, 0, streamID, uint32(in.owed))
	c.mu.Unlock()
	in.owed = 0
}

// control takes any other frame. What is not known means nothing (section 5.5), nor do priorities.
func (c *Call) control(f frame, b []byte) error {
	switch f.kind {
	case http2.FrameHeaders:
		return c.headers(f, b)
	case http2.FrameContinuation:
		return c.continued(f, b)
	case http2.FrameRSTStream:
		return c.reset(f, b)
	case http2.FrameSettings:
		return c.settings(f, b)
	case http2.FramePushPromise:
		return c.broken(http2.ErrCodeProtocol, "a push, which was forbidden")
	case http2.FramePing:
		return c.ping(f, b)
	case http2.FrameGoAway:
		return c.goAway(f, b)
	case http2.FrameWindowUpdate:
		return c.windowUpdate(f, b)
	}
	return nil
}

// reset is RST_STREAM.
func (c *Call) reset(f frame, b []byte) error {
	if f.id != streamID || len(b) != 4 {
		return c.broken(http2.ErrCodeProtocol, "RST_STREAM of %d bytes on stream %d", len(b), f.id)
	}
	code := http2.ErrCode(binary.BigEndian.Uint32(b))
	return c.finish(status.Errorf(ofReset(code), "stream terminated by RST_STREAM with error code: %v", code), false)
}

func (c *Call) ping(f frame, b []byte) error {
	if f.id != 0 || len(b) != pingLen {
		return c.broken(http2.ErrCodeFrameSize, "PING of %d bytes on stream %d", len(b), f.id)
	}
	if f.flags.Has(http2.FlagPingAck) {
		return nil // that something came is what counts
	}
	c.mu.Lock()
	c.answer(http2.FramePing, http2.FlagPingAck, 0, binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]))
	c.mu.Unlock()
	return nil
}

// goAway remembers the text for the end. The stream goes on, unless the peer says that it never looked at it.
func (c *Call) goAway(f frame, b []byte) error {
	if f.id != 0 || len(b) < 8 {
		return c.broken(http2.ErrCodeFrameSize, "GOAWAY of %d bytes on stream %d", len(b), f.id)
	}
	last := binary.BigEndian.Uint32(b) & (1<<31 - 1)
	a := &c.in.away
	if last%2 == 0 && last > 0 || a.told && last > a.last {
		return c.broken(http2.ErrCodeProtocol, "GOAWAY with stream %d", last)
	}
	*a = goAway{told: true, code: http2.ErrCode(binary.BigEndian.Uint32(b[4:])), text: string(b[8:min(len(b), 8+1024)]), last: last}
	if last < streamID && !c.server { // a client tells of the server's calls, of which there are none
		return c.finish(status.Error(codes.Unavailable, "the stream is rejected because server is draining the connection"), false)
	}
	return nil
}

func (a *goAway) String() string {
	if a.text == "" {
		return fmt.Sprintf("code: %v", a.code)
	}
	return fmt.Sprintf("code: %v, debug data: %q", a.code, a.text)
}

func (c *Call) windowUpdate(f frame, b []byte) error {
	if f.id > streamID || len(b) != incrementLen {
		return c.broken(http2.ErrCodeFrameSize, "WINDOW_UPDATE of %d bytes on stream %d", len(b), f.id)
	}
	n := int64(binary.BigEndian.Uint32(b) & maxWindow)
	c.mu.Lock()
	window := &c.out.conn
	if f.id == streamID {
		window = &c.out.stream
	}
	*window += n
	over := *window > maxWindow
	c.moved.Broadcast()
	c.mu.Unlock()
	if n == 0 || over {
		return c.broken(http2.ErrCodeFlowControl, "a window grows by %d", n)
	}
	return nil
}

// settings obeys the peer's settings: RFC 9113, section 6.5.
func (c *Call) settings(f frame, b []byte) error {
	ack := f.flags.Has(http2.FlagSettingsAck)
	if f.id != 0 || len(b)%settingLen != 0 || ack && (len(b) > 0 || c.in.first) {
		return c.broken(http2.ErrCodeFrameSize, "SETTINGS of %d bytes on stream %d", len(b), f.id)
	}
	if ack {
		return nil
	}
	c.in.first = false
	c.mu.Lock()
	bad := c.out.obey(b)
	c.answer(http2.FrameSettings, http2.FlagSettingsAck, 0)
	c.moved.Broadcast()
	c.mu.Unlock()
	if bad != nil {
		return c.broken(http2.ErrCodeProtocol, "%v", *bad)
	}
	return nil
}

// obey returns a setting that cannot be. Those of the peer's receiving side count for us; our heads use no table.
func (o *writer) obey(b []byte) *http2.Setting {
	for ; len(b) > 0; b = b[settingLen:] {
		s := http2.Setting{ID: http2.SettingID(binary.BigEndian.Uint16(b)), Val: binary.BigEndian.Uint32(b[2:])}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			o.stream += int64(s.Val) - o.initial // may become negative (section 6.9.2)
			o.initial = int64(s.Val)
			if s.Val > maxWindow || o.stream > maxWindow {
				return &s
			}
		case http2.SettingMaxFrameSize:
			if s.Val < frameLen || s.Val >= 1<<24 {
				return &s
			}
			o.frame = int(s.Val)
		}
	}
	return nil
}

// broken ends the connection because the peer broke the protocol.
func (c *Call) broken(code http2.ErrCode, format string, args ...any) error {
	c.mu.Lock()
	last := uint32(0) // the last call of the peer's that we looked at
	if c.server && c.in.greeted {
		last = streamID
	}
	c.answer(http2.FrameGoAway, 0, 0, last, uint32(code))
	c.mu.Unlock()
	return c.refuse(code, codes.Unavailable, "%s", lostText(c.reading()+fmt.Sprintf(format, args...)))
}
