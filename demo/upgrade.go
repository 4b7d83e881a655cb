package demo

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"edged/swarm"
)

// oneByOne lets several goroutines write lines.
type oneByOne struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (o *oneByOne) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// Deeds are what is done to the gateway while everybody talks, one after the other and evenly over the show.
type Deeds struct {
	List  []func(ctx context.Context) (string, error) // each says what it was and did
	Name  string                                      // of all of them, "5 reloads"
	Break bool                                        // a link may break by them; it comes back
}

// do has all of it done, until ctx ends.
func (d *Deeds) do(ctx context.Context, o Options) error {
	tick := time.NewTicker(o.Duration / time.Duration(len(d.List)+1))
	defer tick.Stop()
	for _, deed := range d.List {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		did, err := deed(context.WithoutCancel(ctx)) // one that was begun is to be accounted for
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "       %s\n", did)
	}
	return nil
}

// upgradeLine says what the clients have noticed.
func upgradeLine(w io.Writer, r *swarm.Report, deeds string) {
	up, down := &r.Check.Messages, &r.Check.Manager
	fmt.Fprintf(w, "%s: %d links broken; messages lost %d up and %d down, doubled %d and %d, out of order %d and %d; longest pause of a client %v\n",
		deeds, r.Connections.Broken, up.Missing.Total, down.Missing.Total, up.Doubled.Total, down.Doubled.Total,
		up.Disordered.Total, down.Disordered.Total, r.Pause.Took.Round(100*time.Microsecond))
}
