package redistest

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that a goroutine owns from start to end.
type process struct {
	child *os.Process
	ended chan struct{} // closed after it was waited for
}

// launch starts a child that dies with us. The kernel ties that to the thread that started it (prctl(2), PR_SET_PDEATHSIG):
// the goroutine keeps its thread for as long as the child lives.
func launch(file string, environment, args []string) (*process, error) {
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(file, args...)
		cmd.Env = append(os.Environ(), environment...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.child = cmd.Process
		started <- nil
		_ = cmd.Wait() // how it ended is the test's doing
		close(p.ended)
	}()
	return p, <-started
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// end sends the signals and waits for the end; it comes by force after the limit.
func (p *process) end(signals []os.Signal) error {
	for _, signal := range signals {
		if err := p.child.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(readyLimit):
	}
	_ = p.child.Kill()
	<-p.ended
	return errors.New("did not stop")
}
