// Command chat is a chat between two people, and shows both ways of a message through edged.
//
// Without a queue layer the Manager pushes to whoever is here and tells the sender what became of it. With one, messages are
// stored first: who is away gets them later, in their order, and the sender hears when they have arrived.
//
//	chat manager -listen 127.0.0.1:7100 [-queue http://127.0.0.1:7090]
//	chat talk -gateway 127.0.0.1:7000 -user alice
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"edged/sdk/manager"
)

// The calls and messages of the chat, as the two sides and examples/chat-python know them.
//
//	(1,0)  client to Manager  {0: to user, 1: text, 2: id}  answered {0: id, 1: how}: "sent" or "stored"
//	(1,1)  push to a client   {0: from user, 1: text, 2: id}
//	(1,2)  to the sender      {0: id, 1: to user, 2: arrived, 3: why not}
//
// The client makes up the id, so that it can say the same thing again when a link broke before the answer came: what has the
// same id is the same message, for the queue layer and for the other client.
var (
	tagSay    = manager.Tag{A: 1, B: 0}
	tagHear   = manager.Tag{A: 1, B: 1}
	tagResult = manager.Tag{A: 1, B: 2}
)

const (
	howSent   = "sent"   // to whoever is here
	howStored = "stored" // for whenever the user is here
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is the command until ctx ends.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "manager":
			return serve(ctx, args[1:], out)
		case "talk":
			return talk(ctx, args[1:], in, out)
		}
	}
	return errors.New("usage: chat manager|talk; -h behind it tells the flags")
}
