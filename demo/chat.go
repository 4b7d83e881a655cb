package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// chat is a few people who talk to each other through the gateway: each numbers what it says to each other one, and each
// checks the numbers that it hears.
type chat struct {
	people []*person
	done   sync.WaitGroup

	mu    sync.Mutex
	said  map[[2]int]int // by speaker and listener; guarded by mu
	heard map[[2]int]int // guarded by mu
	wrong []string       // the first things that went wrong; guarded by mu
	count int            // of heard; guarded by mu
}

type person struct {
	number int
	client *client.Client
	calls  int
}

// settle is how long the last words may take to arrive.
const settle = 3 * time.Second

// startChat lets n people log in.
func startChat(ctx context.Context, address string, n int) (*chat, error) {
	c := &chat{said: map[[2]int]int{}, heard: map[[2]int]int{}}
	for i := range n {
		p := &person{number: i}
		var err error
		p.client, err = client.Dial(ctx, client.Options{
			Addresses: []string{address}, User: "person-" + strconv.Itoa(i), Device: "demo",
			OnData: func(payload []byte) { c.hear(i, payload) },
		})
		if err != nil {
			c.close()
			return nil, fmt.Errorf("chat: person %d: %w", i, err)
		}
		c.people = append(c.people, p)
	}
	return c, nil
}

// run has everybody talk until ctx ends, and returns when all have stopped.
func (c *chat) run(ctx context.Context) {
	for _, p := range c.people {
		c.done.Add(1)
		go func() {
			defer c.done.Done()
			for ctx.Err() == nil {
				c.turn(ctx, p)
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(20+rand.IntN(60)) * time.Millisecond):
				}
			}
		}()
	}
	c.done.Wait()
}

// turn has a person do one thing.
func (c *chat) turn(ctx context.Context, p *person) {
	p.calls++
	switch {
	case p.calls%10 == 1:
		c.ask(ctx, p, client.NewMessage(TagHello.A, TagHello.B, nil), "Hello world")
	case p.calls%10 == 6:
		text := "echo " + strconv.Itoa(p.calls)
		c.ask(ctx, p, client.NewMessage(TagEcho.A, TagEcho.B, map[uint32]*edgedpb.Value{0: client.String(text)}), text)
	default:
		c.say(ctx, p)
	}
}

// ask sends a call and compares the answer.
func (c *chat) ask(ctx context.Context, p *person, m *edgedpb.Message, want string) {
	answer, err := request(ctx, p, m)
	if err != nil {
		c.complain("person %d: %v", p.number, err)
	} else if got := answer.GetBody()[0].GetString_(); got != want {
		c.complain("person %d was answered %q instead of %q", p.number, got, want)
	}
}

// say sends a numbered word to somebody else.
func (c *chat) say(ctx context.Context, p *person) {
	to := (p.number + 1 + rand.IntN(len(c.people)-1)) % len(c.people)
	pair := [2]int{p.number, to}
	c.mu.Lock()
	c.said[pair]++
	n := c.said[pair]
	c.mu.Unlock()
	answer, err := request(ctx, p, client.NewMessage(TagChat.A, TagChat.B, map[uint32]*edgedpb.Value{
		0: client.String("person-" + strconv.Itoa(to)), 1: client.String(strconv.Itoa(n)),
	}))
	if err != nil {
		c.complain("person %d: %v", p.number, err)
	} else if links := answer.GetBody()[0].GetInt(); links != 1 {
		c.complain("person %d reached %d links of person %d", p.number, links, to)
	}
}

// request waits for the answer also when the show ends meanwhile: what was begun is to be accounted for.
func request(ctx context.Context, p *person, m *edgedpb.Message) (*edgedpb.Message, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	return p.client.Request(ctx, m)
}

// hear checks what one person is told.
func (c *chat) hear(listener int, payload []byte) {
	var m edgedpb.Message
	if err := proto.Unmarshal(payload, &m); err != nil {
		c.complain("person %d heard no Message: %v", listener, err)
		return
	}
	if m.Header[manager.HeaderTagA].GetInt() != TagSaid.A || m.Header[manager.HeaderTagB].GetInt() != TagSaid.B {
		c.complain("person %d heard a Message with an unknown tag", listener)
		return
	}
	var speaker int
	_, err := fmt.Sscanf(m.Body[0].GetString_(), "person-%d", &speaker)
	n, err2 := strconv.Atoi(m.Body[1].GetString_())
	if err = errors.Join(err, err2); err != nil {
		c.complain("person %d: %v", listener, err)
		return
	}
	pair := [2]int{speaker, listener}
	c.mu.Lock()
	c.heard[pair]++
	want := c.heard[pair]
	c.count++
	c.mu.Unlock()
	if n != want {
		c.complain("person %d heard word %d of person %d instead of %d", listener, n, speaker, want)
	}
}

func (c *chat) complain(format string, args ...any) {
	const most = 20
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < most {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

// words returns how many words were heard so far, and how many things went wrong.
func (c *chat) words() (heard, wrong int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, len(c.wrong)
}

// finish waits for the last words and says what was wrong or lost.
func (c *chat) finish() (words int, wrong []string) {
	for end := time.Now().Add(settle); c.missing() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := c.missing(); n > 0 {
		c.complain("%d words were said and not heard", n)
	}
	c.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.wrong
}

func (c *chat) missing() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for pair, said := range c.said {
		n += said - c.heard[pair]
	}
	return n
}

func (c *chat) close() {
	for _, p := range c.people {
		p.client.Close()
	}
}
