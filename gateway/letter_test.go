package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"edged/api/edgedpb"
	"edged/wire"
)

// inflate is the payload of a push that is flagged gzip.
func inflate(t *testing.T, p wire.Push) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(p.Payload))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func deflate(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// document is JSON of about n bytes.
func document(n int) []byte {
	b := []byte("[")
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"fromUserId":%d,"content":"hello"},`, i)
	}
	return append(b, "{}]"...)
}

func TestGzip(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c, other := r.loginAs("ann/1"), r.loginAs("ann/2")
	noise := make([]byte, 4000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	text := document(10 << 10)
	tests := []struct {
		name    string
		payload []byte
		allow   bool
		zipped  bool
	}{
		{"a document", text, true, true},
		{"not allowed", text, false, false},
		{"short", text[:1023], true, false},
		{"as long as is worth it", text[:1024], true, true},
		{"noise", noise, true, false},
		{"gzip", deflate(t, text), true, false},
		{"gzip of much", deflate(t, noise), true, false},
		{"a picture", append([]byte("\x89PNG\r\n"), text...), true, false},
		{"a film", append([]byte("\x00\x00\x00\x20ftypisom"), text...), true, false},
		{"empty", nil, true, false},
	}
	for i, tt := range tests {
		before := r.sum()
		p := &edgedpb.Push{Payload: tt.payload, AllowGzip: tt.allow}
		req := &edgedpb.Push{Payload: tt.payload, AllowGzip: tt.allow, MsgId: fmt.Sprint("m", i), Ack: edgedpb.Push_REQUIRED}
		m.send(push(c.ref(), p), pushing(toUser("ann"), req), pushing(toAll(), p))
		saved := uint64(0)
		for n, x := range []*client{c, c, c, other, other} {
			got := x.push()
			if (got.Flags&wire.FlagGzip != 0) != tt.zipped {
				t.Errorf("%s: push %d has flags %b", tt.name, n, got.Flags)
			}
			body := got.Payload
			if tt.zipped {
				saved += uint64(len(tt.payload) - len(body))
				body = inflate(t, got)
			}
			if !bytes.Equal(body, tt.payload) {
				t.Errorf("%s: push %d is another", tt.name, n)
			}
			if got.Flags&wire.FlagAck != 0 {
				x.ack(got.TID)
			}
		}
		after, want := r.sum(), uint64(0)
		if tt.zipped {
			want = 5
		}
		if after.Gzipped-before.Gzipped != want || after.GzipSaved-before.GzipSaved != saved {
			t.Errorf("%s: counted %d, %d bytes saved", tt.name, after.Gzipped-before.Gzipped, after.GzipSaved-before.GzipSaved)
		}
	}
	m.reports(2 * len(tests))
}

// TestTooLargeIsJudgedOnTheWire: what fits by gzip goes out.
func TestTooLargeIsJudgedOnTheWire(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.MaxFrame = 2000
	r := start(t, o)
	c := r.loginAs("ann/1")
	text := document(10 << 10)
	m.send(push(c.ref(), &edgedpb.Push{Payload: text, AllowGzip: true}), pushing(toAll(), &edgedpb.Push{Payload: text, AllowGzip: true}),
		withRef(1, push(c.ref(), &edgedpb.Push{Payload: text})), withRef(2, pushing(toAll(), &edgedpb.Push{Payload: text})))
	for range 2 {
		if got := inflate(t, c.push()); !bytes.Equal(got, text) {
			t.Error("another document came")
		}
	}
	m.until("the refusals", func(i *edgedpb.UpItem) bool {
		return i.GetRefused().GetRef() == 1 && i.GetRefused().Code == edgedpb.Refused_TOO_LARGE
	})
	m.refused(2, edgedpb.Refused_TOO_LARGE)
}

// TestRepeatedAsItWas: a repeat has the bytes of the first time, compressed once.
func TestRepeatedAsItWas(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = brisk()
	r := start(t, o)
	c := r.loginAs("ann/1")
	m.send(push(c.ref(), &edgedpb.Push{Payload: document(5000), AllowGzip: true, MsgId: "m", Ack: edgedpb.Push_REQUIRED}))
	first, again := c.push(), c.push()
	if again.Flags != first.Flags|wire.FlagAgain || again.TID != first.TID || !bytes.Equal(again.Payload, first.Payload) || string(again.MsgID) != "m" {
		t.Errorf("repeated with flags %b of %b, tid %d of %d", again.Flags, first.Flags, again.TID, first.TID)
	}
	c.ack(first.TID)
	if rep := m.reports(1)[0]; !rep.acked || rep.tries < 2 {
		t.Errorf("report %+v", rep)
	}
	if n := r.sum().Gzipped; n != 1 {
		t.Errorf("compressed %d times", n)
	}
}
