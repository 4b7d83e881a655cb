package nic_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"edged/nic"
)

const fakePort = 4711

// fakeSocket answers as a kernel of the test's making.
type fakeSocket struct {
	answer  func(kind uint16, seq uint32, index int) [][]byte // to each request
	sendErr error
	readErr error // where nothing is queued
	queue   [][]byte
	asked   []uint16
	closed  int
}

func (f *fakeSocket) Send(p []byte) error {
	if f.sendErr != nil {
		return f.sendErr
	}
	kind := binary.NativeEndian.Uint16(p[4:])
	f.asked = append(f.asked, kind)
	f.queue = append(f.queue, f.answer(kind, binary.NativeEndian.Uint32(p[8:]), int(binary.NativeEndian.Uint32(p[20:])))...)
	return nil
}

func (f *fakeSocket) Receive(p []byte) (int, error) {
	if len(f.queue) == 0 {
		return 0, f.readErr
	}
	n := copy(p, f.queue[0])
	f.queue = f.queue[1:]
	return n, nil
}

func (f *fakeSocket) Port() uint32 { return fakePort }
func (f *fakeSocket) Close() error { f.closed++; return nil }

func refusal(seq uint32, errno unix.Errno) []byte {
	return message(unix.NLMSG_ERROR, seq, fakePort, binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno))))
}

// kernelOf answers kinds with what they map to; others are refused with EOPNOTSUPP.
func kernelOf(kinds map[uint16]func(seq uint32, index int) [][]byte) *fakeSocket {
	return &fakeSocket{readErr: errors.New("queue is empty"), answer: func(kind uint16, seq uint32, index int) [][]byte {
		if f := kinds[kind]; f != nil {
			return f(seq, index)
		}
		return [][]byte{refusal(seq, unix.EOPNOTSUPP)}
	}}
}

func refuse(errno unix.Errno) func(uint32, int) [][]byte {
	return func(seq uint32, _ int) [][]byte { return [][]byte{refusal(seq, errno)} }
}

func statsAnswer(seq uint32, index int) [][]byte { return [][]byte{newStats(seq, fakePort, index)} }
func linkAnswer(seq uint32, index int) [][]byte  { return [][]byte{newLink(seq, fakePort, index)} }

func TestReadFallsBack(t *testing.T) {
	type kinds = map[uint16]func(uint32, int) [][]byte
	tree := newSysfs(t)
	tree.addCounters("eth0", 2)
	for _, c := range []struct {
		name   string
		kernel kinds
		source string
		asked  int // messages for three reads
	}{
		{"answers at once", kinds{nic.RTMGetStats: statsAnswer}, "RTM_GETSTATS", 3},
		{"older than 4.7", kinds{nic.RTMGetLink: linkAnswer}, "RTM_GETLINK", 4},
		{"does not know the filter", kinds{nic.RTMGetStats: refuse(unix.EINVAL), nic.RTMGetLink: linkAnswer}, "RTM_GETLINK", 4},
		{"answers without counters", kinds{nic.RTMGetStats: func(seq uint32, index int) [][]byte {
			return [][]byte{newStats(seq, fakePort, index)[:28]}
		}, nic.RTMGetLink: linkAnswer}, "RTM_GETLINK", 4},
		{"answers something else", kinds{nic.RTMGetStats: func(seq uint32, _ int) [][]byte {
			return [][]byte{message(unix.NLMSG_DONE, seq, fakePort, make([]byte, 4))}
		}, nic.RTMGetLink: linkAnswer}, "RTM_GETLINK", 4},
		{"denies both", kinds{nic.RTMGetStats: refuse(unix.EPERM), nic.RTMGetLink: refuse(unix.EACCES)}, "sysfs", 2},
		{"knows neither", nil, "sysfs", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			sock := kernelOf(c.kernel)
			r := nic.NewReaderOf(tree.root, sock, nic.ViaStats)
			for range 3 {
				if got, err := r.Read(2, "eth0"); err != nil || got != wantCounters {
					t.Errorf("counts %+v, %v", got, err)
				}
			}
			if r.Source() != c.source || len(sock.asked) != c.asked {
				t.Errorf("source %s after %v, want %s after %d messages", r.Source(), sock.asked, c.source, c.asked)
			}
			if err := r.Close(); err != nil || sock.closed != 1 || r.OpenFiles() != 0 {
				t.Errorf("close: %v, %d times, %d left open", err, sock.closed, r.OpenFiles())
			}
		})
	}
}

