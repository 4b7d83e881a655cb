package h2

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// head is what is kept of a head.
type head struct {
	size                                     int
	http, contentType, status, text, packing string
	method, path                             string // of a request
}

// field is called for each field of a head as it is unpacked.
func (h *head) field(f hpack.HeaderField) {
	if h.size += int(f.Size()); h.size > maxHead {
		return
	}
	switch f.Name {
	case ":status":
		h.http = f.Value
	case ":method":
		h.method = f.Value
	case ":path":
		h.path = f.Value
	case "content-type":
		h.contentType = f.Value
	case "grpc-status":
		h.status = f.Value
	case "grpc-message":
		h.text = f.Value
	case "grpc-encoding":
		h.packing = f.Value
	}
}

// headers begins a head: RFC 9113, section 6.2.
func (c *Call) headers(f frame, b []byte) error {
	in := &c.in
	if f.id != streamID {
		return c.broken(http2.ErrCodeProtocol, "HEADERS on stream %d", f.id)
	}
	pad, skip := 0, 0
	if f.flags.Has(http2.FlagHeadersPadded) {
		if skip = 1; len(b) > 0 {
			pad = int(b[0])
		}
	}
	if f.flags.Has(http2.FlagHeadersPriority) {
		skip += 5
	}
	if skip+pad > len(b) {
		return c.broken(http2.ErrCodeProtocol, "padding of %d bytes in a frame of %d", pad, len(b))
	}
	in.opened, in.closes, in.block = true, f.flags.Has(http2.FlagHeadersEndStream), in.block[:0]
	return c.gather(b[skip:len(b)-pad], f.flags.Has(http2.FlagHeadersEndHeaders))
}

func (c *Call) continued(f frame, b []byte) error {
	if !c.in.opened {
		return c.broken(http2.ErrCodeProtocol, "CONTINUATION of nothing")
	}
	return c.gather(b, f.flags.Has(http2.FlagContinuationEndHeaders))
}

// gather collects the parts of a head, which can only be unpacked as a whole.
func (c *Call) gather(b []byte, last bool) error {
	in := &c.in
	if len(in.block)+len(b) > maxHead {
		return c.refuse(http2.ErrCodeFrameSize, codes.Internal, "peer header list size exceeded limit")
	}
	in.block = append(in.block, b...)
	if !last {
		return nil
	}
	in.opened, in.head = false, head{}
	_, err := in.unpack.Write(in.block)
	if err == nil {
		err = in.unpack.Close()
	}
	in.block = nil
	switch {
	case in.head.size > maxHead:
		return c.refuse(http2.ErrCodeFrameSize, codes.Internal, "peer header list size exceeded limit")
	case err != nil:
		return c.broken(http2.ErrCodeCompression, "%v", err)
	}
	if c.server {
		return c.asked(&in.head)
	}
	return c.headed(&in.head)
}

// headed obeys a head: the first one, or the trailers, or both in one.
func (c *Call) headed(h *head) error {
	in := &c.in
	if in.greeted && !in.closes {
		return c.refuse(http2.ErrCodeProtocol, codes.Internal, "a HEADERS frame cannot appear in the middle of a stream")
	}
	if !in.greeted {
		if code, err := strconv.Atoi(h.http); err == nil && code >= 100 && code < 200 && !in.closes {
			return nil // informational: another one follows
		}
		if !isGRPC(h.contentType) {
			return c.refuse(http2.ErrCodeProtocol, ofHTTP(h.http), "%s", notGRPC(h))
		}
		in.greeted = true
		if h.packing != "identity" {
			in.packing = h.packing
		}
	}
	if !in.closes {
		return nil
	}
	return c.finish(c.verdict(h), false)
}

// verdict is how the call ended by its trailers.
func (c *Call) verdict(h *head) error {
	code := codes.Unknown
	if h.status != "" {
		n, err := strconv.ParseUint(h.status, 10, 31)
		if err != nil {
			return status.Errorf(codes.Unknown, "transport: malformed grpc-status: %v", err)
		}
		code = codes.Code(n)
	}
	switch {
	case code != codes.OK:
		return status.Error(code, decodeText(h.text))
	case c.in.have > 0:
		return status.Error(codes.Internal, io.ErrUnexpectedEOF.Error())
	}
	return io.EOF
}

// isGRPC says whether a content type is gRPC's, with or without a subtype.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// notGRPC tells what answered instead.
func notGRPC(h *head) string {
	var parts []string
	if code, err := strconv.Atoi(h.http); err != nil {
		parts = append(parts, "malformed header: missing HTTP status")
	} else {
		parts = append(parts, fmt.Sprintf("unexpected HTTP status code received from server: %d (%s)", code, http.StatusText(code)))
	}
	if h.contentType == "" {
		return strings.Join(append(parts, "malformed header: missing HTTP content-type"), "; ")
	}
	return strings.Join(append(parts, fmt.Sprintf("transport: received unexpected content-type %q", h.contentType)), "; ")
}

// decodeText undoes the percent-encoding of grpc-message; what is none stays as it is.
func decodeText(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// encodeText is the percent-encoding of grpc-message: what is no printable ASCII, and the percent sign.
func encodeText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
