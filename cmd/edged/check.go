package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edged/config"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := load(args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, key := range cfg.WithoutEffect() {
				fmt.Fprintf(c.OutOrStdout(), "%s: without effect in this version\n", key)
			}
			fmt.Fprintln(c.OutOrStdout(), "configuration OK")
			return nil
		},
	}
}

// load reads a configuration and says on w what is wrong inside the file, a line each.
func load(path string, w io.Writer) (*config.Config, error) {
	cfg, err := config.Load(path)
	var problems config.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(w, problems.Error())
		return nil, errQuiet
	}
	return cfg, err
}
