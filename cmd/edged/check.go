package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edged/config"
	"edged/gateway"
	"edged/handover"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, of a gateway, a dispatch service or a queue layer",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := config.Check(args[0]); err != nil {
				return explain(err, c.ErrOrStderr())
			}
			if err := errors.Join(fault("check"), handover.CheckFormats(formats(gateway.Formats()))); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "configuration OK")
			return nil
		},
	}
}

// load reads a configuration and says on w what is wrong inside the file, a line each.
func load(path string, w io.Writer) (*config.Config, error) {
	cfg, err := config.Load(path)
	return cfg, explain(err, w)
}

// explain says on w what is wrong inside a file, a line each; any other error it returns.
func explain(err error, w io.Writer) error {
	var problems config.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(w, problems.Error())
		return errQuiet
	}
	return err
}
