package handover_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// The test binary plays the processes of a hand-over: its own name tells it which.
func TestMain(m *testing.M) {
	handover.Shim()
	switch os.Args[0] {
	case "echo":
		os.Exit(playServer())
	case "check":
		os.Exit(playCheck())
	case "listen":
		os.Exit(playListen())
	case "depositor":
		os.Exit(playDepositor())
	case "liar":
		fmt.Println("born", os.Getpid())
		os.Exit(playLiar())
	case "writer", stepped:
		os.Exit(playWriter())
	case "keeper":
		os.Exit(playKeeper())
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // each process would wait a second at its end
	os.Exit(m.Run())
}

// faultVariable tells a successor what is to go wrong.
const faultVariable = "HANDOVER_TEST_FAULT"

func fault() string { return os.Getenv(faultVariable) }

func playCheck() int {
	switch fault() {
	case "check-refuses":
		fmt.Println("some line before")
		fmt.Println("edged.toml:7: unknown key \"listner\"")
		return 1
	case "check-hangs":
		time.Sleep(time.Minute)
	case "called-off":
		time.Sleep(time.Minute)
	case "check-crashes":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	case "check-formats":
		if err := handover.CheckFormats(handover.Formats{{Kind: "poll", Oldest: 1, Newest: 1}, {Kind: "echo", Oldest: 3, Newest: 4}}); err != nil {
			fmt.Println(err)
			return 1
		}
	case "check-links":
		// What it must not have: any descriptor beside its own three and what lists them.
		if fds, err := os.ReadDir("/proc/self/fd"); err != nil || len(fds) > 8 {
			fmt.Println("inherited", len(fds), err)
			return 1
		}
	}
	if err := handover.CheckFormats(echoFormats); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// playServer is a process that serves an echo and obeys commands from its standard input, one a line.
func playServer() int {
	fmt.Println("born", os.Getpid())
	p, err := handover.Receive()
	if err != nil {
		fmt.Fprintln(os.Stderr, "receive:", err)
		return 1
	}
	var e *echo
	if p == nil {
		e, err = newEcho()
	} else {
		e, err = succeed(p)
	}
	if errors.Is(err, handover.ErrTrial) || errors.Is(err, handover.ErrCalledOff) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		return 1
	}
	cfg := handover.Default()
	cfg.CheckTimeout = time.Second
	cfg.AcceptPause = 3 * time.Second // the machine may be busy
	cfg.Freeze = 2 * time.Second
	s := &server{echo: e, cfg: cfg}
	go e.run()
	if p != nil {
		frozen := p.Frozen()
		p.Running(context.Background())
		fmt.Println("running", os.Getpid(), p.Orphaned(), frozen)
	} else {
		fmt.Println("serving", e.port())
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if s.obey(strings.Fields(in.Text())) {
			return 0
		}
	}
	return 0
}

// succeed takes over, or does wrong what the fault says.
func succeed(p *handover.Predecessor) (*echo, error) {
	at := func(step string) {
		switch fault() {
		case "crash-" + step:
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		case "hang-" + step:
			time.Sleep(time.Minute)
		case "exit-" + step:
			os.Exit(3)
		}
	}
	at("start")
	reads := echoFormats
	switch fault() {
	case "refuse":
		p.Refuse(errors.New("this binary\ndoes not want to"))
		return nil, handover.ErrCalledOff
	case "other-formats":
		reads = handover.Formats{{Kind: "poll", Oldest: 1, Newest: 1}, {Kind: "echo", Oldest: 3, Newest: 9}}
	case "older":
		reads = handover.Formats{{Kind: "poll", Oldest: 1, Newest: 1}, {Kind: "echo", Oldest: 1, Newest: 1}}
	case "orphan-before":
		killOld()
	}
	sections, err := p.State(reads)
	at("restore")
	if err == nil && fault() == "refuse-state" {
		err = errors.New("this state is not to my taste")
	}
	var e *echo
	if err == nil {
		e, err = loadEcho(p, sections)
	}
	if err != nil {
		p.Refuse(err)
		return nil, err
	}
	if fault() == "orphan" {
		killOld()
	}
	if err := p.Ready(); err != nil {
		return nil, err
	}
	at("go")
	if fault() == "touch" {
		e.touchOne()
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	return e, e.takeOver()
}

// oldVariable is the PID of the process that hands over.
const oldVariable = "HANDOVER_TEST_OLD"

func killOld() {
	pid, err := strconv.Atoi(os.Getenv(oldVariable))
	if err != nil {
		panic(err)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
}

// touchOne reads what one link has to say, when there is something.
func (e *echo) touchOne() {
	var b [4]byte
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for fd := range e.links {
			if n, _ := unix.Read(fd, b[:]); n > 0 {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// server obeys the test.
type server struct {
	echo *echo
	cfg  handover.Config
}

// obey carries out one command and answers with one line. True ends the process.
func (s *server) obey(words []string) bool {
	switch words[0] {
	case "stat":
		s.echo.turn.Lock()
		var cpus unix.CPUSet
		_ = unix.SchedGetaffinity(0, &cpus)
		fmt.Println("stat", len(s.echo.links), s.echo.torn, s.echo.frozen, s.echo.noted(), cpus.Count())
		s.echo.turn.Unlock()
	case "quit":
		return true
	case "grow":
		fmt.Println("grown", s.echo.grow(words[1]))
	case "reload": // mode, fault, path or "-", freeze or "-"
		return s.reload(words[1], words[2], words[3], words[4])
	default:
		fmt.Println("what?")
	}
	return false
}

func (s *server) reload(mode, fault, path, freeze string) bool {
	_ = os.Setenv(faultVariable, fault)
	_ = os.Setenv(oldVariable, strconv.Itoa(os.Getpid()))
	o := handover.Options{Config: s.cfg, Args: []string{"echo"}, Check: []string{"check"}, Supervisor: teller{}}
	o.Config.Mode = mode
	if path != "-" {
		o.Path = path
	}
	if freeze != "-" {
		o.Config.Freeze, _ = time.ParseDuration(freeze)
	}
	if strings.HasPrefix(fault, "liar") {
		o.Args = []string{"liar"}
	}
	if fault == "no-check" {
		o.Check = nil
	}
	s.echo.spoil = spoilers[fault]
	if fault == "none" {
		_ = unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	}
	u, err := handover.NewUpgrader(o, s.echo)
	if fault == "pinned" {
		var first unix.CPUSet
		first.Set(0)
		runtime.LockOSThread()
		_ = unix.SchedSetaffinity(0, &first)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if fault == "called-off" {
		s.echo.spoil = func([]handover.Part) { time.AfterFunc(50*time.Millisecond, cancel) }
	}
	if fault == "busy" {
		s.echo.spoil = func(p []handover.Part) {
			if _, err := u.Upgrade(ctx); !errors.Is(err, handover.ErrBusy) {
				panic(err)
			}
		}
	}
	if err == nil {
		handover.SetRunningLimit(u, time.Second)
		var r handover.Report
		r, err = u.Upgrade(ctx)
		if err == nil {
			if _, err := u.Upgrade(ctx); !errors.Is(err, handover.ErrHandedOver) {
				panic(err)
			}
			fmt.Println("reloaded", r.PID, r.Bytes, r.Frozen, r.Paused)
			return true
		}
	}
	fmt.Println("error", err)
	return false
}

// spoilers make the parts of the old process go wrong.
var spoilers = map[string]func([]handover.Part){
	"append-fails": func(p []handover.Part) {
		p[1].Append = func([]byte, uint16) ([]byte, error) { return nil, errors.New("no state today") }
	},
	"append-dies": func(p []handover.Part) {
		p[1].Append = func([]byte, uint16) ([]byte, error) {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	},
	"outgrown": func(p []handover.Part) { p[1].Expect = 0 },
	"huge":     func(p []handover.Part) { p[1].Expect = 1 << 34 },
	"no-memory": func(p []handover.Part) {
		p[1].Expect = 1 << 30
		var pages uint64
		statm, err := os.ReadFile("/proc/self/statm")
		if err == nil {
			_, err = fmt.Sscan(string(statm), &pages)
		}
		if err == nil { // half of what the part wants
			err = unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: pages<<12 + 1<<29, Max: unix.RLIM_INFINITY})
		}
		if err != nil {
			panic(err)
		}
	},
	"broken-record": func(p []handover.Part) {
		p[1].Append = func(b []byte, _ uint16) ([]byte, error) { return append(b, 1, 2, 3), nil }
	},
	"stranger": func(p []handover.Part) {
		inner := p[1].Append
		p[1].Append = func(b []byte, v uint16) ([]byte, error) {
			b, start := handover.Begin(b, v)
			b = (&echoLink{fd: 9999}).appendState(b)
			handover.End(b, start)
			return inner(b, v)
		}
	},
}

// teller is a Supervisor that says what it is told.
type teller struct{}

func (teller) Reloading() error          { fmt.Println("told reloading"); return nil }
func (teller) Ready(status string) error { fmt.Println("told", status); return nil }
func (teller) MainPID(_ context.Context, pid int) error {
	fmt.Println("told main", pid)
	return nil
}
