package queue_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/bus"
	"edged/queue"
	"edged/redisconn"
)

// childRole is the variable by which this test program is told to be something else; what follows the role in the arguments is
// its own.
const childRole = "EDGED_QUEUE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(childRole) {
	case "layer":
		beLayer(os.Args[1], os.Args[2:])
	case "ears":
		beEars(os.Args[1], os.Args[2:])
	default:
		os.Exit(m.Run())
	}
}

// beLayer is a process of the queue layer with the settings of a JSON text.
func beLayer(settings string, addrs []string) {
	c := queue.Default()
	if err := json.Unmarshal([]byte(settings), &c); err != nil {
		panic(err)
	}
	client := redisconn.New(redisconn.Config{Addresses: addrs}, slog.New(slog.DiscardHandler))
	l := run(nil, client, c)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("ready")
	<-stop
	l.stop()
}

// beEars hears the channels of gateways, named in the first argument with commas, and does nothing with it.
func beEars(names string, addrs []string) {
	for _, id := range strings.Split(names, ",") {
		client := redisconn.New(redisconn.Config{Addresses: addrs}, slog.New(slog.DiscardHandler))
		s := bus.NewSubscriber(client, id, deaf{}, slog.New(slog.DiscardHandler))
		s.Start()
		for !s.Heard(bus.FromOwn).Up {
			time.Sleep(5 * time.Millisecond)
		}
	}
	fmt.Println("ready")
	select {}
}

type deaf struct{}

func (deaf) Batch(bus.Source, []byte) {}
func (deaf) Missed(bus.Source)        {}

// child is this test program in another role.
type child struct {
	process *os.Process
	ended   chan error
}

// spawn starts a child, which dies with us, and waits until it says that it is ready. The kernel ties that death to the thread
// that started it, so a goroutine keeps its thread for as long as the child lives.
func spawn(t testing.TB, role string, args ...string) *child {
	t.Helper()
	c := &child{ended: make(chan error, 1)}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), childRole+"="+role)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			started <- err
			return
		}
		c.process = cmd.Process
		line, err := bufio.NewReader(out).ReadString('\n')
		if line == "ready\n" {
			err = nil
		}
		started <- err
		c.ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		t.Fatalf("child %s: %v", role, err)
	}
	t.Cleanup(c.kill)
	return c
}

// kill ends the child without a word, and waits for it.
func (c *child) kill() { c.end(syscall.SIGKILL) }

// end sends a signal and waits for the end.
func (c *child) end(s os.Signal) {
	if c.process == nil {
		return
	}
	_ = c.process.Signal(s)
	<-c.ended
	c.process = nil
}
