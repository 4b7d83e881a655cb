package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

// unit is the device of each user: a boiler has one controller.
const unit = "unit"

// plant is the Manager's side.
type plant struct {
	m        *manager.Manager
	router   manager.Router
	commands manager.Deliveries
	out      *log.Logger

	// Static after construction.
	low, high float64       // where the valve is shut and opened
	ttl       time.Duration // how long a command is worth repeating
	tries     int           // failures in a row until the alarm

	mu      sync.Mutex
	boilers map[string]*boiler // by user; guarded by mu
}

// boiler is where the loop stands for one device; guarded by the plant's mutex.
//
//	reading: all is well ----------> nothing to do
//	reading: the valve is wrong ---> command under way --acknowledged--> wait for the next reading
//	                                        `--lost--> failures+1, alarm after so many; the next reading gives it again
type boiler struct {
	command  string // name of the last command; "": the valve is as it should be
	underWay bool
	failures int
	alarm    bool
}

// serve is the role "manager".
func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("iot manager", flag.ContinueOnError)
	p := &plant{out: log.New(out, "", 0), boilers: map[string]*boiler{}}
	listen := flags.String("listen", "127.0.0.1:7100", "`address` that gateways dial")
	flags.Float64Var(&p.low, "low", 60, "temperature at which valves are shut")
	flags.Float64Var(&p.high, "high", 80, "temperature at which valves are opened")
	flags.DurationVar(&p.ttl, "ttl", 10*time.Second, "how long one command is tried")
	flags.IntVar(&p.tries, "tries", 3, "failures in a row until there is an alarm")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !(p.low < p.high) || p.ttl <= 0 || p.tries < 1 {
		return errors.New("-low is below -high, -ttl and -tries above 0")
	}
	lis, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	p.router.Handle(tagReading, p.reading)
	p.m = manager.New(manager.Options{ID: "plant", Handler: manager.Handler{
		Hello: p.hello, Data: p.router.Serve, Closed: p.closed,
		Acked: p.commands.Acked, Undelivered: p.commands.Undelivered, Lost: p.commands.Lost,
	}})
	served := make(chan error, 1)
	go func() { served <- p.m.Serve(lis) }()
	p.out.Print("plant manager ready on ", lis.Addr())
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(err, p.m.Stop(end))
	p.commands.Close()
	return err
}

// hello lets a device in. A real plant looks at the token, or at a certificate.
func (p *plant) hello(e *manager.Event) {
	var h edgedpb.Hello
	if proto.Unmarshal(e.Payload, &h) != nil || h.User == "" {
		_ = e.Close(wire.ByeLoginFailed, 0, "which boiler?")
		return
	}
	_ = e.Bind(h.User, unit)
	p.out.Printf("%s: here", h.User)
}

func (p *plant) closed(e *manager.Event) {
	if id := e.Session.User(); id != "" {
		p.out.Printf("%s: gone, %v", id, e.Reason)
	}
}

// reading takes a reading, and gives a command if the valve is not as it should be.
func (p *plant) reading(c *manager.Call) {
	id := c.Event.Session.User()
	if id == "" {
		return
	}
	open := c.Bool(1)
	want := p.valve(c.Double(0), open)
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.boilers[id]
	if b == nil {
		b = &boiler{}
		p.boilers[id] = b
	}
	switch {
	case want == open:
		p.wellLocked(id, b)
	case !b.underWay:
		p.commandLocked(id, b, want)
	}
}

// valve says whether the valve should be open.
func (p *plant) valve(temperature float64, open bool) bool {
	switch {
	case temperature >= p.high:
		return true
	case temperature <= p.low:
		return false
	}
	return open
}

func (p *plant) wellLocked(id string, b *boiler) {
	if b.alarm {
		p.out.Printf("%s: well again", id)
	}
	*b = boiler{underWay: b.underWay}
}

// commandLocked gives a command, under the same name as before if it is the same one again.
func (p *plant) commandLocked(id string, b *boiler, open bool) {
	if b.command == "" {
		b.command = id + "/" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	payload, err := manager.Encode(tagValve, map[uint32]any{0: open})
	if err == nil {
		b.underWay = true
		err = p.commands.PushTo(p.m, manager.ToDevice(id, unit), manager.Push{Payload: payload, MsgID: b.command, TTL: p.ttl},
			func(o manager.Outcome) { p.outcome(id, open, o) })
	}
	if err != nil {
		b.underWay = false
		p.out.Printf("%s: no command: %v", id, err)
	}
}

// outcome learns what became of a command.
func (p *plant) outcome(id string, open bool, o manager.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.boilers[id]
	b.underWay = false
	if o.Acked {
		p.out.Printf("%s: valve open=%v, as told", id, open)
		return
	}
	b.failures++
	if b.failures < p.tries {
		p.out.Printf("%s: not told to open=%v, %v", id, open, o.Reason)
	} else if !b.alarm {
		b.alarm = true
		p.out.Printf("ALARM %s: not told to open=%v, %d times: %v", id, open, b.failures, o.Reason)
	}
}
