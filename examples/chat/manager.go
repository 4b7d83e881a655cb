package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

// codeNotSent answers a message that could not be taken; its sender may try again.
const codeNotSent = manager.CodeFirst

// chat is the Manager's side. It remembers nobody: who speaks stands in the session, and who is to hear of a message stands
// in its MsgID, "sender/id". Any number of them may run behind the same gateways.
type chat struct {
	m      *manager.Manager
	router manager.Router
	direct manager.Deliveries // without a queue layer
	queue  *manager.Sender    // nil: there is none
	log    *slog.Logger
}

// serve is the role "manager".
func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("chat manager", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:7100", "`address` that gateways dial")
	queue := flags.String("queue", "", "`URL` of the queue layer; empty: none")
	token := flags.String("token", "", "what the queue layer wants to be shown")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c := &chat{log: slog.New(slog.NewTextHandler(out, nil))}
	if *queue != "" {
		var err error
		if c.queue, err = manager.NewSender(manager.SenderOptions{URL: *queue, Token: *token}); err != nil {
			return err
		}
	}
	lis, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	c.start()
	served := make(chan error, 1)
	go func() { served <- c.m.Serve(lis) }()
	fmt.Fprintln(out, "chat manager ready on", lis.Addr())
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	return errors.Join(err, c.stop())
}

func (c *chat) start() {
	c.router.Handle(tagSay, c.say)
	c.m = manager.New(manager.Options{ID: "chat", Log: c.log, Handler: manager.Handler{
		Hello: c.hello, Data: c.router.Serve, Acked: c.acked, Undelivered: c.direct.Undelivered, Lost: c.direct.Lost,
	}})
}

func (c *chat) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := c.m.Stop(ctx) // first: nothing comes in any more
	c.direct.Close()
	if c.queue != nil {
		err = errors.Join(err, c.queue.Close(ctx))
	}
	return err
}

// hello lets everybody in who has a name. A real one looks at the token.
func (c *chat) hello(e *manager.Event) {
	var h edgedpb.Hello
	if proto.Unmarshal(e.Payload, &h) != nil || h.User == "" || strings.Contains(h.User, "/") {
		_ = e.Close(wire.ByeLoginFailed, 0, "a name without a slash, please")
		return
	}
	_ = e.BindSynced(h.User, h.Device, h.SyncedVersion)
}

// say takes a message.
func (c *chat) say(call *manager.Call) {
	from, to, id := call.Event.Session.User(), call.String(0), call.String(2)
	payload, err := manager.Encode(tagHear, map[uint32]any{0: from, 1: call.String(1), 2: id})
	if err != nil || from == "" || to == "" || id == "" {
		_ = call.Fail(codeNotSent, "to whom, what, and under which id?")
		return
	}
	push := manager.Push{Payload: payload, MsgID: from + "/" + id, Ack: manager.AckRequired, AllowGzip: true}
	if c.queue != nil {
		c.store(call, to, id, push)
	} else {
		c.send(call, to, id, push)
	}
}

// store gives a message to the queue layer. The sender is answered when it is stored: from then on it cannot be lost.
func (c *chat) store(call *manager.Call, to, id string, push manager.Push) {
	reply := call.Detach()
	err := c.queue.Post(manager.Message{To: manager.ToUser(to), Push: push, Offline: true}, func(_ string, err error) {
		if err != nil {
			c.log.Warn("message not stored", "err", err)
			_ = reply.Fail(codeNotSent, "not stored")
			return
		}
		_ = reply.Answer(map[uint32]any{0: id, 1: howStored})
	})
	if err != nil {
		_ = call.Fail(codeNotSent, err.Error())
	}
}

// send pushes a message to whoever is here, and tells the sender what became of it.
func (c *chat) send(call *manager.Call, to, id string, push manager.Push) {
	from := call.Event.Session.User()
	err := c.direct.PushTo(c.m, manager.ToUser(to), push, func(o manager.Outcome) {
		why := ""
		if !o.Acked {
			why = o.Reason.String()
		}
		c.result(from, id, to, why)
	})
	if err != nil && !errors.Is(err, manager.ErrPending) { // pending: the sender says it again, and it is under way
		_ = call.Fail(codeNotSent, err.Error())
		return
	}
	_ = call.Answer(map[uint32]any{0: id, 1: howSent})
}

// acked is called for messages of the queue layer too: whose they are stands in their names.
func (c *chat) acked(e *manager.Event) {
	if c.queue == nil {
		c.direct.Acked(e)
		return
	}
	for r := range e.Receipts {
		if from, id, ok := strings.Cut(string(r.MsgID), "/"); ok {
			c.result(from, id, e.Session.User(), "")
		}
	}
}

// result tells the sender, on all devices, what became of a message.
func (c *chat) result(from, id, to, why string) {
	b, err := manager.Encode(tagResult, map[uint32]any{0: id, 1: to, 2: why == "", 3: why})
	if err == nil {
		_, err = c.m.DataTo(manager.ToUser(from), b)
	}
	if err != nil {
		c.log.Warn("result not told", "err", err)
	}
}
