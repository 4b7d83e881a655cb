package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edged/config"
	"edged/handover"
)

func keeperCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "keeper --config FILE",
		Short: "Hold the links while the gateway is restarted after a crash",
		Long: `Hold the links while the gateway is restarted after a crash.

It reads [keeper] of the gateway's file, and nothing of what passes over the links. One gateway at a time, of the same user,
leaves its links here; a gateway that dies, or is restarted, finds them again when it comes back within keeper.hold. Three
crashes within a minute (keeper.crashes) cost the links: one of them may be the cause.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return explain(err, c.ErrOrStderr())
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			signal.Ignore(syscall.SIGHUP) // nothing of its file can change while it runs, and links must not end by it
			return runKeeper(ctx, cfg.Keeper, handover.NewSystemd(), c.OutOrStdout(), newLog(c.ErrOrStderr(), slog.LevelInfo))
		},
	}
	c.Flags().StringVar(&path, "config", "/etc/edged/edged.toml", "configuration `file` of the gateway")
	return c
}

// runKeeper keeps links until ctx ends. What can be taken from the process is taken before anybody is heard.
func runKeeper(ctx context.Context, cfg handover.KeeperConfig, s *handover.Systemd, stdout io.Writer, log *slog.Logger) error {
	k, err := handover.NewKeeper(cfg, log)
	if err != nil {
		return err
	}
	if err := handover.Harden(); err != nil {
		log.Warn("the keeper may do more than it needs", "err", err)
	}
	if !cfg.Enabled {
		log.Warn("keeper.enabled is false: the gateway of this file leaves nothing here")
	}
	fmt.Fprintf(stdout, "edged %s ready: keeper listening on %s\n", version, cfg.Socket)
	log.Info("ready", "socket", cfg.Socket, "hold", cfg.Hold)
	var telling sync.WaitGroup
	if s != nil {
		if err := s.Ready(keeperStatus(k.Stats())); err != nil {
			log.Warn("the supervisor was not told", "err", err)
		}
		telling.Go(func() { tellOfKeeper(ctx, k, s) })
	}
	err = k.Serve(ctx)
	telling.Wait()
	st := k.Stats()
	log.Info("stopped", "gateways", st.Gateways, "crashes", st.Crashes, "added", st.Added, "released", st.Released,
		"dropped", st.Dropped, "full", st.Full, "refused", st.Refused)
	return err
}

// tellOfKeeper has the supervisor show how the keeper fares, when that changes.
func tellOfKeeper(ctx context.Context, k *handover.Keeper, s *handover.Systemd) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for last := ""; ; {
		select {
		case <-ctx.Done():
			_ = s.Notify("STOPPING=1")
			return
		case <-tick.C:
		}
		if text := keeperStatus(k.Stats()); text != last {
			last = text
			_ = s.Notify("STATUS=" + text) // a supervisor that does not listen has its own ways
		}
	}
}

// keeperStatus is one line for people.
func keeperStatus(st handover.KeeperStats) string {
	text := fmt.Sprintf("%d links kept; so far %d gateways, %d crashes", st.Links, st.Gateways, st.Crashes)
	for _, x := range []struct {
		n    uint64
		what string
	}{{st.Dropped, "links dropped"}, {st.Full, "not kept for lack of descriptors"}, {st.Refused, "connections refused"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	return text
}
