package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// exampleGateway lets one client in and says back what it says. It stands for a gateway with its Manager.
func exampleGateway(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	head := make([]byte, wire.HeadLen)
	for {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		body := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(conn, body); err != nil || len(body) == 0 {
			return
		}
		switch wire.Kind(body[0]) {
		case wire.KindHello:
			_, _ = conn.Write(wire.AppendWelcome(nil, wire.Welcome{LinkID: []byte("192.0.2.7:8000:231:23")}))
		case wire.KindData:
			_, _ = conn.Write(wire.Append(nil, wire.KindData, body[1:]))
		case wire.KindBye:
			return
		}
	}
}

// A client asks a dispatch service where to go. The first address of the list is dead: the second one is tried.
func ExampleDial_dispatch() {
	gate, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer func() { _ = gate.Close() }()
	go exampleGateway(gate)
	dispatch := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"addresses":[{"address":"127.0.0.1:1"},{"address":%q}],"ttl_s":30}`, gate.Addr())
	}))
	defer dispatch.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	heard := make(chan string, 1)
	c, err := client.Dial(ctx, client.Options{
		Dispatch: dispatch.URL, User: "42", Device: "phone",
		OnData: func(payload []byte) { heard <- string(payload) },
	})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	if err := c.Send([]byte("hello")); err != nil {
		panic(err)
	}
	select {
	case s := <-heard:
		fmt.Println(c.State(), c.LinkID(), s)
	case <-ctx.Done():
		fmt.Println("no answer")
	}
	// Output: up 192.0.2.7:8000:231:23 hello
}
