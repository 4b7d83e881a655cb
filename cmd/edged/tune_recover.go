package main

import (
	"context"
	"log/slog"
	"time"

	"edged/config"
	"edged/tuning"
)

// recoverLimit bounds what serve waits for settings of the box before it listens.
const recoverLimit = 10 * time.Second

// recoverTuning puts back what an apply left that did not come to its end, before anything listens. A gateway serves with whatever
// settings there are: that nothing can be done, or may be, is said in the log and is no failure. Queues and rings of a device
// wait while another gateway, or this process itself, has links: hasLinks.
func recoverTuning(box tuning.Box, cfg *config.Config, hasLinks bool, log *slog.Logger) {
	left, err := box.Unfinished()
	if err != nil {
		log.Warn("it is not known what was changed of the box's settings", "err", err)
	}
	if !left || err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), recoverLimit)
	defer cancel()
	t := &tune{box: box, cfg: cfg}
	res, err := box.Recover(ctx, tuning.Options{Serving: hasLinks || t.look(ctx) != nil})
	switch {
	case err != nil:
		log.Warn("an apply did not come to its end, and could not be put back", "err", err)
	case res.RolledBack:
		log.Info("an apply that did not come to its end is put back", "settings", res.Summary())
	default:
		log.Warn("an apply has not come to its end: it is at work, or root has to put it back with edged tune revert")
	}
}