func TestReadPassesOverForeignAnswers(t *testing.T) {
	given := 0
	sock := kernelOf(map[uint16]func(uint32, int) [][]byte{nic.RTMGetStats: func(seq uint32, index int) [][]byte {
		given++
		return [][]byte{
			refusal(seq-1, unix.ENODEV),        // of a request that was given up
			newStats(seq, fakePort+1, index+1), // of another socket
			{1, 2, 3},                          // no message at all
			newStats(seq+1, fakePort, index+1), // of the future
			append(newStats(seq-1, fakePort, index+1), newStats(seq, fakePort, index)...),
			newStats(seq, fakePort, index+1), // what follows the answer waits for the next read
		}
	}})
	r := nic.NewReaderOf(t.TempDir(), sock, nic.ViaStats)
	for range 3 {
		if got, err := r.Read(7, "eth0"); err != nil || got != wantCounters {
			t.Errorf("counts %+v, %v", got, err)
		}
	}
	if given != 3 || r.Source() != "RTM_GETSTATS" {
		t.Errorf("%d requests, source %s", given, r.Source())
	}
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("broken")
	flood := func(seq uint32, index int) [][]byte {
		var all [][]byte
		for range 100 {
			all = append(all, newStats(seq-1, fakePort, index))
		}
		return all
	}
	for _, c := range []struct {
		name string
		sock *fakeSocket
		want error // nil: any but ErrGone
	}{
		{"gone", kernelOf(map[uint16]func(uint32, int) [][]byte{nic.RTMGetStats: refuse(unix.ENODEV)}), nic.ErrGone},
		{"busy", kernelOf(map[uint16]func(uint32, int) [][]byte{nic.RTMGetStats: refuse(unix.EBUSY)}), unix.EBUSY},
		{"send fails", &fakeSocket{sendErr: broken}, broken},
		{"no answer", &fakeSocket{readErr: broken, answer: func(uint16, uint32, int) [][]byte { return nil }}, broken},
		{"foreign answers without end", kernelOf(map[uint16]func(uint32, int) [][]byte{nic.RTMGetStats: flood}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := nic.NewReaderOf(t.TempDir(), c.sock, nic.ViaStats)
			_, err := r.Read(2, "eth0")
			if err == nil || c.want != nil && !errors.Is(err, c.want) || c.want == nil && errors.Is(err, nic.ErrGone) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if err != nic.ErrGone && !strings.Contains(err.Error(), "eth0") {
				t.Errorf("%q does not name the interface", err)
			}
			if r.Source() != "RTM_GETSTATS" {
				t.Errorf("went on to %s", r.Source())
			}
		})
	}
}

// TestReadFiles is about names and descriptors; what the kernel does to open files is tested in a namespace.
func TestReadFiles(t *testing.T) {
	tree := newSysfs(t)
	for i := range 3 * nic.MaxOpen {
		tree.addCounters("eth"+string(rune('A'+i)), 2+i)
	}
	tree.addCounters("bad", 500)
	tree.put("class/net/bad/statistics/rx_bytes", "many")
	r := nic.NewReaderOf(tree.root, nil, nic.ViaFiles)
	for i := range 3 * nic.MaxOpen {
		if got, err := r.Read(2+i, "eth"+string(rune('A'+i))); err != nil || got != wantCounters {
			t.Fatalf("interface %d counts %+v, %v", i, got, err)
		}
		if n := r.OpenFiles(); n > nic.MaxOpen {
			t.Fatalf("%d interfaces are open", n)
		}
	}
	for _, c := range []struct {
		index int
		name  string
	}{{3, "ethA"}, {2, "none"}, {2, ""}, {2, ".."}, {2, "."}, {2, "../net/ethA"}} {
		if _, err := r.Read(1000+c.index, c.name); err != nic.ErrGone {
			t.Errorf("index %d of %q: %v", 1000+c.index, c.name, err)
		}
	}
	if _, err := r.Read(500, "bad"); err == nil || errors.Is(err, nic.ErrGone) || !strings.Contains(err.Error(), "rx_bytes") {
		t.Errorf("no number: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// addCounters makes an interface whose files hold wantCounters.
func (s sysfsTree) addCounters(name string, index int) {
	s.t.Helper()
	s.add(name, index, map[string]string{
		"statistics/rx_packets": "1000", "statistics/tx_packets": "1001", "statistics/rx_bytes": "1002", "statistics/tx_bytes": "1003",
		"statistics/rx_dropped": "1006", "statistics/tx_dropped": "1007", "statistics/rx_fifo_errors": "1014",
		"statistics/rx_missed_errors": "1015",
	})
}
