// Command edged turns a bare Linux box into an edge gateway. Its sub-commands are its roles and tools; `edged help` lists them.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"edged/handover"
	"edged/tuning"
)

// version is set by the linker: make build.
var version = "dev"

// Exit statuses: done, not done (a bad configuration too), wrong use.
const (
	exitDone  = 0
	exitNot   = 1
	exitUsage = 2
)

// errQuiet ends the process with exitNot after the command has said why.
var errQuiet = errors.New("")

func main() {
	handover.Shim()
	if err := fault("start"); err != nil {
		fmt.Fprintln(os.Stderr, "edged:", err)
		os.Exit(exitNot)
	}
	// What gRPC has to say to an operator, relay says in edged's own words; its own would be lines on standard error.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	return runOn(tuning.Box{}, args, stdout, stderr)
}

// runOn is run with the box that tune and doctor are about.
func runOn(box tuning.Box, args []string, stdout, stderr io.Writer) int {
	root, began := newRoot(box)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, errQuiet) {
		fmt.Fprintln(stderr, "edged:", err)
	}
	if !*began {
		return exitUsage
	}
	return exitNot
}

// newRoot is the tree of all commands. Once one of them begins, the arguments were understood.
func newRoot(box tuning.Box) (root *cobra.Command, began *bool) {
	began = new(bool)
	root = &cobra.Command{
		Use:              "edged",
		Short:            "An edge gateway: very many long-lived links on a bare Linux box",
		SilenceUsage:     true,
		SilenceErrors:    true,
		Args:             cobra.NoArgs,
		PersistentPreRun: func(*cobra.Command, []string) { *began = true },
		RunE: func(c *cobra.Command, _ []string) error {
			*began = false
			return errors.New("needs a command; see edged help")
		},
	}
	root.AddCommand(serveCommand(), dispatchCommand(), queueCommand(), checkCommand(), ctlCommand(), keeperCommand(), demoCommand(), swarmCommand(), tuneCommand(box), doctorCommand(box), versionCommand())
	root.AddCommand(initCommand(box, isTerminal), completionCommand())
	complete(root, box)
	return root, began
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintf(c.OutOrStdout(), "edged %s %s %s/%s%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, revision())
		},
	}
}

// revision is the commit that the binary was built of, where the build knew it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return " " + s.Value[:12]
		}
	}
	return ""
}

// newLog returns the log of a daemon: to standard error, where systemd's journal adds the time itself.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	drop := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey && os.Getenv("JOURNAL_STREAM") != "" {
			return slog.Attr{}
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: drop}))
}
