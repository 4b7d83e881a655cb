package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of every wait.
const (
	readyLimit = 10 * time.Second // for a program to serve
	stopLimit  = 3 * time.Second  // for a program to end when it is told to
	loadLimit  = 90 * time.Second // for cload, beyond the time that it is to measure
)

// keepOutput bounds what is kept of a program's output, for the error that quotes it.
const keepOutput = 4096

// keepTrace bounds the same where each line counts.
const keepTrace = 1 << 20

// process is a program under test, or its load.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   transcript
	group bool          // it has processes of its own, which end with it
	ended chan struct{} // closed when it was waited for
	err   error         // how it ended; valid after ended
}

// transcript keeps the last bytes that a process wrote, and tells when a word came.
type transcript struct {
	word string
	keep int           // bytes
	seen chan struct{} // closed when the word came in a whole line

	mu   sync.Mutex // guards the fields below
	text []byte
	line string // the one with the word; empty until it came
}

// Write is called by the goroutines of os/exec.
func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if o.line == "" {
		o.findLocked()
	}
	if n := len(o.text) - o.keep; n > 0 {
		o.text = o.text[n:]
	}
	return len(p), nil
}

func (o *transcript) findLocked() {
	for line := range bytes.Lines(o.text) {
		if bytes.HasSuffix(line, []byte("\n")) && bytes.Contains(line, []byte(o.word)) {
			o.line = string(line)
			close(o.seen)
			return
		}
	}
}

// String returns what is kept.
func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.text))
}

// launch starts a program. It must run on the main thread: the program gets that thread's namespace and CPUs, and is ended
// by the kernel if the thread ends first. stdout goes to w, or with the rest if w is nil.
func (b *bench) launch(word string, w io.Writer, path string, args ...string) (*process, error) {
	return b.start(command(path, args...), word, w)
}

// launchTraced is launch for a server; if traced, one that tells of each garbage collection, of which all is kept.
func (b *bench) launchTraced(traced bool, path string, args ...string) (*process, error) {
	p := command(path, args...)
	if traced {
		p.cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1", "GOGC=100") // edged itself collects too seldom to be measured
		p.out.keep = keepTrace
	}
	return b.start(p, "ready", nil)
}

// command returns a process that is not started.
func command(path string, args ...string) *process {
	return &process{name: filepath.Base(path), cmd: exec.Command(path, args...), ended: make(chan struct{}),
		out: transcript{keep: keepOutput, seen: make(chan struct{})}}
}

func (b *bench) start(p *process, word string, w io.Writer) (*process, error) {
	p.out.word = word
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if w != nil {
		p.cmd.Stdout = w
	}
	// A group of its own: Ctrl-C is for us, who end the programs in their order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	b.running = append(b.running, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// await waits until the process has said its word.
func (p *process) await(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.out.seen:
		return nil
	case <-p.ended:
		return p.fault(fmt.Errorf("ended before it was %s: %v", p.out.word, p.err))
	case <-t.C:
		return p.fault(fmt.Errorf("was not %s within %v", p.out.word, limit))
	case <-ctx.Done():
		return ctx.Err()
	}
}

var addressPattern = regexp.MustCompile(`127\.0\.0\.1:[1-9][0-9]*`)

// address returns the first address in the line in which the process said that it is ready.
func (p *process) address() (string, error) {
	p.out.mu.Lock()
	line := p.out.line
	p.out.mu.Unlock()
	if a := addressPattern.FindString(line); a != "" {
		return a, nil
	}
	return "", p.fault(fmt.Errorf("is ready, but %q tells no address", line))
}

// fault adds the process's name and last words to an error.
func (p *process) fault(err error) error {
	if said := p.out.String(); said != "" {
		return fmt.Errorf("%s %w; it said:\n%s", p.name, err, said)
	}
	return fmt.Errorf("%s %w", p.name, err)
}

// alive returns an error if the process has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return p.fault(fmt.Errorf("ended by itself: %v", p.err))
	default:
		return nil
	}
}

// finish waits for a process that ends by itself.
func (p *process) finish(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-t.C:
		return fmt.Errorf("did not end within %v", limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the process, politely first.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopLimit)
	defer t.Stop()
	select {
	case <-p.ended:
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.group { // one of its processes may outlive it
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}
