//go:build e2e

package tests

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"edged/sdk/manager"
)

// kit is a Manager written with the Go kit, behind a server that can be ended and begun again.
type kit struct {
	t       *testing.T
	m       *manager.Manager
	address string // as a gateway's configuration names it
	options []grpc.ServerOption
	server  *grpc.Server
}

// ownHost is an address of this machine from which nobody dials: a port on it that is free now stays free for who listened
// on it before.
const ownHost = "127.77.0.1"

// echoHandler accepts every login, HELLO being user/device, and sends DATA back.
func echoHandler() manager.Handler {
	return manager.Handler{
		Hello: func(e *manager.Event) {
			user, device, _ := strings.Cut(string(e.Payload), "/")
			_ = e.Bind(user, device)
		},
		Data: func(e *manager.Event) { _ = e.Data(e.Payload) },
	}
}

// newKit serves a Manager on a free port until the test ends.
func newKit(t *testing.T, h manager.Handler, options ...grpc.ServerOption) *kit {
	t.Helper()
	k := &kit{t: t, m: manager.New(manager.Options{ID: "test", Handler: h}), address: ownHost + ":0", options: options}
	k.serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = k.m.Stop(ctx)
		k.server.Stop()
	})
	return k
}

// serve begins to serve, at the address of before.
func (k *kit) serve() {
	k.t.Helper()
	var lis net.Listener
	waitFor(k.t, "the Manager's address is free", func() bool { // a process that is just being started may still hold the listener of before
		var err error
		lis, err = net.Listen("tcp", k.address)
		return err == nil
	})
	k.address = lis.Addr().String()
	k.server = grpc.NewServer(append(append(patientServer(), grpc.ForceServerCodecV2(manager.Codec())), k.options...)...)
	k.m.Register(k.server)
	go func(srv *grpc.Server) { _ = srv.Serve(lis) }(k.server)
}

// cut ends every stream in the middle of what it does, and refuses new ones.
func (k *kit) cut() { k.server.Stop() }

// roleVar has the test binary run as something else than a test.
const roleVar = "EDGED_E2E_ROLE"

// managerProcess is a Manager of its own process on the unix socket that EDGED_E2E_SOCKET names. It ends by a signal.
func managerProcess() int {
	path := os.Getenv("EDGED_E2E_SOCKET")
	_ = os.Remove(path) // of the one before, which had no chance to
	lis, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("serving")
	if err := manager.New(manager.Options{Handler: echoHandler()}).Serve(lis); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startManagerProcess runs one and waits until it serves.
func startManagerProcess(t *testing.T, socket string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(must(os.Executable())(t))
	cmd.Env = append(os.Environ(), roleVar+"=manager", "EDGED_E2E_SOCKET="+socket)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := must(cmd.StdoutPipe())(t)
	check(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if _, err := io.ReadFull(out, make([]byte, len("serving\n"))); err != nil {
		t.Fatalf("the Manager process does not serve: %v", err)
	}
	t.Cleanup(func() { killProcess(cmd) })
	return cmd
}

// killProcess is SIGKILL and the wait for the end; a second time it does nothing.
func killProcess(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
