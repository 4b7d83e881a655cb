package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/admin"
)

// ctlTimeout bounds one question to a running gateway.
const ctlTimeout = 5 * time.Second

func ctlCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:   "ctl",
		Short: "Control a running gateway",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&socket, "socket", "/run/edged/admin.sock", "the gateway's admin `address`: a path or host:port; EDGED_TOKEN holds the token of the latter")
	c.AddCommand(ctlStatus(&socket), ctlDrain(&socket), ctlReload(&socket), ctlPush(&socket), ctlUsers(&socket))
	return c
}

func dialAdmin(socket string) (*admin.Client, error) {
	if strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "./") {
		socket = "unix:" + socket
	}
	return admin.Dial(socket, os.Getenv("EDGED_TOKEN"))
}

func ctlStatus(socket *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how the gateway is",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dialAdmin(*socket)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), ctlTimeout)
			defer cancel()
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(status)
			}
			return admin.WriteStatus(c.OutOrStdout(), status)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
