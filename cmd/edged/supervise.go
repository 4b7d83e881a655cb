package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"edged/gateway"
	"edged/handover"
)

// statusEvery is how often the supervisor is told how the gateway fares.
const statusEvery = 5 * time.Second

// watchdog returns how often the supervisor wants a sign of life, half of its patience (sd_watchdog_enabled(3)); 0: never.
func watchdog() time.Duration {
	usec, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 63)
	pid := os.Getenv("WATCHDOG_PID")
	if err != nil || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// tell says that the gateway serves, and from then on how it fares.
func (i *instance) tell(s *handover.Systemd) {
	if s == nil {
		return
	}
	f := &fare{i: i, every: watchdog()}
	if err := s.Ready(f.status(i.gateway.Stats(context.Background()))); err != nil {
		i.log.Warn("the supervisor was not told", "err", err)
	}
	i.work.Go(func() { f.report(s.Notify) })
}

// fare is what the supervisor is told of a gateway. It belongs to one goroutine.
type fare struct {
	i     *instance
	every time.Duration // between two signs of life; 0: none is wanted

	at      time.Time // of in and out
	in, out uint64
}

// report goes on until the instance stops. The sign of life is that every reactor answers, and nothing else: where one hangs,
// its links are better served by another process.
func (f *fare) report(notify func(lines ...string) error) {
	status := time.NewTicker(statusEvery)
	defer status.Stop()
	var beats <-chan time.Time
	if f.every > 0 {
		beat := time.NewTicker(f.every)
		defer beat.Stop()
		beats = beat.C
	}
	for {
		limit := answerIn
		select {
		case <-beats:
			limit = f.every
		case <-status.C:
		case <-f.i.quit:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		st, err := f.i.gateway.Stats(ctx)
		cancel()
		lines := []string{"STATUS=" + f.status(st, err)}
		if err == nil && f.every > 0 {
			lines = append(lines, "WATCHDOG=1")
		}
		_ = notify(lines...) // a supervisor that does not listen has its own ways
	}
}

// status is one line for people.
func (f *fare) status(st gateway.Stats, err error) string {
	if err != nil {
		return "a reactor does not answer"
	}
	var in, out uint64
	for n := range st.Shards {
		for k := range st.Shards[n].FramesIn {
			in += st.Shards[n].FramesIn[k]
			out += st.Shards[n].FramesOut[k]
		}
	}
	now := time.Now()
	seconds := now.Sub(f.at).Seconds()
	text := fmt.Sprintf("%d links", f.i.gateway.Links())
	if !f.at.IsZero() && seconds > 0 {
		text += fmt.Sprintf(", %.0f messages/s in, %.0f out", float64(in-f.in)/seconds, float64(out-f.out)/seconds)
	}
	f.at, f.in, f.out = now, in, out
	if f.i.gateway.Draining() {
		text = "draining: " + text
	}
	return text
}
