package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settings is what the command line says.
type settings struct {
	rounds int
	only   *regexp.Regexp
	base   string
	json   string
	window time.Duration // measured, of rows that count messages
	warm   time.Duration // before it
	halt   bool          // idle CPUs may halt in rows of latency, too
	hold   time.Duration // measured, of rows that hold idle links
	links  int           // of rows that hold idle links
	storm  int           // links of rows that count accepts
	list   bool
	peers  bool  // the relays of others too
	line   []int // the two CPUs whose distance is watched; empty: there is but one
}

func main() {
	runtime.LockOSThread()
	set, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := run(set); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parse reads the command line. An empty value is no value, so that a Makefile may pass variables that nobody set.
func parse(args []string) (settings, error) {
	var set settings
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&set.rounds, "rounds", 5, "`rounds` of all rows")
	f.StringVar(&only, "only", "", "measure the rows whose names match this regular `expression`")
	f.StringVar(&set.base, "base", "", "compare with this git `commit` too")
	f.StringVar(&set.json, "json", "", "write the figures to this `file` too")
	f.DurationVar(&set.window, "window", time.Second, "how long messages are counted")
	f.BoolVar(&set.halt, "halt", false, "let idle CPUs halt in rows of latency, too")
	f.DurationVar(&set.warm, "warm", 250*time.Millisecond, "how long they flow before that")
	f.DurationVar(&set.hold, "hold", 10*time.Second, "how long idle links are watched")
	f.IntVar(&set.links, "links", 15000, "idle links")
	f.IntVar(&set.storm, "storm", 20000, "links of the accept rows")
	f.BoolVar(&set.peers, "peers", os.Getenv("PEERS") != "", "measure HAProxy, nginx, NATS and mosquitto too; $PEERS sets it")
	f.BoolVar(&set.list, "list", false, "print the names of the rows and leave")
	if err := f.Parse(args); err != nil {
		return set, err
	}
	var err error
	if set.only, err = regexp.Compile(only); err != nil {
		return set, fmt.Errorf("-only: %w", err)
	}
	switch {
	case f.NArg() > 0:
		return set, fmt.Errorf("%q: takes no arguments, only flags", f.Arg(0))
	case set.rounds < 1 || set.links < 1 || set.storm < 1 || set.window <= 0 || set.hold <= 0:
		return set, errors.New("rounds, links, storm, window and hold must be above 0")
	}
	return set, nil
}

func run(set settings) (err error) {
	m := look()
	if cpus := firstCPUs(2); len(cpus) == 2 {
		set.line = cpus
	}
	rows := choose(allRows(set, m.cpus), set.only)
	if set.list {
		for _, r := range rows {
			fmt.Println(r.name)
		}
		return nil
	}
	if len(rows) == 0 {
		return fmt.Errorf("no row matches -only %q; -list prints them", set.only)
	}
	if m.files < filesFor(rows) {
		return fmt.Errorf("these rows open up to %d files per process and the limit is %d: raise it (ulimit -n), or pass fewer -links",
			filesFor(rows), m.files)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	b := &bench{ctx: ctx, set: set, proc: proc{"/proc"}}
	defer b.cleanUp() // also when a row panics
	if err := b.build(); err != nil {
		return err
	}
	m.isolate()
	began := time.Now()
	fmt.Fprintln(os.Stderr, m)
	all := b.rounds(rows)
	out := b.output(m, rows, all)
	fmt.Print(out.text())
	fmt.Fprintf(os.Stderr, "%d rows in %v\n", len(rows), time.Since(began).Round(time.Second))
	if set.json != "" {
		err = out.write(set.json)
	}
	switch {
	case ctx.Err() != nil:
		return errors.Join(err, errors.New("interrupted; the table holds what was measured until then"))
	case len(out.Failures) > 0:
		return errors.Join(err, fmt.Errorf("%d measurements failed:\n  %s", len(out.Failures), strings.Join(out.Failures, "\n  ")))
	}
	return err
}

// machine is what the figures depend on beside the code.
type machine struct {
	CPU        string `json:"cpu"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Congestion string `json:"congestion_control"`
	Isolated   bool   `json:"isolated"` // in a network namespace of our own
	cpus       int
	files      int
}

func look() machine {
	m := machine{CPU: proc{"/proc"}.cpu(), Go: runtime.Version(), cpus: runtime.NumCPU()}
	m.CPU = fmt.Sprintf("%d × %s", m.cpus, m.CPU)
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		m.files = int(min(files.Max, 1<<30))
	}
	return m
}

// isolate leaves the machine's network for one where no other program is, if it may.
func (m *machine) isolate() {
	if err := isolate(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: no network namespace of our own (%v): the figures include the machine's congestion control and "+
			"firewall rules; as root they do not\n", err)
	} else {
		m.Isolated = true
	}
	m.Congestion = congestionControl()
}

// String returns the line that a claim about performance has to quote.
func (m machine) String() string {
	where := "own network namespace"
	if !m.Isolated {
		where = "the machine's network"
	}
	return fmt.Sprintf("%s, Linux %s, %s, %s with %s", m.CPU, m.Kernel, m.Go, where, m.Congestion)
}
