package handover_test

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkUpgrade replaces a process with so many links, again and again, and tells how long they stood still and how long
// nobody was accepted.
func BenchmarkUpgrade(b *testing.B) {
	for _, mode := range []string{"fork", "exec"} {
		for _, links := range []int{1000, 15000} {
			b.Run(fmt.Sprintf("%s-%d", mode, links), func(b *testing.B) {
				p := startEcho(b)
				p.tell("grow %d", links)
				if w := p.expect("grown"); w[0] != "<nil>" {
					b.Skip(w)
				}
				var frozen, paused time.Duration
				for b.Loop() {
					words, ok := p.reload(mode, "none", "-", "-")
					if !ok {
						b.Fatal(words)
					}
					// running: PID, orphaned, frozen; reloaded: PID, bytes, frozen, paused
					f, _ := time.ParseDuration(words[2])
					frozen += f
					if mode == "fork" {
						p, _ := time.ParseDuration(words[6])
						paused += p
					}
				}
				if n, _ := p.stat(); n != links {
					b.Errorf("%d links", n)
				}
				b.ReportMetric(float64(frozen.Microseconds())/1000/float64(b.N), "ms-frozen/op")
				b.ReportMetric(float64(paused.Microseconds())/1000/float64(b.N), "ms-paused/op")
			})
		}
	}
}
