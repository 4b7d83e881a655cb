package health

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// The parsers read what a kernel wrote, but no kernel is known to the end: whatever comes, they must not panic, must leave
// their input as it was, and must not return more than it can say.

// unharmed runs f over a copy of b and checks that it only read it.
func unharmed(t *testing.T, b []byte, f func(b []byte)) {
	t.Helper()
	text := bytes.Clone(b)
	f(text)
	if !bytes.Equal(text, b) {
		t.Fatalf("the input was changed from %q to %q", b, text)
	}
}

func checkGauge(t *testing.T, g Gauge) {
	t.Helper()
	if !(g.Used >= 0) || !(g.Limit >= 0) || !finite(g.Used) || !finite(g.Limit) {
		t.Fatalf("gauge %+v", g)
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add([]byte("694\t0\t2466171\n"))
	f.Add([]byte("18446744073709551616 12.34 ffffffff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		unharmed(t, b, func(b []byte) {
			if n, ok := parseNumber(b); ok {
				if again, fine := parseNumber(fmt.Append(nil, n)); !fine || again != n {
					t.Fatalf("%q is %d, which is %d", b, n, again)
				}
			}
			if n, ok := parseHex(b); ok {
				if again, fine := parseHex(fmt.Appendf(nil, "%x", n)); !fine || again != n {
					t.Fatalf("%q is %x, which is %x", b, n, again)
				}
			}
			if n, ok := parseHundredths(b); ok {
				if again, fine := parseHundredths(fmt.Appendf(nil, "%d.%02d", n/100, n%100)); !fine || again != n {
					t.Fatalf("%q is %d, which is %d", b, n, again)
				}
			}
			checkGauge(t, parseFileNr(b))
			_, _ = parseTCPMem(b)
		})
	})
}

func FuzzTCP(f *testing.F) {
	f.Add([]byte("sockets: used 17\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 49\n"))
	f.Add([]byte("TcpExt: ListenDrops TCPAbortOnMemory\nTcpExt: 5 6\n"))
	f.Add([]byte("TcpExt:\nTcpExt:"))
	f.Fuzz(func(t *testing.T, b []byte) {
		unharmed(t, b, func(b []byte) {
			_, _ = parseSockstat(b)
			if n := parseNetstat(b); n.accept.Total > 0 && !n.accept.Known || n.pressure.Total > 0 && !n.pressure.Known {
				t.Fatalf("%+v", n)
			}
		})
	})
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte("MemTotal: 1000 kB\nMemAvailable: 400 kB\n"), []byte("inactive_file 300\n"))
	f.Add([]byte("some avg10=9.00 total=0\nfull avg10=12.34 avg60=0.00\n"), []byte("max\n"))
	f.Add([]byte("0::/system.slice\n4:cpu,memory:/x\n"), []byte("100"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		unharmed(t, a, func(a []byte) {
			unharmed(t, b, func(b []byte) {
				g := parseMeminfo(a)
				checkGauge(t, g)
				if g.Used > g.Limit {
					t.Fatalf("gauge %+v", g)
				}
				checkGauge(t, cgroupMemory(a, b, b))
				checkGauge(t, cgroupMemory(b, b, a))
				_, _ = parsePSI(a)
				_, _ = parseCgroup(a)
			})
		})
	})
}

func FuzzCPU(f *testing.F) {
	f.Add([]byte(softnetLine(1, 0)+softnetLine(2, 1)), []byte(softnetLine(2, 1)+softnetLine(2, 0)))
	f.Add([]byte("cpu0 10 0 0 0 0 0 0 0 0 0\n"), []byte("cpu0 10 0 0 75 0 0 25 0 9 9\n"))
	f.Add([]byte("86709230 46185188 666\n"), []byte("1 (a) b) R 24469 24469 20632 0 -1 4194304 102 0 0 0 70 30 5\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var drops softnet
		var shares softirqs
		unharmed(t, a, func(a []byte) {
			if e := drops.take(a); e.Total > uint64(len(a))<<31 {
				t.Fatalf("drops %+v", e)
			}
			checkGauge(t, shares.take(a))
		})
		unharmed(t, b, func(b []byte) {
			drops.take(b)
			if g := shares.take(b); g.Used > 1 || g.Used < 0 {
				t.Fatalf("share %+v", g)
			}
			for _, parse := range []func([]byte) (time.Duration, bool){parseSchedstat, parseThreadStat} {
				if d, ok := parse(b); ok && d < 0 {
					t.Fatalf("%v on a CPU", d)
				}
			}
		})
	})
}
