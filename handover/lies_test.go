package handover

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lie plays a predecessor to a real successor, the test binary as "echo", up to the state, and returns what that refuses it with.
func lie(t *testing.T, kind messageKind, state int) string {
	t.Helper()
	peer, theirs, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := spawn(exe, []string{"echo"}, successorEnv(fmt.Sprintf("%s=fork:%d", variable, theirs)), false, []int{theirs}, nil)
	closeFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.kill()
		if !c.ended(10 * time.Second) {
			t.Error("it does not end")
		}
		c.close()
	}()
	end := time.Now().Add(10 * time.Second)
	if err := peer.send(end, msgStart, start{freeze: time.Second}.text(), -1); err != nil {
		t.Fatal(err)
	}
	if m, err := peer.receive(context.Background(), end); err != nil || m.kind != msgHello {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := peer.send(end, kind, "", state); err != nil {
		t.Fatal(err)
	}
	m, err := peer.receive(context.Background(), end)
	if err != nil || m.kind != msgRefused {
		t.Fatalf("%+v, %v", m, err)
	}
	return m.body
}

// sealed returns a memfd with content.
func sealed(t *testing.T, content []byte, seals int) int {
	t.Helper()
	fd, err := newMemfd("test")
	if err == nil {
		_, err = unix.Write(fd, content)
	}
	if err == nil && seals != 0 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFile(fd) })
	return fd
}

// A successor believes no state, and no step out of turn.
func TestSuccessorBelievesNothing(t *testing.T) {
	poll := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 3), 4)
	good := Encode([]Section{{"poll", 1, poll}, {"echo/0", 2, nil}})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	future := bytes.Clone(good)
	future[8] = 2
	for _, tc := range []struct {
		name, want string
		kind       messageKind
		fd         int
	}{
		{"a checksum", "the checksum of poll differs", msgState, sealed(t, flipped, allSeals)},
		{"cut off", "not the", msgState, sealed(t, good[:len(good)-1], allSeals)},
		{"cut off in the table", "sections in 100 bytes", msgState, sealed(t, good[:100], allSeals)},
		{"empty", "0 bytes", msgState, sealed(t, nil, allSeals)},
		{"longer", "not the", msgState, sealed(t, append(bytes.Clone(good), 0), allSeals)},
		{"not sealed", "the file is not sealed", msgState, sealed(t, good, 0)},
		{"half sealed", "the file is not sealed", msgState, sealed(t, good, unix.F_SEAL_WRITE)},
		{"no memory at all", "the file is not sealed", msgState, int(os.Stderr.Fd())},
		{"no file", "no file came", msgState, -1},
		{"a later format", "the file's format is 2, not 1", msgState, sealed(t, future, allSeals)},
		{"a later section", "version 9 of the state's part echo/0 cannot be read", msgState, sealed(t, Encode([]Section{{"echo/0", 9, nil}}), allSeals)},
		{"an unknown section", "version 1 of the state's part wine cannot be read", msgState, sealed(t, Encode([]Section{{"wine", 1, nil}}), allSeals)},
		{"descriptors that nobody passed", "was not inherited", msgState, sealed(t, good, allSeals)},
		{"out of turn", "message 5 came instead of 3", msgGo, sealed(t, good, allSeals)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := lie(t, tc.kind, tc.fd); !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestMessages(t *testing.T) {
	want := start{trial: true, freeze: 250 * time.Millisecond, since: 17 * time.Hour, files: []File{{"admin", 7}, {"two words", 9}}}
	got, err := parseStart(want.text() + "later additions\n")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"file x y", "file 7", "file -1 a", "freeze soon", "since never"} {
		if _, err := parseStart(bad + "\n"); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	m, err := parseMessage(appendMessage(nil, msgHello, "body"))
	if err != nil || m.kind != msgHello || m.body != "body" || m.fd != -1 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"", "x", "\x02\x02later"} {
		if _, err := parseMessage([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The keeper's protocol is frozen: these bytes are what version 1 of either side sends.
func TestKeeperBytes(t *testing.T) {
	for want, got := range map[string][]byte{
		"\x01\x01\x00\x00\x00\x00\x00\x00":                                                                 appendKeeperMessage(nil, keepHello, 0),
		"\x02\x01\x01\x00\x00\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01":                                 appendKeeperMessage(nil, keepWelcome, 0, 0x0102030405060708),
		"\x03\x01\x00\x00\x01\x00\x00\x00":                                                                 appendKeeperMessage(nil, keepMemory, 1),
		"\x04\x01\x02\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00": appendKeeperMessage(nil, keepAdd, 0, 1, 2),
		"\x05\x01\x01\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00":                                 appendKeeperMessage(nil, keepRelease, 0, 9),
		"\x06\x01\x00\x00\x00\x00\x00\x00":                                                                 appendKeeperMessage(nil, keepTake, 0),
		"\x07\x01\x01\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00":                                 appendKeeperMessage(nil, keepLinks, 0, 9),
		"\x08\x01\x00\x00\x04\x03\x02\x01":                                                                 appendKeeperMessage(nil, keepTaken, 0x01020304),
		"\x09\x01\x00\x00\x01\x00\x00\x00":                                                                 appendKeeperMessage(nil, keepLeave, 1),
		"\x0a\x01\x01\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00":                                 appendKeeperMessage(nil, keepFull, 0, 9),
		"\x0b\x01\x00\x00\x00\x00\x00\x00":                                                                 appendKeeperMessage(nil, keepBusy, 0),
	} {
		if string(got) != want {
			t.Errorf("% x, want % x", got, want)
		}
	}
}

func FuzzKeeperMessage(f *testing.F) {
	f.Add(appendKeeperMessage(nil, keepAdd, 7, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseKeeperMessage(b)
		if err != nil {
			return
		}
		for i := range m.len() {
			m.key(i)
		}
	})
}

func FuzzStart(f *testing.F) {
	f.Add(start{trial: true, freeze: time.Second, files: []File{{"a", 1}}}.text())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStart(text)
		if err != nil {
			return
		}
		if again, err := parseStart(s.text()); err != nil || fmt.Sprint(again) != fmt.Sprint(s) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
	})
}
