package demo_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"edged/api/edgedpb"
	"edged/demo"
	"edged/gateway"
	"edged/offline"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// missedLetters is what bob hears when he comes back.
const missedLetters = `4 "one", 5 "two", 6 "three", 7 "four", 8 "five", 9 "six", 10 "seven", 11 "eight", 12 "nine", 13 "ten"`

// wrongLog answers otherwise than the log.
type wrongLog struct {
	gateway.OfflineLog
	change func([]offline.Entry) []offline.Entry
}

func (l wrongLog) Pull(ctx context.Context, user, device string, after uint64, limit int) (offline.Pulled, error) {
	p, err := l.OfflineLog.Pull(ctx, user, device, after, limit)
	if len(p.Entries) > 5 {
		p.Entries = l.change(p.Entries)
	}
	return p, err
}

func TestLettersFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func([]offline.Entry) []offline.Entry
		want   string
	}{
		"nothing comes": {func([]offline.Entry) []offline.Entry { return nil }, `bob has 14 "welcome back" instead of 4 "one", 5 "two"`},
		"one is lost": {func(e []offline.Entry) []offline.Entry {
			return slices.Delete(e, 4, 5)
		}, `bob has 4 "one", 5 "two", 6 "three", 7 "four", 9 "six"`},
		"another text": {func(e []offline.Entry) []offline.Entry {
			e[2].Payload = e[1].Payload
			return e
		}, `bob has 4 "one", 5 "two", 6 "two", 7 "four"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			o := fleetOptions(&out)
			o.Start = starts("gw-1", wiring{log: func(l gateway.OfflineLog) gateway.OfflineLog { return wrongLog{l, tc.change} }})
			if err := showFleet(t, o); !errors.Is(err, demo.ErrWrong) || !strings.Contains(out.String(), "wrong: "+tc.want) {
				t.Errorf("%v, want %q:\n%s", err, tc.want, out.String())
			}
		})
	}
}

// Without a queue layer there is nobody to take a letter, and who wrote it is told.
func TestLetterWithoutQueue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := client.Dial(ctx, client.Options{Addresses: []string{keep(t)}, User: "alice", Device: "phone"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer, err := c.Request(ctx, client.NewMessage(demo.TagLetter.A, demo.TagLetter.B, map[uint32]*edgedpb.Value{0: client.String("bob")}))
	if err != nil {
		t.Fatal(err)
	}
	if code := answer.GetHeader()[manager.HeaderError].GetInt(); code != manager.CodeFirst {
		t.Errorf("answered with %d: %v", code, answer)
	}
}
