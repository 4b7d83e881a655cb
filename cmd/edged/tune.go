package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/admin"
	"edged/config"
	"edged/tuning"
)

// defaultConfig is where the configuration lies if nothing else is said.
const defaultConfig = "/etc/edged/edged.toml"

// lookTimeout bounds the question to a gateway whether it serves: one that does not answer serves all the same.
const lookTimeout = time.Second

// tune is what the commands that concern the box share. It belongs to one run of one command.
type tune struct {
	box             tuning.Box
	file            string // configuration
	links, messages int    // instead of the configuration's; -1: as it says

	cfg     *config.Config
	serving *serving // a gateway that serves on this box; nil: none does
}

// serving is a gateway that runs here.
type serving struct {
	pid    int           // 0: it is not one of this box's process numbers, as from inside a container
	status *admin.Status // nil: it does not answer
}

func tuneCommand(box tuning.Box) *cobra.Command {
	t := &tune{box: box}
	c := &cobra.Command{
		Use:   "tune",
		Short: "Prepare this box for its links, and put it back",
		Long: `Prepare this box for its links, and put it back.

What the box is for stands in [tuning] of the configuration. "plan" says what would be changed and why, "apply" does it, "verify"
says what is not so any more and who did it, "revert" puts every value back. Nothing is changed by any other command.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	t.flags(c)
	c.AddCommand(t.planCommand(), t.capacityCommand(), t.applyCommand(), t.confirmCommand(), t.verifyCommand(), t.revertCommand(),
		t.explainCommand(), t.nicCommand())
	return c
}

// flags are those of all commands that make a plan.
func (t *tune) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&t.file, "config", defaultConfig, "configuration `file` of the gateway; where there is none, the defaults count")
	f.IntVar(&t.links, "links", -1, "links to prepare the box for, instead of the configuration's; 0: what it can hold")
	f.IntVar(&t.messages, "messages", -1, "messages a second, instead of the configuration's; 0: what it can carry")
}

// prepare reads the configuration and looks for a gateway that serves.
func (t *tune) prepare(c *cobra.Command) error {
	var err error
	if t.cfg, err = load(t.file, c.ErrOrStderr()); errors.Is(err, fs.ErrNotExist) && !c.Flags().Changed("config") {
		t.cfg, err = config.Default(), nil
	}
	if err != nil {
		return err
	}
	if t.links >= 0 {
		t.cfg.Tuning.Links = t.links
	}
	if t.messages >= 0 {
		t.cfg.Tuning.MessagesPerSecond = t.messages
	}
	if err := t.cfg.Tuning.Validate(); err != nil {
		return err
	}
	if t.serving = t.look(c.Context()); t.serving != nil {
		t.box.PID = t.serving.pid
	}
	return nil
}

// plan inspects the box and computes its plan.
func (t *tune) plan(c *cobra.Command) (*tuning.Machine, tuning.Plan, error) {
	if err := t.prepare(c); err != nil {
		return nil, tuning.Plan{}, err
	}
	return t.compute(c.Context())
}

// compute is plan, once prepared.
func (t *tune) compute(ctx context.Context) (*tuning.Machine, tuning.Plan, error) {
	m, err := t.box.Inspect(ctx, t.cfg.Tuning.Interfaces)
	if err != nil {
		return nil, tuning.Plan{}, err
	}
	return m, tuning.Compute(m, t.goal()), nil
}

// goal is what the configuration says that a plan depends on.
func (t *tune) goal() tuning.Goal {
	return tuning.Goal{Config: t.cfg.Tuning, Reactors: t.cfg.Gateway.Reactors, Ports: ports(t.cfg)}
}

// ports are those that the gateway listens on, in order.
func ports(cfg *config.Config) []uint16 {
	addresses := slices.Clone(cfg.Admin.Listen)
	for _, l := range cfg.Listeners {
		addresses = append(addresses, l.Address)
	}
	var all []uint16
	for _, a := range addresses {
		port, err := strconv.ParseUint(a[strings.LastIndexByte(a, ':')+1:], 10, 16)
		if err == nil && port > 0 && !slices.Contains(all, uint16(port)) {
			all = append(all, uint16(port))
		}
	}
	slices.Sort(all)
	return all
}

// look finds a gateway that serves on this box: the one behind the configuration's admin socket, else any that has the same
// network, because its devices are those that would be reset.
func (t *tune) look(ctx context.Context) *serving {
	for _, address := range t.cfg.Admin.Listen {
		if !strings.HasPrefix(address, "unix:") {
			continue
		}
		client, err := admin.Dial(address, "")
		if err != nil {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, lookTimeout)
		status, err := client.Status(ask)
		cancel()
		if err == nil {
			s := &serving{status: &status}
			if isGateway(t.proc(), status.PID) {
				s.pid = status.PID
			}
			return s
		}
	}
	for _, pid := range processes(t.proc()) {
		if pid != os.Getpid() && isGateway(t.proc(), pid) && sameNetwork(t.proc(), pid) {
			return &serving{pid: pid}
		}
	}
	return nil
}

// proc is where the box's procfs is.
func (t *tune) proc() string { return t.box.Root + "/proc" }

// processes lists process numbers.
func processes(proc string) []int {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// isGateway says whether a process is an `edged serve`.
func isGateway(proc string, pid int) bool {
	dir := proc + "/" + strconv.Itoa(pid)
	command, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return false
	}
	words := strings.Split(string(command), "\x00")
	name := words[0][strings.LastIndexByte(words[0], '/')+1:]
	return name == "edged" && len(words) > 1 && words[1] == "serve"
}

// sameNetwork says whether a process may have our network namespace: where that cannot be read, it may.
func sameNetwork(proc string, pid int) bool {
	its, err := os.Readlink(proc + "/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	ours, err := os.Readlink(proc + "/self/ns/net")
	return err != nil || its == ours
}

// whoseLimits says whose limits the plan is about where that is not a gateway's.
func (t *tune) whoseLimits(w io.Writer) {
	if t.serving == nil {
		fmt.Fprintln(w, "No gateway serves here: limits of a process are those of this shell, not of the gateway's unit.")
	} else if t.serving.pid == 0 {
		fmt.Fprintln(w, "The gateway's process cannot be seen from here: limits of a process are those of this shell.")
	}
}

// printJSON writes one value for programs.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(v)
}

func (t *tune) planCommand() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Say what would be changed, and why; change nothing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, p, err := t.plan(c)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if asJSON {
				return printJSON(out, struct {
					Machine *tuning.Machine `json:"machine"`
					Plan    tuning.Plan     `json:"plan"`
				}{m, p})
			}
			t.whoseLimits(out)
			for _, note := range m.Notes {
				fmt.Fprintln(out, "Note:", note)
			}
			if err := p.WriteCapacity(out); err != nil {
				return err
			}
			fmt.Fprintln(out)
			return p.WriteTable(out, all)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: the plan, and what it was made from")
	c.Flags().BoolVar(&all, "all", false, "list also what is right already, and what is left alone")
	return c
}

func (t *tune) capacityCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "capacity",
		Short: "Say how many links this box can hold, and what ends first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, p, err := t.plan(c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Links    uint64         `json:"links"`
					Messages uint64         `json:"messages"`
					Now      uint64         `json:"now"`
					Holds    uint64         `json:"holds"`
					Reach    uint64         `json:"reach"`
					Capacity []tuning.Bound `json:"capacity"`
				}{p.Links, p.Messages, p.Now, p.Holds, p.Reach, p.Capacity})
			}
			t.whoseLimits(c.OutOrStdout())
			return p.WriteCapacity(c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (t *tune) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain KEY",
		Short: "Say all that is known of one setting: net.core.somaxconn, or somaxconn",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, p, err := t.plan(c)
			if err != nil {
				return err
			}
			text, err := tuning.Explain(m, p, args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.OutOrStdout(), text)
			return err
		},
	}
}

func (t *tune) verifyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Say what is not as planned, and who did it; exit status 1 if anything is not",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, p, err := t.plan(c)
			if err != nil {
				return err
			}
			drift, err := t.box.Verify(c.Context(), m, p)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), append([]tuning.Drift{}, drift...))
			} else {
				err = tuning.WriteDrift(c.OutOrStdout(), drift)
			}
			if err == nil && len(drift) > 0 {
				err = errQuiet
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
