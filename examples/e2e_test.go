//go:build e2e

// Package examples_test plays the scenes of the examples with real processes: the gateway's binary, the queue layer's with a
// Redis, and the examples as a user builds them.
package examples_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"edged/config"
	"edged/examples/exampletest"
	"edged/redisconn/redistest"
)

// bin is where TestMain puts the binaries.
var bin string

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "edged-examples-"); err == nil {
		err = build()
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(bin)
	os.Exit(code)
}

func build() error {
	cmd := exec.Command("go", "build", "-o", bin, "edged/cmd/edged", "edged/examples/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func program(name string) exampletest.Start { return exampletest.Process(filepath.Join(bin, name)) }

// gateway is an exampletest.Gateway that runs the binary.
func gateway(t *testing.T, manager string, change func(*config.Config)) string {
	t.Helper()
	dir := t.TempDir()
	cfg := exampletest.Configuration(manager, change)
	cfg.Admin.Listen = []string{"unix:" + filepath.Join(dir, "admin.sock")}
	file := filepath.Join(dir, "edged.toml")
	f, err := os.Create(file)
	if err == nil {
		err = toml.NewEncoder(f).Encode(cfg)
		_ = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	g := program("edged")(t, "serve", "--config", file)
	line := g.Await("ready: listening on ")
	_, rest, _ := strings.Cut(line, "listening on ")
	address, _, _ := strings.Cut(rest, ", ")
	return address
}

func TestChat(t *testing.T) {
	exampletest.Chat(t, program("chat"), program("chat"), gateway)
}

func TestRoom(t *testing.T) {
	exampletest.Room(t, program("room"), gateway)
}

func TestIoT(t *testing.T) {
	exampletest.IoT(t, program("iot"), gateway)
}

// TestChatStored has a Redis, whose address the gateway and the queue layer know.
func TestChatStored(t *testing.T) {
	redis := redistest.Start(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := lis.Addr().String()
	_ = lis.Close() // the queue layer is ended and begun again there
	queue := func(t *testing.T) *exampletest.Role {
		t.Helper()
		file := filepath.Join(t.TempDir(), "queue.toml")
		text := fmt.Sprintf("[queue]\nlisten = [%q]\ntoken = %q\n[redis]\naddresses = [%q]\n", address, exampletest.QueueToken, redis.Addr)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		q := program("edged")(t, "queue", "--config", file)
		q.Await("ready: queue")
		return q
	}
	withRedis := func(t *testing.T, manager string, _ func(*config.Config)) string {
		return gateway(t, manager, func(c *config.Config) { c.Redis.Addresses = []string{redis.Addr} })
	}
	exampletest.ChatStored(t, program("chat"), program("chat"), withRedis, queue, "http://"+address)
}

// TestChatPython is the chat with a Manager in Python, of code that is generated here.
func TestChatPython(t *testing.T) {
	python := interpreter(t)
	generatePython(t)
	start := exampletest.Process(python, filepath.Join("chat-python", "manager.py"))
	manager := func(t *testing.T, args ...string) *exampletest.Role {
		t.Helper()
		return start(t, args[1:]...) // it has the one role
	}
	exampletest.Chat(t, manager, program("chat"), gateway)
}

// interpreter finds a Python that has gRPC: what Debian installs is for its own.
func interpreter(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import grpc, google.protobuf").Run() == nil {
			return python
		}
	}
	missing(t, "python3-grpcio and python3-protobuf")
	return ""
}

// missing skips where the package cannot be installed; where it can be, tests/setup should have done so.
func missing(t *testing.T, packages string) {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err == nil && os.Getuid() == 0 {
		t.Fatalf("no %s: run tests/setup", packages)
	}
	t.Skipf("no %s here, and no apt to install it", packages)
}

// TestConfigurations checks the files that the READMEs name.
func TestConfigurations(t *testing.T) {
	for _, file := range []string{"edged.toml", "edged-redis.toml", "queue.toml"} {
		if out, err := exec.Command(filepath.Join(bin, "edged"), "check", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}
