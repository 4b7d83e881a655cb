package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/admin"
)

// fraction is a part of the links, "20%" or "0.2".
type fraction float64

func (f *fraction) String() string { return strconv.FormatFloat(float64(*f)*100, 'g', -1, 64) + "%" }
func (f *fraction) Type() string   { return "share" }

func (f *fraction) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) {
		return errors.New("it is not a part of the links, as 20%")
	}
	*f = fraction(v)
	return nil
}

func ctlDrain(w *window) *cobra.Command {
	var r admin.DrainRequest
	var wait bool
	c := &cobra.Command{
		Use:   "drain",
		Short: "Send all links elsewhere and take no new ones, until --undo or the end",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := w.dial()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), ctlTimeout)
			defer cancel()
			if err := client.Drain(ctx, r); err != nil {
				return err
			}
			switch {
			case r.Undo:
				fmt.Fprintln(c.OutOrStdout(), "not draining any more")
			case r.Share > 0:
				fmt.Fprintln(c.OutOrStdout(), "sending links away")
			default:
				fmt.Fprintln(c.OutOrStdout(), "draining")
			}
			if wait {
				return followDrain(c.Context(), client, c.OutOrStdout(), r.Share > 0)
			}
			return nil
		},
	}
	c.Flags().DurationVar(&r.Within, "within", 0, "time over which the links are sent away (default: drain_timeout)")
	c.Flags().Var((*fraction)(&r.Share), "share", "send only so many of the links away, as `20%`, for rebalancing, and take new ones")
	c.Flags().BoolVar(&r.Undo, "undo", false, "take links again")
	c.Flags().BoolVar(&r.Exit, "exit", false, "end the process when no link is left")
	c.Flags().BoolVar(&wait, "wait", false, "say each second how many links are left, and return when all are gone")
	c.MarkFlagsMutuallyExclusive("undo", "wait")
	return c
}

// progressEvery is how often --wait looks.
const progressEvery = time.Second

// followDrain says how a drain goes until it is over. With --exit the end of the process is that.
func followDrain(ctx context.Context, client *admin.Client, w io.Writer, shares bool) error {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for seen := false; ; seen = true {
		asked, cancel := context.WithTimeout(ctx, ctlTimeout)
		s, err := client.Status(asked)
		cancel()
		switch {
		case errors.Is(err, admin.ErrAbsent) && seen:
			fmt.Fprintln(w, "the process has ended")
			return nil
		case err != nil:
			return err
		case s.Drain != nil && s.Drain.Left > 0:
		case s.Drain == nil && s.Links > 0 && seen && !shares && s.State != admin.StateDraining:
			return errors.New("the drain was taken back")
		default:
			fmt.Fprintln(w, "done")
			return nil
		}
		fmt.Fprintln(w, s.Drain)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
