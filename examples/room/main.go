// Command room is a live room: thousands watch, click "like" and write, and everybody sees how many likes there are.
//
// It shows rooms, messages that are made for all at once, and acknowledgements by sample: a push of the likes asks a small
// share of the links for an acknowledgement, and by those the host knows how many people it reaches, without an answer from
// each of them.
//
//	room manager -listen 127.0.0.1:7100 -share 0.01
//	room watch -gateway 127.0.0.1:7000 -room live-1 -user alice
//	room crowd -gateway 127.0.0.1:7000 -room live-1 -people 500
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

// The calls and messages of a live room.
//
//	(1,0)  client to Manager        {0: room}               answered {0: likes so far}: come in
//	(1,1)  client to Manager        {0: how many}           like
//	(1,2)  client to Manager        {0: text}               write to all
//	(2,0)  push to the room         {0: likes}              often, but not for each like
//	(2,1)  data to the room         {0: from user, 1: text}
var (
	tagEnter = manager.Tag{A: 1, B: 0}
	tagLike  = manager.Tag{A: 1, B: 1}
	tagWrite = manager.Tag{A: 1, B: 2}
	tagLikes = manager.Tag{A: 2, B: 0}
	tagText  = manager.Tag{A: 2, B: 1}
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
		case "watch":
			return watch(ctx, args[1:], in, out)
		case "crowd":
			return crowd(ctx, args[1:], out)
		}
	}
	return errors.New("usage: room manager|watch|crowd; -h behind it tells the flags")
}
