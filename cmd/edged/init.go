package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/config"
	"edged/tuning"
)

// question is one thing that a first configuration needs to know, and where in the file it goes.
type question struct {
	flag, usage  string
	section, key string
	ask          string // its words at a terminal
	form         form
	need         string // flag of another question without which it means nothing
}

// socketUnit is where a package installs the unit that listens in place of the gateway.
const socketUnit = "/usr/lib/systemd/system/edged.socket"

// form is how an answer is written.
type form byte

const (
	formText form = iota
	formList      // several, with commas between
	formNumber
)

// questions are all there are, in the order in which they are asked.
func questions() []question {
	return []question{
		{flag: "listen", usage: "`address` that clients connect to, IP:port", section: "listener", key: "address",
			ask: "Address that clients connect to, IP:port"},
		{flag: "manager", usage: "`addresses` of the Managers, host:port or unix:/path, with commas between", section: "manager", key: "addresses", form: formList,
			ask: "Managers, host:port or unix:/path, with commas between; empty: none yet, so that nobody can log in"},
		{flag: "redis", usage: "`addresses` of Redis, host:port, with commas between; several are the nodes of a Cluster", section: "redis", key: "addresses", form: formList,
			ask: "Redis, host:port, with commas between; empty: none, this gateway works on its own"},
		{flag: "slb", usage: "`name` of the load balancer that this box stands behind", section: "redis", key: "slb", need: "redis",
			ask: "Name of the load balancer that this box stands behind; empty: none, clients come directly"},
		{flag: "pps-limit", usage: "`number` of packets a second, received and sent together, that mean this box is full; 0: they do not count", section: "health", key: "pps_limit", form: formNumber,
			ask: "Packets a second, received and sent together, that mean this box is full (clouds have such a limit); 0: they do not count"},
		{flag: "bytes-limit", usage: "`number` of bytes a second in one direction that mean this box is full; 0: the speed of its link", section: "health", key: "bytes_limit", form: formNumber,
			ask: "Bytes a second in one direction that mean this box is full; 0: the speed of its link"},
		{flag: "links", usage: "`number` of links to prepare this box for; 0: what it can hold", section: "tuning", key: "links", form: formNumber,
			ask: "Links to prepare this box for; 0: what it can hold"},
	}
}

// initialization is one run of init.
type initialization struct {
	box     tuning.Box
	file    string
	force   bool
	answers map[string]*string // by flag, as they were typed
}

func initCommand(box tuning.Box, terminal func(io.Reader) bool) *cobra.Command {
	n := &initialization{box: box, answers: map[string]*string{}}
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration, and check it",
		Long: `Write a first configuration, and check it.

What no flag tells it asks, if there is a terminal and no flag told anything. The file has every setting in it, each with a comment.
A file that is there is not written over without --force, unless it is as it was installed. It is checked before it is written, and
the box is looked at after: see edged doctor. Nothing else is changed or started.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := n.mayWrite(); err != nil {
				return err
			}
			told := false
			for _, q := range questions() {
				told = told || c.Flags().Changed(q.flag)
			}
			if !told && terminal(c.InOrStdin()) {
				if err := n.interview(c.InOrStdin(), c.OutOrStdout()); err != nil {
					return err
				}
			}
			return n.run(c)
		},
	}
	c.Flags().StringVar(&n.file, "config", defaultConfig, "`file` to write")
	c.Flags().BoolVar(&n.force, "force", false, "write over a file that is there")
	for _, q := range questions() {
		n.answers[q.flag] = c.Flags().String(q.flag, "", q.usage)
	}
	return c
}

// run writes what was answered, and says how the box is.
func (n *initialization) run(c *cobra.Command) error {
	text, err := n.text()
	if err != nil {
		return err
	}
	if err := writeNew(n.file, text, n.force || untouched(n.file)); err != nil {
		return err
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "%s is written; configuration OK\n", n.file)
	cfg, err := load(n.file, c.ErrOrStderr())
	if err != nil {
		return err
	}
	if lacksManager(cfg) {
		fmt.Fprintln(out, "Not ready yet:", errNoManager)
	}
	if _, err := os.Stat(n.box.Root + socketUnit); err == nil && *n.answers["listen"] != "" {
		fmt.Fprintln(out, "systemd listens for the gateway: the address is that of edged.socket, see systemctl edit edged.socket")
	}
	n.consult(c)
	return nil
}

// text is the file with all answers in it, once nothing is wrong with them.
func (n *initialization) text() (string, error) {
	for _, q := range questions() {
		if *n.answers[q.flag] == "" {
			continue
		}
		if q.need != "" && *n.answers[q.need] == "" {
			return "", fmt.Errorf("--%s needs --%s", q.flag, q.need)
		}
		if err := n.try(q); err != nil {
			return "", fmt.Errorf("--%s: %w", q.flag, err)
		}
	}
	text, err := n.fill(questions())
	if err == nil {
		_, err = config.Parse(n.file, []byte(text))
	}
	return text, err
}

// try says what is wrong with one answer, in a sentence.
func (n *initialization) try(q question) error {
	text, err := n.fill([]question{q})
	if err != nil {
		return err
	}
	_, err = config.Parse(n.file, []byte(text))
	var problems config.Problems
	if errors.As(err, &problems) {
		return errors.New(problems[0].Reason)
	}
	return err
}

// interview asks for everything, and for each thing until the answer can be meant.
func (n *initialization) interview(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for _, q := range questions() {
		if q.need != "" && *n.answers[q.need] == "" {
			continue
		}
		preset, _ := valueIn(template(), q.section, q.key)
		for {
			fmt.Fprintf(out, "%s [%s]: ", q.ask, strings.Trim(preset, `"[]`))
			if !lines.Scan() {
				fmt.Fprintln(out)
				return errors.Join(errors.New("the answers ended before the questions did; nothing was written"), lines.Err())
			}
			*n.answers[q.flag] = strings.TrimSpace(lines.Text())
			if *n.answers[q.flag] == "" {
				break
			}
			err := n.try(q)
			if err == nil {
				break
			}
			fmt.Fprintln(out, " ", err)
		}
	}
	return nil
}

// consult says in short what the doctor does. Nothing that it finds keeps the file from being written.
func (n *initialization) consult(c *cobra.Command) {
	const watch, most = 200 * time.Millisecond, 3
	out := c.OutOrStdout()
	d, err := (&tune{box: n.box, file: n.file, links: -1, messages: -1}).examine(c, watch)
	if err != nil {
		fmt.Fprintln(out, "The box cannot be looked at:", err)
		return
	}
	fmt.Fprintf(out, "This box holds %s links now, %s once it is tuned.\n", links(d.Plan.Now), links(d.Plan.Holds))
	for i, s := range d.Next {
		if i == most {
			break
		}
		fmt.Fprintf(out, "%3d. %s\n     %s\n", i+1, s.Do, s.Why)
	}
	fmt.Fprintf(out, "More: edged doctor --config %s\n", n.file)
}

// mayWrite refuses before anything is asked.
func (n *initialization) mayWrite() error {
	if _, err := os.Lstat(n.file); err == nil && !n.force && !untouched(n.file) {
		return existsError(n.file)
	}
	return nil
}

func existsError(file string) error {
	return fmt.Errorf("%s is there already: --force writes over it, --config names another file", file)
}
