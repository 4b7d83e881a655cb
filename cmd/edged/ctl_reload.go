package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// reloadTimeout is longer than any reload takes that goes on.
const reloadTimeout = 6 * time.Minute

func ctlReload(w *window) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Replace the process by a fresh one of the binary and the file on the disk, with all its links",
		Long: `Replace the process by a fresh one of the binary and the file on the disk, with all its links.

It returns when the new process serves. Where that cannot be, the running one goes on as it was: exit status 1 and the reason.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := w.dial()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), reloadTimeout)
			defer cancel()
			done, err := client.Reload(ctx)
			if err == nil {
				fmt.Fprintln(c.OutOrStdout(), "reloaded:", done)
			}
			return err
		},
	}
}
