package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

// inRoom is the room of a link, in its session.
var inRoom = manager.TextKey("live.room")

// mostLikes bounds what one call may add.
const mostLikes = 100

// host is the Manager's side.
type host struct {
	m      *manager.Manager
	router manager.Router
	share  float64 // of links that are asked for an acknowledgement, as the gateways are configured
	out    *log.Logger

	mu    sync.Mutex
	rooms map[string]*live // guarded by mu
}

// live is what the host knows of a room; guarded by the host's mutex.
type live struct {
	likes, told int64 // so far, and as the room was told last
	reach       reach
}

// serve is the role "manager".
func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("room manager", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:7100", "`address` that gateways dial")
	share := flags.Float64("share", 0.01, "of links that are asked: `sample` in [delivery] of the gateways")
	every := flags.Duration("every", 200*time.Millisecond, "how often a room hears of new likes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !(*share > 0 && *share <= 1) || *every <= 0 {
		return errors.New("-share is above 0 and at most 1, -every above 0")
	}
	lis, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	h := &host{share: *share, out: log.New(out, "", 0), rooms: map[string]*live{}}
	h.router.Handle(tagEnter, h.enter)
	h.router.Handle(tagLike, h.like)
	h.router.Handle(tagWrite, h.write)
	h.m = manager.New(manager.Options{ID: "room", Handler: manager.Handler{Hello: hello, Data: h.router.Serve, Acked: h.acked}})
	served := make(chan error, 1)
	go func() { served <- h.m.Serve(lis) }()
	h.out.Print("room manager ready on ", lis.Addr())
	err = h.run(ctx, *every, served)
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, h.m.Stop(end))
}

// run tells the rooms what is new until ctx ends.
func (h *host) run(ctx context.Context, every time.Duration, served <-chan error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.tell()
		case err := <-served:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func hello(e *manager.Event) {
	var h edgedpb.Hello
	if proto.Unmarshal(e.Payload, &h) != nil || h.User == "" {
		_ = e.Close(wire.ByeLoginFailed, 0, "a name, please")
		return
	}
	_ = e.Bind(h.User, h.Device)
}

// enter lets a link into a room, and out of the one where it was.
func (h *host) enter(c *manager.Call) {
	name := c.String(0)
	if name == "" {
		_ = c.Fail(manager.CodeFirst, "which room?")
		return
	}
	if before, ok := inRoom.Get(c.Event.Session); ok {
		_ = c.Event.Leave(before)
	}
	_ = c.Event.Change(inRoom.Set(name))
	_ = c.Event.Join(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = c.Answer(map[uint32]any{0: h.roomLocked(name).likes})
}

func (h *host) roomLocked(name string) *live {
	if h.rooms[name] == nil {
		h.rooms[name] = &live{}
	}
	return h.rooms[name]
}

// like counts. Nobody waits for an answer: it is the room that hears of it.
func (h *host) like(c *manager.Call) {
	name, ok := inRoom.Get(c.Event.Session)
	if n := c.Int(0); ok && n > 0 {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.roomLocked(name).likes += min(n, mostLikes)
	}
}

// write sends a text to all in the room, at every gateway. It may get lost with a link: a chat of thousands flies by anyway.
func (h *host) write(c *manager.Call) {
	name, ok := inRoom.Get(c.Event.Session)
	if !ok {
		_ = c.Fail(manager.CodeFirst, "come in first")
		return
	}
	b, err := manager.Encode(tagText, map[uint32]any{0: c.Event.Session.User(), 1: c.String(0)})
	if err == nil {
		_, err = h.m.DataTo(manager.ToRoom(name), b)
	}
	if err != nil {
		h.out.Printf("%s: not written: %v", name, err)
	}
}

// tell pushes the likes to the rooms where there are new ones.
func (h *host) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, r := range h.rooms {
		if r.likes == r.told {
			continue
		}
		b, err := manager.Encode(tagLikes, map[uint32]any{0: r.likes})
		if err == nil {
			_, err = h.m.PushTo(manager.ToRoom(name), manager.Push{Payload: b, MsgID: r.reach.next(name), Ack: manager.AckSampled})
		}
		if err != nil {
			h.out.Printf("%s: not told: %v", name, err)
			continue
		}
		r.told = r.likes
		h.out.Printf("%s: %d likes, seen by about %.0f", name, r.likes, r.reach.people(h.share))
	}
}

// acked counts who has seen the likes.
func (h *host) acked(e *manager.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range e.Receipts {
		if room, n, ok := parsePushID(r.MsgID); ok && r.Sampled && h.rooms[room] != nil {
			h.rooms[room].reach.seen(n)
		}
	}
}
