package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"edged/admin"
)

func ctlUsers(w *window) *cobra.Command {
	var asJSON, watch bool
	var after string
	c := &cobra.Command{
		Use:   "users [USER]",
		Short: "Count this gateway's users, or say where in the fleet one is",
		Long: `Count this gateway's users, or say where in the fleet one is.

With --watch it tells of each device that comes or goes, in the whole fleet, until it is interrupted.`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case after != "" && !watch:
				return errors.New("--after goes with --watch")
			case len(args) > 0 && args[0] == "":
				return errors.New("the user is empty")
			}
			return cobra.MaximumNArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case watch:
				r := admin.WatchRequest{After: after}
				if len(args) > 0 {
					r.User = args[0]
				}
				return watchUsers(c, w, r, asJSON)
			case len(args) > 0:
				return showDevices(c, w, args[0], asJSON)
			}
			return countUsers(c, w, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --watch a line for each event")
	c.Flags().BoolVar(&watch, "watch", false, "follow who comes and goes")
	c.Flags().StringVar(&after, "after", "", "with --watch: begin behind the event with this `id`; 0: with all that are kept")
	return c
}

// ask makes one request to the gateway of w.
func ask[T any](c *cobra.Command, w *window, f func(ctx context.Context, a *admin.Client) (T, error)) (T, error) {
	var none T
	client, err := w.dial()
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), ctlTimeout)
	defer cancel()
	return f(ctx, client)
}

func countUsers(c *cobra.Command, w *window, asJSON bool) error {
	users, err := ask(c, w, func(ctx context.Context, a *admin.Client) (admin.Users, error) { return a.Users(ctx) })
	switch {
	case err != nil:
		return err
	case asJSON:
		return json.NewEncoder(c.OutOrStdout()).Encode(users)
	}
	return admin.WriteUsers(c.OutOrStdout(), users)
}

func showDevices(c *cobra.Command, w *window, user string, asJSON bool) error {
	devices, err := ask(c, w, func(ctx context.Context, a *admin.Client) ([]admin.Device, error) { return a.Devices(ctx, user) })
	switch {
	case err != nil:
		return err
	case asJSON:
		return json.NewEncoder(c.OutOrStdout()).Encode(devices)
	}
	return admin.WriteDevices(c.OutOrStdout(), user, devices)
}

func watchUsers(c *cobra.Command, w *window, r admin.WatchRequest, asJSON bool) error {
	client, err := w.dial()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	out := json.NewEncoder(c.OutOrStdout())
	out.SetEscapeHTML(false)
	err = client.Watch(ctx, r, func(e admin.PresenceEvent) error {
		switch {
		case asJSON:
			return out.Encode(e)
		case e.Error != "":
			return admin.WriteEvent(c.ErrOrStderr(), e)
		}
		return admin.WriteEvent(c.OutOrStdout(), e)
	})
	if ctx.Err() != nil { // interrupted, as it is meant to end
		return nil
	}
	return err
}
