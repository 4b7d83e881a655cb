package manager_test

import (
	"log"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

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
			_ = e.Patch(map[string]string{"auth.level": "1"}, nil)
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
