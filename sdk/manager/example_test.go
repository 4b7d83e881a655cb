package manager_test

import (
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

// authLevel says how much a link may do.
var authLevel = manager.IntKey("auth.level")

// A Manager that lets everybody in who has a token, and answers the call (1,0).
func Example() {
	var calls manager.Router
	calls.Handle(manager.Tag{A: 1, B: 0}, func(c *manager.Call) {
		_ = c.Answer(map[uint32]any{0: "Hello " + c.Event.Session.Text("user")})
	})

	m := manager.New(manager.Options{ID: "example", Handler: manager.Handler{
		Hello: func(e *manager.Event) {
			var h edgedpb.Hello
			if proto.Unmarshal(e.Payload, &h) != nil || h.GetToken() == "" {
				_ = e.Close(wire.ByeLoginFailed, 0, "no token")
				return
			}
			_ = e.Change(authLevel.Set(1))
			_ = e.BindSynced(h.GetUser(), h.GetDevice(), h.GetSyncedVersion())

			link := e.Link // the event is lent, a link may be kept
			time.AfterFunc(time.Minute, func() {
				_ = e.Manager().Push(link, manager.Push{Payload: []byte("still there?")})
			})
		},
		Data: calls.Serve,
	}})

	listener, err := net.Listen("tcp", "127.0.0.1:7000")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(m.Serve(listener))
}

// A command to a device, of which somebody has to know whether it arrived.
func ExampleDeliveries() {
	var orders manager.Deliveries
	m := manager.New(manager.Options{Handler: manager.Handler{
		Acked: orders.Acked, Undelivered: orders.Undelivered, Lost: orders.Lost,
	}})
	err := orders.PushTo(m, manager.ToDevice("meter-7", "unit"), manager.Push{Payload: []byte("off"), TTL: time.Minute},
		func(o manager.Outcome) {
			if !o.Acked {
				log.Printf("meter 7 is not off: %v", o.Reason)
			}
		})
	fmt.Println(err) // nobody is there to take it
	// Output: manager: the link's gateway is gone
}
