package handover_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lies are what a successor says that does not keep to the protocol, step by step; each is sent when something came from the
// other side, or at once when it begins with an exclamation mark.
var lies = map[string][]string{
	"liar-silent":   {},
	"liar-version":  {"\x02\x09poll=1-1 echo=1-2"},
	"liar-head":     {"\x02"},
	"liar-formats":  {"\x02\x01poll=one"},
	"liar-ready":    {"\x04\x01"},
	"liar-running":  {"\x02\x01handover=1-1 poll=1-1 echo=1-2", "\x06\x01"},
	"liar-unknown":  {"\x02\x01poll=1-1 echo=1-2"},
	"liar-nonsense": {strings.Repeat("\xff", 5000)},
	"liar-long":     {"\x02\x01" + strings.Repeat("a=1-1 ", 8000)},
	"liar-twice":    {"\x02\x01handover=1-1 poll=1-1 echo=1-2", "\x04\x01", "\x04\x01"},
}

// playLiar sends a file along with each lie.
func playLiar() int {
	_, number, _ := strings.Cut(os.Getenv("EDGED_HANDOVER"), ":")
	fd, err := strconv.Atoi(number)
	if err != nil {
		return 1
	}
	b := make([]byte, 64<<10)
	for _, say := range lies[fault()] {
		if _, err := unix.Read(fd, b); err != nil && err != unix.EAGAIN {
			return 1
		}
		for {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); err != unix.EINTR {
				break
			}
		}
		_ = unix.Sendmsg(fd, []byte(say), unix.UnixRights(0, 1), nil, 0)
	}
	time.Sleep(time.Minute)
	return 0
}

// Whatever a successor says, the predecessor goes on.
func TestLiar(t *testing.T) {
	for name, want := range map[string]string{
		"liar-silent":   "did not say hello within",
		"liar-version":  "did not say hello: the other process speaks version 9 of the hand-over, this one 1",
		"liar-head":     "did not say hello: a message without a head",
		"liar-formats":  `"poll=one" is no format`,
		"liar-ready":    "was to say hello and sent message 4",
		"liar-running":  "was to load the state and sent message 6",
		"liar-unknown":  `does not know the state's part "handover"`,
		"liar-nonsense": "speaks version 255",
		"liar-long":     "did not say hello: a message that is cut off",
		"liar-twice":    "was to start and sent message 4",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startEcho(t)
			c := startCrowd(t, p.port, 5)
			words, ok := p.reload("fork", name, "-", "-")
			if got := strings.Join(words, " "); ok || !strings.Contains(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			c.goesOn()
		})
	}
}
