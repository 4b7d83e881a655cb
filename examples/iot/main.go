// Command iot is a plant with boilers: each measures its temperature and has a valve; the Manager opens and shuts the valves.
//
// It shows a loop of readings and commands. A command requires an acknowledgement, which a device gives after it has carried
// it out. One that does not arrive is given again under the same name, so that a device which has carried it out already
// does not do so twice; and when it fails again and again, somebody is told.
//
//	iot manager -listen 127.0.0.1:7100 -low 60 -high 80
//	iot device -gateway 127.0.0.1:7000 -id boiler-7
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

// What devices and the Manager say to each other.
//
//	(1,0)  device to Manager   {0: temperature, 1: valve open}   a reading
//	(2,0)  push to a device    {0: open}                         the command; acknowledged when it is carried out
var (
	tagReading = manager.Tag{A: 1, B: 0}
	tagValve   = manager.Tag{A: 2, B: 0}
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is the command until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "manager":
			return serve(ctx, args[1:], out)
		case "device":
			return work(ctx, args[1:], out)
		}
	}
	return errors.New("usage: iot manager|device; -h behind it tells the flags")
}
