package dispatch_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"edged/dispatch"
)

// sink is a ResponseWriter that costs nothing.
type sink struct {
	header http.Header
	bytes  int
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	return len(b), nil
}

// metropolis is a service of 200 load balancers with ten gateways each.
func metropolis(t testing.TB) *service {
	t.Helper()
	f := &fleets{live: 1}
	var slbs []dispatch.SLB
	for i := range 200 {
		name := fmt.Sprintf("sh-%d", i)
		slbs = append(slbs, slb(name, fmt.Sprintf("203.0.113.%d:7000", i)))
		for k := range 10 {
			f.put(gate(fmt.Sprintf("g%d-%d", i, k), name, float64(i*k%97)/97))
		}
	}
	s := run(t, f, slbs)
	<-s.Began()
	return s
}

// BenchmarkHandler is what one answer costs at 200 load balancers with 2,000 gateways, without net/http around it.
func BenchmarkHandler(b *testing.B) {
	s := metropolis(b)
	for _, target := range []string{"/v1/addresses", "/v1/addresses?n=3"} {
		b.Run(target, func(b *testing.B) {
			h, r, w := s.Handler(), httptest.NewRequest("GET", target, nil), &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(w.bytes)/float64(b.N), "B/answer")
		})
	}
}

// TestAnswerAllocations: what an answer allocates does not grow with the fleet: two objects, of its length's header line. The
// race detector empties pools at random, so the bound is wider.
func TestAnswerAllocations(t *testing.T) {
	s := metropolis(t)
	h, r, w := s.Handler(), httptest.NewRequest("GET", "/v1/addresses", nil), &sink{header: http.Header{}}
	if n := testing.AllocsPerRun(500, func() { h.ServeHTTP(w, r) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
}
