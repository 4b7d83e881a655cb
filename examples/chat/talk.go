package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"log"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// person is the client's side: reads lines "bob hello" and prints what others say.
type person struct {
	*client.Client
	out *log.Logger // one line at a time, from whatever goroutine
	ids string      // before the numbers of this process's messages

	mu sync.Mutex
	to map[string]string // who a message was for, until its result; guarded by mu
}

// talk is the role "talk".
func talk(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("chat talk", flag.ContinueOnError)
	gateway := flags.String("gateway", "127.0.0.1:7000", "`address` of the gateway")
	dispatch := flags.String("dispatch", "", "`URL` of a dispatch service, instead of -gateway")
	user := flags.String("user", "", "`name` to go by")
	device := flags.String("device", "terminal", "`name` of this device")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p := &person{out: log.New(out, "", 0), ids: newIDs(), to: map[string]string{}}
	o := client.Options{User: *user, Device: *device, OnPush: p.hear, OnData: p.result, Hole: p.hole}
	if *dispatch != "" {
		o.Dispatch = *dispatch
	} else {
		o.Addresses = []string{*gateway}
	}
	var err error
	if p.Client, err = client.Dial(ctx, o); err != nil {
		return err
	}
	defer p.Close()
	p.out.Printf("* %s is here, on link %s; say: NAME WORDS", *user, p.LinkID())
	said := make(chan error, 1)
	go func() { said <- p.read(ctx, in) }()
	select {
	case err = <-said:
	case <-p.Done():
		err = p.Err()
	case <-ctx.Done():
	}
	return err
}

// read says each line. At the end of the input the person goes on listening.
func (p *person) read(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	for n := 0; lines.Scan(); n++ {
		to, text, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			p.out.Print("* say: NAME WORDS")
			continue
		}
		p.say(ctx, to, text, p.ids+"-"+strconv.Itoa(n))
	}
	<-ctx.Done()
	return lines.Err()
}

// say sends a message until it is answered. When a link breaks before the answer, it is not known whether the message was
// taken: it goes out again with the same id, by which the second one is recognised.
func (p *person) say(ctx context.Context, to, text, id string) {
	p.mu.Lock()
	p.to[id] = to
	p.mu.Unlock()
	m := client.NewMessage(tagSay.A, tagSay.B, map[uint32]*edgedpb.Value{
		0: client.String(to), 1: client.String(text), 2: client.String(id),
	})
	for {
		answer, err := p.Request(ctx, m)
		switch {
		case errors.Is(err, client.ErrLost):
			continue
		case err != nil:
			p.out.Printf("* not said to %s: %v", to, err)
		case answer.GetHeader()[manager.HeaderError] != nil:
			p.out.Printf("* not said to %s: %s", to, answer.GetBody()[0].GetString_())
		case answer.GetBody()[1].GetString_() == howStored:
			p.out.Printf("* stored for %s", to)
		}
		return
	}
}

// hear prints what others say.
func (p *person) hear(push client.Push) {
	tag, body, err := decode(push.Payload)
	if err != nil || tag != tagHear {
		p.out.Printf("* something that is no message: %v", err)
		return
	}
	late := ""
	if push.Late {
		late = " (late)"
	}
	p.out.Printf("%s: %s%s", body[0].GetString_(), body[1].GetString_(), late)
}

// result prints what became of a message. Answers to requests do not come here.
func (p *person) result(payload []byte) {
	tag, body, err := decode(payload)
	if err != nil || tag != tagResult {
		return
	}
	p.mu.Lock()
	to, mine := p.to[body[0].GetString_()] // another device of ours may have said it
	delete(p.to, body[0].GetString_())
	p.mu.Unlock()
	switch {
	case !mine:
	case body[2].GetBool():
		p.out.Printf("* %s has it", to)
	default:
		p.out.Printf("* %s does not have it: %s", to, body[3].GetString_())
	}
}

func (p *person) hole(from, to uint64) {
	p.out.Printf("* messages %d to %d are missing; they come late or never", from, to)
}

// decode reads a Message and its tag.
func decode(b []byte) (t manager.Tag, body map[uint32]*edgedpb.Value, err error) {
	var m edgedpb.Message
	if err := proto.Unmarshal(b, &m); err != nil {
		return t, nil, err
	}
	return manager.Tag{A: m.Header[manager.HeaderTagA].GetInt(), B: m.Header[manager.HeaderTagB].GetInt()}, m.Body, nil
}

// newIDs makes up a name for this process, so that its messages are not taken for those of another one.
func newIDs() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return hex.EncodeToString(b[:])
}
