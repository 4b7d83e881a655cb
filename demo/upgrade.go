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

// reloads has the gateway's process replaced again and again, evenly over the show, until ctx ends.
func reloads(ctx context.Context, o Options) error {
	if o.Reload == nil {
		return nil
	}
	tick := time.NewTicker(o.Duration / time.Duration(o.Reloads+1))
	defer tick.Stop()
	for n := range o.Reloads {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		did, err := o.Reload(context.WithoutCancel(ctx)) // one that was begun is to be accounted for
		if err != nil {
			return fmt.Errorf("reload %d: %w", n+1, err)
		}
		fmt.Fprintf(o.Out, "       reload %d: %s\n", n+1, did)
	}
	return nil
}

// upgradeLine says what the clients have noticed.
func upgradeLine(w io.Writer, r *swarm.Report, times int) {
	up, down := &r.Check.Messages, &r.Check.Manager
	fmt.Fprintf(w, "%d reloads: %d links broken; messages lost %d up and %d down, doubled %d and %d, out of order %d and %d; longest pause of a client %v\n",
		times, r.Connections.Broken, up.Missing.Total, down.Missing.Total, up.Doubled.Total, down.Doubled.Total,
		up.Disordered.Total, down.Disordered.Total, r.Pause.Took.Round(100*time.Microsecond))
}
