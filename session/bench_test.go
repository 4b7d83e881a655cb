package session_test

import (
	"runtime"
	"strings"
	"testing"

	"edged/session"
)

var link, remote, listener = []byte("192.0.2.7:80:231:2"), []byte("10.0.0.4:5031"), []byte("pub")

// hundred makes a session whose field has 100 bytes.
func hundred(b *testing.B, s *session.Store) session.Ref {
	r := s.Open(link, remote, listener, 1_700_000_000_123)
	if n := len(s.Field(r)); n != 100 {
		b.Fatalf("the field has %d bytes", n)
	}
	return r
}

// What a session costs, all told: heap before and after. In "moved" all
// sessions were opened first and outgrew their slots later, as after a mass reconnect.
func BenchmarkMemory(b *testing.B) {
	patch := encode(b, map[string]string{"auth.level": "2", "app.build": "1.2"})
	for _, c := range []struct {
		name string
		move bool
	}{{"opened", false}, {"moved", true}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				before := heap()
				s := session.NewStore(session.DefaultBytes)
				refs := make([]session.Ref, 200_000)
				for i := range refs {
					refs[i] = hundred(b, s)
				}
				for i := range refs {
					if c.move {
						refs[i], _ = s.Patch(refs[i], patch)
					}
				}
				perSession := func(n int) float64 { return float64(n) / float64(len(refs)) }
				b.ReportMetric(perSession(int(heap()-before)-4*len(refs)), "B/session")
				b.ReportMetric(perSession(s.Bytes()), "B/field")
				runtime.KeepAlive(s)
				runtime.KeepAlive(refs)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Field of random sessions among many, copied as a message's envelope is.
func BenchmarkField(b *testing.B) {
	s := session.NewStore(session.DefaultBytes)
	refs := make([]session.Ref, 1<<16)
	for i := range refs {
		refs[i] = hundred(b, s)
	}
	for _, c := range []struct {
		name string
		step int
	}{{"one", 0}, {"spread", 7919}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			dst, at := make([]byte, 0, 256), 0
			for b.Loop() {
				dst = append(dst[:0], s.Field(refs[at&(len(refs)-1)])...)
				at += c.step
			}
		})
	}
}

func BenchmarkOpenBindFree(b *testing.B) {
	s := session.NewStore(session.DefaultBytes)
	user, device := []byte("1234567"), []byte("phone")
	b.ReportAllocs()
	for b.Loop() {
		r, _ := s.Bind(hundred(b, s), user, device)
		s.Free(r)
	}
}

func BenchmarkPatch(b *testing.B) {
	for name, patch := range map[string][]byte{
		"one key":   encode(b, map[string]string{"auth.level": "2"}),
		"ten keys":  encode(b, map[string]string{"a.0": "v", "a.1": "v", "a.2": "v", "a.3": "v", "a.4": "v", "a.5": "v", "a.6": "v", "a.7": "v", "a.8": "v", "a.9": "v"}),
		"refused":   []byte(entry("a.b", strings.Repeat("v", 5000))),
		"4 MiB":     []byte(strings.Repeat(entry("a.b", "v"), 4<<20/len(entry("a.b", "v")))),
		"forbidden": encode(b, map[string]string{"auth": "2"}),
	} {
		b.Run(name, func(b *testing.B) {
			s := session.NewStore(session.DefaultBytes)
			r := hundred(b, s)
			b.ReportAllocs()
			for b.Loop() {
				r, _ = s.Patch(r, patch)
			}
		})
	}
}
