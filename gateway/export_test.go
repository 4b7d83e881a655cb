package gateway

import "context"

// RaceEnabled says that the race detector slows everything down.
const RaceEnabled = raceEnabled

// Abandon ends what of a gateway that was handed over would end with its process: the streams to Managers, and who speaks with
// Redis. Its reactors stand still for ever.
func (g *Gateway) Abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = g.relay.Stop(ctx)
	if g.desk.stop != nil {
		g.pulls.close()
		g.desk.stop()
		g.desk.wg.Wait()
	}
}
