// Command echo is the smallest Manager: it lets in who gives a name, and sends back what is said.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"edged/sdk/manager"
	"edged/wire"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7100", "`address` that gateways dial")
	flag.Parse()
	m := manager.New(manager.Options{ID: "echo", Handler: manager.Handler{Hello: hello, Data: data}})
	lis, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		soon, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = m.Stop(soon)
	})
	fmt.Println("echo manager ready on", lis.Addr())
	if err := m.Serve(lis); err != nil {
		log.Fatal(err)
	}
}

// hello decides who a link belongs to. The payload is whatever your clients send; a real Manager looks at a token.
func hello(e *manager.Event) {
	user, device, ok := strings.Cut(string(e.Payload), " ")
	if !ok || user == "" {
		_ = e.Close(wire.ByeLoginFailed, 0, "say who you are: USER DEVICE")
		return
	}
	_ = e.Bind(user, device)
}

// data answers on the same link. Who speaks stands in the session: nothing has to be remembered here.
func data(e *manager.Event) {
	_ = e.Data([]byte(e.Session.User() + ": " + string(e.Payload)))
}
