package handover_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// playWriter writes records and a ring for ever: whoever looks must find each as a whole.
func playWriter() int {
	m, err := handover.OpenMemory(3)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	records, ring := m.Records(0), m.Ring(0, 0)
	cold := make([]byte, 2000)
	var ends []uint64
	for n := uint64(1); ; n++ {
		var hot [handover.HotBytes]byte
		for i := 0; i < len(hot); i += 8 {
			binary.NativeEndian.PutUint64(hot[i:], n)
		}
		i := int(n % 8)
		if n%3 == 0 {
			c := cold[:8*(n%200)]
			for j := 0; j < len(c); j += 8 {
				binary.NativeEndian.PutUint64(c[j:], n)
			}
			copy(hot[8:16], "cold now")
			records.PutAll(i, hot[:], c)
		} else {
			records.Put(i, hot[:])
		}
		if n%50 == 0 {
			records.Clear(int(n/50) % 8)
		}
		at, end, ok := ring.Append(hot[:8], hot[:n%80])
		if ok {
			ring.SetMark(at, n)
			ends = append(ends, end)
		}
		if len(ends) > 20 {
			ring.Release(ends[5])
			ends = ends[6:]
		}
	}
}

// A writer is killed at any instruction; what it left is whole.
func TestKilledWriter(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMemory(t, handover.Geometry{Shards: 1, Records: 8, Blocks: 100, Rings: 1, RingBytes: 8192})
	last := uint64(0)
	for range 40 {
		fd, err := unix.Dup(m.FD())
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "memory")
		cmd := &exec.Cmd{Path: exe, Args: []string{"writer"}, ExtraFiles: []*os.File{f}, Stdout: os.Stderr}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		time.Sleep(5*time.Millisecond + time.Duration(r.IntN(5000))*time.Microsecond) // not waited for: it is killed somewhere
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		last = checkWritten(t, reopen(t, m))
		m.Ring(0, 0).Reset()
	}
	if last == 0 {
		t.Error("nothing was ever written")
	}
}

func checkWritten(t *testing.T, m *handover.Memory) (last uint64) {
	t.Helper()
	records := m.Records(0)
	for i := range 8 {
		hot, cold, err := records.Get(i, nil, nil)
		if errors.Is(err, handover.ErrNoRecord) {
			continue
		}
		if err != nil || len(hot) != handover.HotBytes {
			t.Fatalf("record %d: %d bytes, %v", i, len(hot), err)
		}
		n := binary.NativeEndian.Uint64(hot)
		for j := 16; j < len(hot); j += 8 {
			if binary.NativeEndian.Uint64(hot[j:]) != n {
				t.Fatalf("record %d: %d beside %d", i, binary.NativeEndian.Uint64(hot[j:]), n)
			}
		}
		for j := 8; j < len(cold); j += 8 {
			if binary.NativeEndian.Uint64(cold[j:]) != binary.NativeEndian.Uint64(cold) {
				t.Fatalf("record %d: cold bytes of two writes", i)
			}
		}
		if string(hot[8:16]) == "cold now" && (len(cold) != 8*int(n%200) || len(cold) > 0 && binary.NativeEndian.Uint64(cold) != n) {
			t.Fatalf("record %d: hot bytes of %d, and %d cold ones of another write", i, n, len(cold))
		}
		last = max(last, n)
	}
	before := uint64(0)
	err := m.Ring(0, 0).Each(func(_, _, mark uint64, body []byte) {
		n := binary.NativeEndian.Uint64(body)
		if len(body) != 8+int(n%80) || mark != 0 && mark != n || before != 0 && n <= before {
			t.Fatalf("an entry of %d bytes, number %d behind %d, mark %d", len(body), n, before, mark)
		}
		before = n
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}
