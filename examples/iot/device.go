package main

import (
	"context"
	"flag"
	"io"
	"log"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// heater is the device's side: its temperature rises while the valve is shut and falls while it is open.
type heater struct {
	temperature float64 // owned by work's goroutine
	open        atomic.Bool
	out         *log.Logger
}

// work is the role "device".
func work(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("iot device", flag.ContinueOnError)
	h := &heater{out: log.New(out, "", 0)}
	gateway := flags.String("gateway", "127.0.0.1:7000", "`address` of the gateway")
	id := flags.String("id", "", "`name` of the boiler")
	every := flags.Duration("every", time.Second, "time between two readings")
	step := flags.Float64("step", 1, "what the temperature changes from one to the next")
	deaf := flags.Bool("deaf", false, "play a broken one, which takes no commands")
	flags.Float64Var(&h.temperature, "temperature", 70, "to begin with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o := client.Options{Addresses: []string{*gateway}, User: *id, OnPush: h.command}
	if *deaf {
		o.OnPush = nil // what nobody takes is not acknowledged
	}
	c, err := client.Dial(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	h.out.Printf("* %s is here, on link %s", *id, c.LinkID())
	tick := time.NewTicker(max(*every, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.live(c, *step)
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return nil
		}
	}
}

// live goes on by one step and reports it. A reading that is lost with a link does not matter: the next one tells more.
func (h *heater) live(c *client.Client, step float64) {
	if h.open.Load() {
		step = -step
	}
	h.temperature += step
	b, err := proto.Marshal(client.NewMessage(tagReading.A, tagReading.B, map[uint32]*edgedpb.Value{
		0: client.Double(h.temperature), 1: client.Bool(h.open.Load()),
	}))
	if err == nil && c.State() == client.Up {
		err = c.Send(b)
	}
	if err != nil {
		h.out.Printf("* no reading: %v", err)
	}
}

// command carries a command out. The client acknowledges it when this returns, and drops one that comes again.
func (h *heater) command(p client.Push) {
	var m edgedpb.Message
	if proto.Unmarshal(p.Payload, &m) != nil || m.Header[manager.HeaderTagA].GetInt() != tagValve.A {
		return
	}
	h.open.Store(m.Body[0].GetBool())
	h.out.Printf("* valve open=%v", h.open.Load())
}
