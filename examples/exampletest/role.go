// Package exampletest runs the examples for tests: their roles, in this process or in one of their own, the gateway between
// them, and the scenes that they play.
package exampletest

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that is to come.
const Patience = 30 * time.Second

// Start begins a role of an example, such as "manager -listen 127.0.0.1:0". It ends with the test.
type Start func(t *testing.T, args ...string) *Role

// Role is a role that runs: a person at a terminal.
type Role struct {
	t    *testing.T
	name string
	in   io.WriteCloser
	end  func() error

	mu    sync.Mutex
	text  string   // of the last line, as far as it came; guarded by mu
	lines []string // guarded by mu
	seen  int      // lines that Await has looked at; guarded by mu
}

// Write takes what the role prints.
func (r *Role) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := strings.Split(r.text+string(b), "\n")
	r.lines = append(r.lines, lines[:len(lines)-1]...)
	r.text = lines[len(lines)-1]
	return len(b), nil
}

// Say types a line.
func (r *Role) Say(line string) {
	r.t.Helper()
	if _, err := io.WriteString(r.in, line+"\n"); err != nil {
		r.t.Errorf("%s: say %q: %v", r.name, line, err)
	}
}

// Await returns the next line that has all of the words in it. Lines before it are passed over, and not looked at again.
func (r *Role) Await(words ...string) string {
	r.t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if line, ok := r.find(words); ok {
			return line
		}
	}
	r.t.Fatalf("%s never said %q, but:\n%s", r.name, words, r.All())
	return ""
}

func (r *Role) find(words []string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.seen < len(r.lines); r.seen++ {
		has := true
		for _, w := range words {
			has = has && strings.Contains(r.lines[r.seen], w)
		}
		if has {
			r.seen++
			return r.lines[r.seen-1], true
		}
	}
	return "", false
}

// Count is how many lines so far have a word in them.
func (r *Role) Count(word string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		if strings.Contains(l, word) {
			n++
		}
	}
	return n
}

// All is what the role has said.
func (r *Role) All() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// End ends the role in order, which must give no error. A second time it does nothing.
func (r *Role) End() {
	r.t.Helper()
	if r.end == nil {
		return
	}
	end := r.end
	r.end = nil
	if err := end(); err != nil {
		r.t.Errorf("%s ended with %v, having said:\n%s", r.name, err, r.All())
	}
}

// Here starts roles in this process.
func Here(run func(ctx context.Context, args []string, in io.Reader, out io.Writer) error) Start {
	return func(t *testing.T, args ...string) *Role {
		t.Helper()
		in, typed := io.Pipe()
		r := &Role{t: t, name: strings.Join(args, " "), in: typed}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx, args, in, r) }()
		r.end = func() error {
			_ = typed.Close()
			cancel()
			select {
			case err := <-done:
				return err
			case <-time.After(Patience):
				return context.DeadlineExceeded
			}
		}
		t.Cleanup(r.End)
		return r
	}
}

// Process starts roles as processes: a program and what stands before a role's own arguments.
func Process(command ...string) Start {
	return func(t *testing.T, args ...string) *Role {
		t.Helper()
		r := &Role{t: t, name: strings.Join(args, " ")}
		cmd := exec.Command(command[0], append(command[1:len(command):len(command)], args...)...)
		cmd.Stdout, cmd.Stderr = r, r
		cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		r.in = in
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r.end = func() error {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				return err
			}
			late := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			return cmd.Wait()
		}
		t.Cleanup(r.End)
		return r
	}
}
