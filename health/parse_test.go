package health

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "7": 7, "0012": 12, "18446744073709551615": math.MaxUint64} {
		if n, ok := parseNumber([]byte(text)); !ok || n != want {
			t.Errorf("%q gives %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1.5", "max", "0x1", "18446744073709551616", "99999999999999999999", " 1", "1 "} {
		if n, ok := parseNumber([]byte(text)); ok {
			t.Errorf("%q gives %d", text, n)
		}
	}
}

func TestParseHex(t *testing.T) {
	for text, want := range map[string]uint32{"00000000": 0, "31ab815d": 0x31ab815d, "ffffffff": math.MaxUint32, "f": 15} {
		if n, ok := parseHex([]byte(text)); !ok || n != want {
			t.Errorf("%q gives %x, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "100000000", "0x1", "g", "-1", "FF"} {
		if n, ok := parseHex([]byte(text)); ok {
			t.Errorf("%q gives %x", text, n)
		}
	}
}

func TestParseHundredths(t *testing.T) {
	for text, want := range map[string]uint64{"0.00": 0, "5.01": 501, "100.00": 10_000} {
		if n, ok := parseHundredths([]byte(text)); !ok || n != want {
			t.Errorf("%q gives %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "5", "5.", ".50", "5.1", "5.123", "-1.00", "1.-1", "99999999999999999.00"} {
		if n, ok := parseHundredths([]byte(text)); ok {
			t.Errorf("%q gives %d", text, n)
		}
	}
}

func TestParseSockstat(t *testing.T) {
	const text = "sockets: used 17\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 49\nUDP: inuse 0 mem 3\n"
	if n, ok := parseSockstat([]byte(text)); !ok || n != 49 {
		t.Errorf("%d, %v", n, ok)
	}
	for _, text := range []string{"", "TCP:", "TCP: mem", "TCP: mem x", "TCP: inuse 3 tw 4", "UDP: inuse 0 mem 3\n"} {
		if n, ok := parseSockstat([]byte(text)); ok {
			t.Errorf("%q gives %d", text, n)
		}
	}
}

func TestParseTCPMem(t *testing.T) {
	if n, ok := parseTCPMem([]byte("287898\t383867\t575796\n")); !ok || n != 383867 {
		t.Errorf("%d, %v", n, ok)
	}
	if n, ok := parseTCPMem([]byte("287898")); ok {
		t.Errorf("one number gives %d", n)
	}
}

func TestParseNetstat(t *testing.T) {
	known := func(n uint64) Events { return Events{Total: n, Known: true} }
	for _, c := range []struct {
		name, text string
		want       netstat
	}{
		{"all", "IpExt: ListenDrops\nIpExt: 99\n" +
			"TcpExt: PruneCalled ListenOverflows ListenDrops TCPAbortOnMemory TCPMemoryPressures TCPMemoryPressuresChrono TCPReqQFullDoCookies TCPReqQFullDrop TCPRcvQDrop\n" +
			"TcpExt: 1000 1 20 300 4000 50000 600000 7000000 80000000\n", netstat{known(7600021), known(54300)}},
		{"a kernel without some", "TcpExt: SyncookiesSent ListenDrops\nTcpExt: 5 6\n", netstat{accept: known(6)}},
		{"none of them", "TcpExt: SyncookiesSent\nTcpExt: 5\n", netstat{}},
		{"values missing", "TcpExt: ListenDrops TCPAbortOnMemory\nTcpExt: 5\n", netstat{accept: known(5)}},
		{"no values", "TcpExt: ListenDrops\n", netstat{}},
		{"other values", "TcpExt: ListenDrops\nIpExt: 5\n", netstat{}},
		{"nothing", "", netstat{}},
	} {
		if got := parseNetstat([]byte(c.text)); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	const text = "MemTotal:       1000 kB\nMemFree:        100 kB\nMemAvailable:   400 kB\nBuffers:            3648 kB\n"
	if g := parseMeminfo([]byte(text)); g != (Gauge{600, 1000}) {
		t.Errorf("%+v", g)
	}
	for _, text := range []string{"", "MemTotal: 1000 kB\n", "MemTotal: 10 kB\nMemAvailable: 20 kB\n", "MemAvailable: 20 kB\n", "MemTotal: x kB\nMemAvailable: 20 kB\n"} {
		if g := parseMeminfo([]byte(text)); g != (Gauge{}) {
			t.Errorf("%q gives %+v", text, g)
		}
	}
}

func TestCgroupMemory(t *testing.T) {
	for _, c := range []struct {
		name, used, limit, stat string
		want                    Gauge
	}{
		{"v2", "1000\n", "4000\n", "anon 500\nfile 400\ninactive_file 300\n", Gauge{700, 4000}},
		{"v1", "1000\n", "4000\n", "inactive_file 1\ntotal_inactive_file 300\n", Gauge{700, 4000}},
		{"no limit", "1000\n", "max\n", "inactive_file 300\n", Gauge{}},
		{"more given back than used", "1000\n", "4000\n", "inactive_file 3000\n", Gauge{0, 4000}},
		{"no stat", "1000\n", "4000\n", "", Gauge{1000, 4000}},
		{"nothing", "", "", "", Gauge{}},
	} {
		if g := cgroupMemory([]byte(c.used), []byte(c.limit), []byte(c.stat)); g != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, g, c.want)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	for text, want := range map[string][2]string{
		"0::/system.slice/edged.service\n":             {"/system.slice/edged.service", ""},
		"9:name=systemd:/x\n4:cpu,memory:/a:b\n0::/\n": {"/", "/a:b"},
		"5:cpuset:/\n":   {"", ""},
		"":               {"", ""},
		"nonsense\n::\n": {"", ""},
	} {
		if u, m := parseCgroup([]byte(text)); u != want[0] || m != want[1] {
			t.Errorf("%q gives %q, %q", text, u, m)
		}
	}
}

func TestParsePSI(t *testing.T) {
	const text = "some avg10=9.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=12.34 avg60=0.00 avg300=0.00 total=7\n"
	if n, ok := parsePSI([]byte(text)); !ok || n != 1234 {
		t.Errorf("%d, %v", n, ok)
	}
	for _, text := range []string{"", "some avg10=9.00\n", "full\n", "full total=3\n", "full avg10=x\n"} {
		if n, ok := parsePSI([]byte(text)); ok {
			t.Errorf("%q gives %d", text, n)
		}
	}
}

func TestParseFileNr(t *testing.T) {
	if g := parseFileNr([]byte("694\t0\t2466171\n")); g != (Gauge{694, 2466171}) {
		t.Errorf("%+v", g)
	}
	if g := parseFileNr([]byte("694\t0\n")); g != (Gauge{}) {
		t.Errorf("%+v", g)
	}
}

// softnetLine has 13 columns; without a CPU it is a line of an older kernel.
func softnetLine(dropped uint32, cpu int) string {
	line := fmt.Sprintf("31ab815d %08x 00000003", dropped) + strings.Repeat(" 00000000", 9)
	if cpu >= 0 {
		line += fmt.Sprintf(" %08x 00000000 00000000", cpu)
	}
	return line + "\n"
}

func TestSoftnet(t *testing.T) {
	var s softnet
	for _, c := range []struct {
		name, text string
		total      uint64
		known      bool
	}{
		{"first", softnetLine(64844, 0) + softnetLine(18593, 1), 0, true},
		{"grows", softnetLine(64845, 0) + softnetLine(18593, 1), 1, true},
		{"another order", softnetLine(18594, 1) + softnetLine(64845, 0), 2, true},
		{"a CPU is off", softnetLine(18594, 1), 2, true},
		{"a CPU is new", softnetLine(5, 7) + softnetLine(18594, 1), 2, true},
		{"it grows", softnetLine(15, 7), 12, true},
		{"began again", softnetLine(3, 7), 12, true},
		{"and goes on", softnetLine(math.MaxUint32, 9) + softnetLine(5, 7), 14, true},
		{"wraps", softnetLine(1, 9), 16, true},
		{"not there", "", 16, false},
		{"nonsense", "x y z\n1\n", 16, false},
	} {
		if e := s.take([]byte(c.text)); e != (Events{c.total, c.known}) {
			t.Errorf("%s: %+v, want %d, %v", c.name, e, c.total, c.known)
		}
	}
	var old softnet
	old.take([]byte(softnetLine(1, -1) + softnetLine(5, -1)))
	if e := old.take([]byte(softnetLine(1, -1) + softnetLine(8, -1))); e.Total != 3 {
		t.Errorf("without the CPU's column: %+v", e)
	}
}

func TestSoftirqs(t *testing.T) {
	var s softirqs
	for _, c := range []struct {
		name, text string
		want       Gauge
	}{
		{"first", "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 0 0 0 0 0 0 0 0\ncpu1 10 0 0 0 0 0 0 0 0 0\nintr 5\n", Gauge{}},
		{"the larger share", "cpu0 10 0 0 75 0 0 25 0 9 9\ncpu1 10 0 0 10 0 0 90 0 0 0\n", Gauge{0.9, 1}},
		{"all of it", "cpu0 10 0 0 75 0 0 125 0 9 9\n", Gauge{1, 1}},
		{"nothing passed", "cpu0 10 0 0 75 0 0 125 0 9 9\n", Gauge{}},
		{"went back", "cpu0 10 0 0 275 0 0 25 0 9 9\n", Gauge{}},
		{"a short line", "cpu0 10 0 0\ncpux 1 1 1 1 1 1 1 1\n", Gauge{}},
		{"not there", "", Gauge{}},
	} {
		if g := s.take([]byte(c.text)); g != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, g, c.want)
		}
	}
}

func TestParseThread(t *testing.T) {
	if d, ok := parseSchedstat([]byte("86709230 46185188 666\n")); !ok || d != 86709230 {
		t.Errorf("schedstat: %v, %v", d, ok)
	}
	for _, text := range []string{"", "0 0 0\n", "x", "18446744073709551615 0 0"} {
		if d, ok := parseSchedstat([]byte(text)); ok {
			t.Errorf("%q gives %v", text, d)
		}
	}
	stat := func(name string, fields string) []byte { return []byte("24485 (" + name + ") " + fields) }
	const fields = "R 24469 24469 20632 0 -1 4194304 102 0 0 0 70 30 5 5 20 0 1\n"
	for _, name := range []string{"edged", "a b) c", ")))", "(R 1 2 3)", ""} {
		if d, ok := parseThreadStat(stat(name, fields)); !ok || d != time.Second {
			t.Errorf("thread %q: %v, %v", name, d, ok)
		}
	}
	for _, text := range []string{"", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", "1 (x) R 1", "1 (x) R 1 1 1 1 1 1 1 1 1 1 99999999999999999999 1 1"} {
		if d, ok := parseThreadStat([]byte(text)); ok {
			t.Errorf("%q gives %v", text, d)
		}
	}
}
