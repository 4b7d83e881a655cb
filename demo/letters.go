package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/offline"
	"edged/registry"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// lettersPatience is how long the show of letters may take.
const lettersPatience = 10 * time.Second

// The people of it.
const (
	alice = "alice"
	bob   = "bob"
	phone = "phone" // the device of each
)

// What they write: first to each other, then alice while bob is away, then once more when he is back.
var (
	greetings = [...]string{"hello", "how are you?", "see you"}
	missed    = [...]string{"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
	welcome   = "welcome back"
)

// letters is two people on two gateways who write to each other through the queue layer.
type letters struct {
	fleet      *fleet
	alice, bob *friend
	from, to   *member  // bob's gateway before he leaves, and the one that he comes back on
	missed     []letter // what bob's log has for him meanwhile
}

// friend is one of them.
type friend struct {
	name   string
	client *client.Client
	count  int         // of letters written
	heard  chan letter // what came, in that order; full: later ones are lost, and missed
}

// letter is a message as it came, or as it lies in a log.
type letter struct {
	version uint64
	from    string
	text    string
	late    bool
}

func (l letter) String() string {
	s := strconv.FormatUint(l.version, 10) + " " + strconv.Quote(l.text)
	if l.late {
		s += " late"
	}
	return s
}

// readLetter reads the payload of a push.
func readLetter(version uint64, payload []byte, late bool) letter {
	var m edgedpb.Message
	_ = proto.Unmarshal(payload, &m) // what cannot be read is a letter from nobody
	return letter{version, m.GetBody()[0].GetString_(), m.GetBody()[1].GetString_(), late}
}

func list(all []letter) string {
	var parts []string
	for _, l := range all {
		parts = append(parts, l.String())
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// showLetters returns ErrWrong if anything was lost, doubled or out of order, and nil if ctx ends before that is known.
func (f *fleet) showLetters(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, lettersPatience)
	defer cancel()
	l := &letters{fleet: f, from: f.members[1], to: f.members[0]}
	err := l.show(limited)
	for _, p := range []*friend{l.alice, l.bob} {
		if p != nil {
			p.client.Close()
		}
	}
	if err == nil { // the table of the links begins with none
		err = wait(limited, "the gateways to be empty", func() (bool, error) {
			return !slices.ContainsFunc(f.members, func(m *member) bool { return m.gateway.Links() > 0 }), nil
		})
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	fmt.Fprintln(f.o.Out, "wrong:", err)
	return ErrWrong
}

func (l *letters) show(ctx context.Context) error {
	for _, step := range []func(context.Context) error{l.begin, l.chat, l.leave, l.write, l.comeBack} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *letters) tell(format string, args ...any) {
	fmt.Fprintf(l.fleet.o.Out, "       "+format+"\n", args...)
}

// begin has both log in.
func (l *letters) begin(ctx context.Context) (err error) {
	if l.alice, err = l.fleet.login(ctx, alice, l.to); err != nil {
		return err
	}
	if l.bob, err = l.fleet.login(ctx, bob, l.from); err != nil {
		return err
	}
	l.tell("%s is on %s, %s on %s. What they write their Manager puts into edged:in; the queue layer stores it in the", alice, l.to.name, bob, l.from.name)
	l.tell("log of who it is for, looks up where that is, and has the gateway there send it")
	return nil
}

// login connects somebody to a gateway and waits until everybody finds him there.
func (f *fleet) login(ctx context.Context, name string, m *member) (*friend, error) {
	p := &friend{name: name, heard: make(chan letter, 4*len(missed))}
	var err error
	p.client, err = client.Dial(ctx, client.Options{
		Addresses: m.gateway.Addresses(), User: name, Device: phone,
		OnPush: func(push client.Push) {
			select {
			case p.heard <- readLetter(push.Version, push.Payload, push.Late):
			default:
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", name, m.name, err)
	}
	if err = f.routed(ctx, name, m.name); err != nil {
		p.client.Close()
		return nil, err
	}
	return p, nil
}

// routed waits until Redis says that somebody is on a gateway and nowhere else; with an empty name, that he is nowhere.
func (f *fleet) routed(ctx context.Context, name, gateway string) error {
	where := "Redis to have " + name + " on " + gateway
	if gateway == "" {
		where = "Redis to have " + name + " nowhere"
	}
	return wait(ctx, where, func() (bool, error) {
		routes, err := f.reader.Lookup(ctx, name)
		if gateway == "" {
			return len(routes) == 0, err
		}
		on := func(r registry.Route) bool { return r.Gateway == gateway }
		return len(routes) == 1 && slices.ContainsFunc(routes, on), err
	})
}

// chat has both write in turn, each when the other's letter has come.
func (l *letters) chat(ctx context.Context) error {
	for i, text := range greetings {
		for _, pair := range [][2]*friend{{l.alice, l.bob}, {l.bob, l.alice}} {
			from, to := pair[0], pair[1]
			if err := from.write(ctx, to.name, text); err != nil {
				return err
			}
			heard, err := to.until(ctx, text)
			if err == nil {
				err = same(to.name, heard, []letter{{uint64(i) + 1, from.name, text, false}})
			}
			if err != nil {
				return err
			}
		}
	}
	l.tell("both have written and heard %d letters, versions 1 to %d of each one's log", len(greetings), len(greetings))
	return nil
}

// leave has bob go when Redis knows what he has.
func (l *letters) leave(ctx context.Context) error {
	f := l.fleet
	err := wait(ctx, "Redis to have what "+bob+" acknowledged", func() (bool, error) {
		p, err := f.stored.Pull(ctx, bob, phone, 0, 1)
		return p.Synced == uint64(len(greetings)), err
	})
	if err != nil {
		return err
	}
	l.bob.client.Close()
	if err = f.routed(ctx, bob, ""); err == nil {
		l.tell("%s goes offline: his phone has acknowledged everything up to version %d, and no gateway has him", bob, len(greetings))
	}
	return err
}

// write has alice write to bob, who is away, and looks into his log.
func (l *letters) write(ctx context.Context) error {
	for _, text := range missed {
		if err := l.alice.write(ctx, bob, text); err != nil {
			return err
		}
	}
	err := wait(ctx, fmt.Sprintf("%d letters in the log of %s", len(missed), bob), func() (bool, error) {
		p, err := l.fleet.stored.Pull(ctx, bob, phone, 0, 0)
		l.missed = stored(p)
		return len(l.missed) >= len(missed), err
	})
	if err != nil {
		return err
	}
	var want []letter
	for i, text := range missed {
		want = append(want, letter{uint64(len(greetings) + i + 1), alice, text, false})
	}
	if err := same("the log of "+bob, l.missed, want); err != nil {
		return err
	}
	l.tell("%s writes him %d letters, which wait in his log: %s", alice, len(missed), list(l.missed))
	return nil
}

func stored(p offline.Pulled) (all []letter) {
	for _, e := range p.Entries {
		all = append(all, readLetter(e.Version, e.Payload, false))
	}
	return all
}

// comeBack has bob log in on the other gateway, with a phone that remembers nothing. A letter that alice writes then comes
// last, so that everything that is to come before it is known when it has come.
func (l *letters) comeBack(ctx context.Context) (err error) {
	if l.bob, err = l.fleet.login(ctx, bob, l.to); err != nil {
		return err
	}
	if err = l.alice.write(ctx, bob, welcome); err != nil {
		return err
	}
	heard, err := l.bob.until(ctx, welcome)
	if err != nil {
		return err
	}
	last := letter{uint64(len(greetings) + len(missed) + 1), alice, welcome, false}
	if err = same(bob, heard, append(slices.Clone(l.missed), last)); err != nil {
		return err
	}
	l.tell("%s comes back on %s and hears: %s", bob, l.to.name, list(heard[:len(missed)]))
	l.tell("exactly those %d, in their order; then %s writes %v, and he hears it at once\n", len(missed), alice, last)
	return nil
}

// write sends a letter and returns when it is in edged:in.
func (p *friend) write(ctx context.Context, to, text string) error {
	p.count++
	answer, err := p.client.Request(ctx, client.NewMessage(TagLetter.A, TagLetter.B, map[uint32]*edgedpb.Value{
		0: client.String(to), 1: client.String(text), 2: client.String(strconv.Itoa(p.count)),
	}))
	if err == nil && answer.GetHeader()[manager.HeaderError] != nil {
		err = errors.New(answer.GetBody()[0].GetString_())
	}
	if err != nil {
		return fmt.Errorf("%s writes %q: %w", p.name, text, err)
	}
	return nil
}

// until returns what comes, up to the letter with that text.
func (p *friend) until(ctx context.Context, text string) (heard []letter, err error) {
	for {
		select {
		case l := <-p.heard:
			if heard = append(heard, l); l.text == text {
				return heard, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not hear %q, but %s", p.name, text, list(heard))
		}
	}
}

// same compares what somebody has with what he should have.
func same(who string, have, want []letter) error {
	if slices.Equal(have, want) {
		return nil
	}
	return fmt.Errorf("%s has %s instead of %s", who, list(have), list(want))
}

// wait looks until something is so. An error of Redis is one that may pass.
func wait(ctx context.Context, what string, is func() (bool, error)) error {
	for {
		ok, err := is()
		if ok && err == nil {
			return nil
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited in vain for %s", what), err)
		}
	}
}
