package dispatch

import (
	"context"
	"strings"
	"time"
)

const (
	firstResubscribe   = 50 * time.Millisecond // pause before a lost subscription is made again; doubles
	longestResubscribe = 2 * time.Second
)

// stateMessage is what edged:state carries: the gateway and its new state. The state is the last word, so that an ID may
// have blanks.
func stateMessage(gateway, state string) string { return gateway + " " + state }

func parseState(message string) (gateway, state string, ok bool) {
	i := strings.LastIndexByte(message, ' ')
	if i <= 0 {
		return "", "", false
	}
	gateway, state = message[:i], message[i+1:]
	return gateway, state, checkState(state) == nil
}

// WatchState calls f, in this goroutine, for each change of state that a gateway makes known, until ctx ends. It subscribes
// again when the subscription is lost; what was said meanwhile is missed, and the next Read shows it. Messages that are none
// are counted.
func (r *FleetReader) WatchState(ctx context.Context, f func(gateway, state string)) {
	pause := firstResubscribe
	for ctx.Err() == nil {
		began := time.Now()
		err := r.client.Receive(ctx, []string{stateChannel}, func(_, message string) {
			gateway, state, ok := parseState(message)
			if !ok {
				r.badMessages.Add(1)
				return
			}
			f(gateway, state)
		})
		if ctx.Err() != nil {
			return
		}
		r.lostWatches.Add(1)
		r.log.Debug("changes of state are not heard", "err", err)
		if time.Since(began) > longestResubscribe {
			pause = firstResubscribe
		}
		select {
		case <-time.After(jittered(pause, random())):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestResubscribe)
	}
}
