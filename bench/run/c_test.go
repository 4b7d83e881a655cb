package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// programLimit ends what hangs.
const programLimit = 30 * time.Second

// buildC returns the executable of bench/NAME.c, in which the compiler finds nothing to say.
func buildC(t *testing.T, name string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc:", err)
	}
	headers, err := filepath.Glob("../*.h")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(headers, "../"+name+".c") { // so that go test knows what this depends on
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", to, "../"+name+".c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return to
}

// TestSources: the compiler finds nothing to say in any of them.
func TestSources(t *testing.T) {
	for _, name := range []string{"cfloor", "crelay", "cload", "cnats", "cmanager", "croom", "cfan", "cpush"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			buildC(t, name)
		})
	}
}

// server is a program that runs until the test ends.
type server struct {
	cmd     *exec.Cmd
	address string
	said    bytes.Buffer // on standard error; valid after ended
	ended   chan struct{}
}

// serve starts a program that says "ready ADDRESS".
func serve(t *testing.T, program string, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programLimit)
	s := &server{cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	s.cmd.Stderr = &s.said
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-s.ended
	})
	f := strings.Fields(line)
	if err != nil || len(f) != 2 || f[0] != "ready" {
		t.Fatalf("it says %q, %v", line, err)
	}
	s.address = f[1]
	return s
}

// alive says whether the program runs.
func (s *server) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// fate waits for the end of a program that ends by itself, and returns what it said.
func (s *server) fate(t *testing.T) (status int, said string) {
	t.Helper()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), s.said.String()
	case <-time.After(programLimit):
		t.Fatal("it goes on")
		return 0, ""
	}
}

// TestUsage: what is not understood ends a program at once.
func TestUsage(t *testing.T) {
	program := buildC(t, "cmanager")
	for _, args := range []string{"", "-x 127.0.0.1:0", "127.0.0.1:0 more", "nowhere", "-s 5000 127.0.0.1:0", "-a never 127.0.0.1:0", "1.2.3:0", "unix:" + strings.Repeat("x", 200)} {
		out, err := exec.CommandContext(t.Context(), program, slices.Collect(strings.FieldsSeq(args))...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "usage:") {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}

// runLoad has a load work until there was enough, and returns its report, what it said, and whether it was content.
func runLoad(t *testing.T, program string, enough <-chan struct{}, args ...string) (report, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	defer cancel()
	var out, said bytes.Buffer
	load := exec.CommandContext(ctx, program, append([]string{"-w", "0", "-d", "0"}, args...)...)
	load.Stdout, load.Stderr = &out, &said
	in, err := load.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- load.Wait() }()
	select {
	case <-enough:
		_ = in.Close()
		err = <-over
	case err = <-over:
	}
	rep, bad := parseReport(out.Bytes())
	if bad != nil {
		t.Fatalf("%v; it said %s", bad, said.String())
	}
	return rep, said.String(), err
}
