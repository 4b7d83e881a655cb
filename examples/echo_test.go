//go:build e2e

package examples_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edged/examples/exampletest"
)

// echo is a scene of a Manager that sends back what is said: the client is the one of the documents.
func echo(t *testing.T, manager exampletest.Start, listen ...string) {
	t.Helper()
	line := manager(t, listen...).Await("echo manager ready on")
	address := gateway(t, line[strings.LastIndexByte(line, ' ')+1:], nil)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), exampletest.Patience)
	defer cancel()
	for _, words := range []string{"hello", "grüße"} {
		out, err := exec.CommandContext(ctx, "python3", "../docs/client.py", host, port, words).CombinedOutput()
		if err != nil || string(out) != "alice: "+words+"\n" {
			t.Errorf("the client got %v, %q", err, out)
		}
	}
}

func TestEcho(t *testing.T) {
	echo(t, program("echo"), "-listen", "127.0.0.1:0")
}

// TestEchoPython has a Manager in Python, of code that is generated here.
func TestEchoPython(t *testing.T) {
	python := interpreter(t)
	generatePython(t)
	echo(t, exampletest.Process(python, filepath.Join("chat-python", "echo.py")), "127.0.0.1:0")
}

// generatePython makes Python of the protocol's messages and puts it where a Python finds it.
func generatePython(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	plugin, err := exec.LookPath("grpc_python_plugin")
	if err != nil {
		missing(t, "protobuf-compiler-grpc")
	}
	out, err := exec.Command("protoc", "-I", "../api", "--plugin=protoc-gen-grpc_python="+plugin, "--python_out="+dir,
		"--grpc_python_out="+dir, "client.proto", "manager.proto").CombinedOutput()
	if err != nil {
		t.Fatalf("protoc: %v\n%s", err, out)
	}
	t.Setenv("PYTHONPATH", dir+string(os.PathListSeparator)+os.Getenv("PYTHONPATH"))
	t.Setenv("PYTHONDONTWRITEBYTECODE", "1")
}
