package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edged/netpoll"
	"edged/swarm"
)

func swarmCommand() *cobra.Command {
	cfg := swarm.Default()
	var asJSON, quiet bool
	var from []string
	c := &cobra.Command{
		Use:   "swarm {--target HOST:PORT | --dispatch URL}",
		Short: "Simulate many clients: load, check, measure",
		Long: `Simulate many clients: load, check, measure.

The other end is a Manager that echoes, such as that of "edged demo". With --checker every message is numbered on both sides,
and what was missing, doubled or out of order is listed. Exit status 0 only if nothing was.

With --dispatch each link asks the dispatch service where to go, as its client would, and walks the list that it gets: the
next address at once when one refuses, after 3 s when one is silent. With --reconnect it comes back as the gateway's BYE and
the list's back-off say, and elsewhere if it was sent away. The report tells how many links went to each address.`,
		Args: func(c *cobra.Command, args []string) error { // before anything else, so that it counts as wrong use
			switch {
			case len(cfg.Target) == 0 && cfg.Dispatch == "":
				return errors.New("swarm needs --target or --dispatch")
			case len(cfg.Target) > 0 && cfg.Dispatch != "":
				return errors.New("swarm takes either --target or --dispatch")
			}
			return cobra.NoArgs(c, args)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			for _, f := range from {
				a, err := netip.ParseAddr(f)
				if err != nil {
					return fmt.Errorf("from: %w", err)
				}
				cfg.From = append(cfg.From, a)
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			runtime.GOMAXPROCS(netpoll.Procs(max(cfg.Loops, runtime.NumCPU())))
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			progress := func(p swarm.Progress) {
				fmt.Fprintf(c.ErrOrStderr(), "%4.0fs  %-6s  %7d links  %7.0f opened/s  %9.0f messages/s  p50 %-9v p99 %-9v max %-9v  %d errors\n",
					p.Elapsed.Seconds(), p.Phase, p.Links, p.Opened, p.Answered, p.P50.Round(time.Microsecond), p.P99.Round(time.Microsecond), p.Max.Round(time.Microsecond), p.Errors)
			}
			if quiet {
				progress = func(swarm.Progress) {}
			}
			report, err := swarm.Run(ctx, cfg, progress)
			if asJSON { // also of a run that came to nothing: a program reads it
				err = errors.Join(err, json.NewEncoder(c.OutOrStdout()).Encode(&report))
			} else if err == nil {
				err = report.WriteText(c.OutOrStdout())
			}
			if err == nil && !report.OK() {
				err = errQuiet // the report says what
			}
			return err
		},
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.Target, "target", nil, "`HOST:PORT` of a gateway; several are taken in turn")
	f.StringVar(&cfg.Dispatch, "dispatch", "", "http or https `URL` of a dispatch service; /v1/addresses and n=3 may be left out")
	f.IntVar(&cfg.Links, "links", cfg.Links, "links to open")
	f.DurationVar(&cfg.Duration, "duration", cfg.Duration, "length of the run, once all links are open")
	f.Float64Var(&cfg.Rate, "rate", 0, "messages per second over all links; 0: each link sends when answers come")
	f.IntVar(&cfg.Depth, "depth", cfg.Depth, "messages of one link that wait for their answers, without --rate")
	f.Float64Var(&cfg.Ramp, "ramp", 0, "new links per second; 0: as fast as possible")
	f.IntVar(&cfg.Size, "size", cfg.Size, "bytes of a message")
	f.DurationVar(&cfg.Think, "think", 0, "pause from an answer to the next message")
	f.BoolVar(&cfg.Checker, "checker", false, "keep account of every number on both sides")
	f.IntVar(&cfg.Pushes, "pushes", 0, "each so manieth message of a link is answered by a push that wants an ACK; 0: none")
	f.BoolVar(&cfg.Silent, "silent", false, "open links and say nothing")
	f.DurationVar(&cfg.Heartbeat, "heartbeat", 0, "interval of heartbeats; 0: as the gateway says")
	f.StringVar(&cfg.Login, "login", cfg.Login, "sdk: protobuf Hello; text: plain text; none")
	f.StringVar(&cfg.UserPrefix, "user-prefix", cfg.UserPrefix, "the users are this and a number")
	f.StringVar(&cfg.Device, "device", cfg.Device, "device of all users")
	f.StringVar(&cfg.Token, "token", "", "token in the Hello")
	f.BoolVar(&cfg.Reconnect, "reconnect", false, "come back after an end, as the gateway's BYE allows")
	f.IntVar(&cfg.Loops, "reactors", 0, "reactors of the swarm; 0: half of the CPUs")
	f.StringSliceVar(&from, "from", nil, "local `addresses` to connect from, in turn")
	f.DurationVar(&cfg.Patience, "patience", cfg.Patience, "time that a connection, a login or an answer may take; with --dispatch the first two 3s at most")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	f.BoolVar(&quiet, "quiet", false, "no line per second")
	return c
}
