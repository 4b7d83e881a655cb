package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// toldBytes is how much is kept of what a preflight child says.
const toldBytes = 8 << 10

// preflight has the new binary prove the configuration and that it reads what would be written, in a child without links.
func (u *Upgrader) preflight(ctx context.Context, written Formats) error {
	if len(u.o.Check) == 0 {
		return nil
	}
	limit := u.o.Config.CheckTimeout
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	told, err := runCheck(ctx, u.o.Path, u.o.Check, successorEnv(checkVariable+"="+written.String()))
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("the new binary did not check the configuration within %v", limit)
	case ctx.Err() != nil:
		return fmt.Errorf("called off: %w", context.Cause(ctx))
	case told != "":
		return fmt.Errorf("the new binary refuses: %s", told)
	}
	return fmt.Errorf("the new binary does not check the configuration: %w", err)
}

// runCheck runs a program to its end, or to that of ctx, and returns the last line that it said.
func runCheck(ctx context.Context, path string, args, env []string) (told string, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	defer func() { _ = null.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	p, err := Start(path, args, &os.ProcAttr{Env: env, Files: []*os.File{null, w, w}})
	_ = w.Close()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = p.Kill()
		_ = r.SetReadDeadline(time.Unix(1, 0)) // its own children may hold the other end
	})
	defer stop()
	said := tail(r)
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return lastLine(said), err
}

// tail reads r to its end and returns the last of it.
func tail(r io.Reader) []byte {
	var kept []byte
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		kept = append(kept, b[:n]...)
		kept = kept[max(len(kept)-toldBytes, 0):]
		if err != nil {
			return kept
		}
	}
}

// lastLine returns the last line that says anything.
func lastLine(said []byte) string {
	lines := bytes.Split(bytes.TrimSpace(said), []byte("\n"))
	return strings.TrimSpace(string(lines[len(lines)-1]))
}
