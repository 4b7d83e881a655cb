package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// visitor is the client's side: somebody in a room.
type visitor struct {
	*client.Client
	ready atomic.Bool          // Client is set
	likes atomic.Int64         // as the room has them
	tell  func(string, ...any) // prints what happens; nil: nobody looks
}

// visit goes into a room. The likes come to tell, and what others write.
func visit(ctx context.Context, gateway, room, user string, tell func(string, ...any)) (*visitor, error) {
	v := &visitor{tell: tell}
	o := client.Options{Addresses: []string{gateway}, User: user, Device: "screen", OnData: v.hear}
	o.OnPush = func(p client.Push) { v.hear(p.Payload) }
	o.OnState = func(s client.State, _ error) {
		if s == client.Up && v.ready.Load() { // a link that takes the place of one that broke is in no room
			_ = v.say(tagEnter, client.String(room))
		}
	}
	var err error
	if v.Client, err = client.Dial(ctx, o); err != nil {
		return nil, err
	}
	v.ready.Store(true)
	if err := v.enter(ctx, room); err != nil {
		v.Close()
		return nil, fmt.Errorf("enter %q: %w", room, err)
	}
	return v, nil
}

// enter goes into a room and learns what there is.
func (v *visitor) enter(ctx context.Context, room string) error {
	for {
		answer, err := v.Request(ctx, client.NewMessage(tagEnter.A, tagEnter.B, map[uint32]*edgedpb.Value{0: client.String(room)}))
		switch {
		case errors.Is(err, client.ErrLost):
			continue // the next link is a new chance
		case err != nil:
			return err
		case answer.GetHeader()[manager.HeaderError] != nil:
			return errors.New(answer.GetBody()[0].GetString_())
		}
		v.newer(answer.GetBody()[0].GetInt())
		return nil
	}
}

// newer takes likes in, and says whether they are news. Pushes of several gateways' making may overtake one another, but
// likes only grow: the larger number is the newer one.
func (v *visitor) newer(likes int64) bool {
	for {
		known := v.likes.Load()
		if likes <= known {
			return false
		}
		if v.likes.CompareAndSwap(known, likes) {
			return true
		}
	}
}

// hear takes what the host says.
func (v *visitor) hear(payload []byte) {
	var m edgedpb.Message
	if proto.Unmarshal(payload, &m) != nil {
		return
	}
	switch (manager.Tag{A: m.Header[manager.HeaderTagA].GetInt(), B: m.Header[manager.HeaderTagB].GetInt()}) {
	case tagLikes, tagEnter:
		if n := m.Body[0].GetInt(); v.newer(n) {
			v.print("* %d likes", n)
		}
	case tagText:
		v.print("%s: %s", m.Body[0].GetString_(), m.Body[1].GetString_())
	}
}

func (v *visitor) print(format string, args ...any) {
	if v.tell != nil {
		v.tell(format, args...)
	}
}

func (v *visitor) say(t manager.Tag, value *edgedpb.Value) error {
	b, err := proto.Marshal(client.NewMessage(t.A, t.B, map[uint32]*edgedpb.Value{0: value}))
	if err != nil {
		return err
	}
	return v.Send(b)
}

// watch is the role "watch": a person who sees it all, likes with "+" and writes anything else.
func watch(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("room watch", flag.ContinueOnError)
	gateway := flags.String("gateway", "127.0.0.1:7000", "`address` of the gateway")
	room := flags.String("room", "live-1", "`name` of the room")
	user := flags.String("user", "", "`name` to go by")
	if err := flags.Parse(args); err != nil {
		return err
	}
	lines := log.New(out, "", 0)
	v, err := visit(ctx, *gateway, *room, *user, lines.Printf)
	if err != nil {
		return err
	}
	defer v.Close()
	lines.Printf("* %s is in %s, which has %d likes; + likes it, anything else is said to all", *user, *room, v.likes.Load())
	said := make(chan error, 1)
	go func() { said <- v.read(ctx, in) }()
	select {
	case err = <-said:
	case <-v.Done():
		err = v.Err()
	case <-ctx.Done():
	}
	return err
}

func (v *visitor) read(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var err error
		if text := lines.Text(); strings.Trim(text, "+") == "" {
			err = v.say(tagLike, client.Int(int64(len(text))))
		} else {
			err = v.say(tagWrite, client.String(text))
		}
		if err != nil {
			v.print("* not said: %v", err)
		}
	}
	<-ctx.Done()
	return lines.Err()
}

// crowd is the role "crowd": many people who like it now and then.
func crowd(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("room crowd", flag.ContinueOnError)
	gateway := flags.String("gateway", "127.0.0.1:7000", "`address` of the gateway")
	room := flags.String("room", "live-1", "`name` of the room")
	people := flags.Int("people", 100, "how many")
	pause := flags.Duration("pause", time.Second, "of each of them between two likes, on average")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	for i := range *people {
		v, err := visit(ctx, *gateway, *room, "person-"+strconv.Itoa(i), nil)
		if err != nil {
			return err
		}
		group.Go(func() {
			v.like(ctx, *pause)
			v.Close()
		})
	}
	fmt.Fprintf(out, "* %d people are in %s\n", *people, *room)
	<-ctx.Done()
	return nil
}

// like likes it now and then until ctx ends.
func (v *visitor) like(ctx context.Context, pause time.Duration) {
	for {
		select {
		case <-time.After(rand.N(2*pause + 1)):
			_ = v.say(tagLike, client.Int(1)) // the next one may find a link
		case <-ctx.Done():
			return
		}
	}
}
