package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edged/admin"
	"edged/config"
	"edged/demo"
	"edged/handover"
)

// How a show of upgrades goes.
const (
	demoReloads  = 5
	demoPatience = 10 * time.Second // for a process to serve, and for one to end
)

// upgraded is a gateway in a process of its own, as the demo sees it.
type upgraded struct {
	client  *admin.Client
	status  admin.Status
	process *os.Process // the one that serves now; a child of this one's, whoever has started it
}

// startUpgraded runs `edged serve` with what the demo needs of cfg.
func startUpgraded(cfg *config.Config, said io.Writer) (*upgraded, error) {
	socket := cfg.Admin.Listen[0]
	file := filepath.Join(filepath.Dir(strings.TrimPrefix(socket, "unix:")), "edged.toml")
	text := fmt.Sprintf("[[listener]]\naddress = %q\n[manager]\naddresses = [%q]\n[admin]\nlisten = [%q]\n",
		cfg.Listeners[0].Address, cfg.Manager.Addresses[0], socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(file + ".log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	u := &upgraded{}
	if u.client, err = dialAdmin(socket); err != nil {
		return nil, err
	}
	u.process, err = handover.Start(path, []string{path, "serve", "--config", file}, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, log, log}})
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(demoPatience); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), ctlTimeout)
		u.status, err = u.client.Status(ctx)
		cancel()
		if err == nil {
			return u, nil
		}
		if time.Now().After(end) {
			last, _ := os.ReadFile(log.Name())
			fmt.Fprintf(said, "%s", last)
			return nil, errors.Join(fmt.Errorf("the gateway does not serve: %w", err), u.Stop())
		}
	}
}

func (u *upgraded) Addresses() []string { return u.status.Listeners }

func (u *upgraded) Links() int {
	ctx, cancel := context.WithTimeout(context.Background(), ctlTimeout)
	defer cancel()
	s, _ := u.client.Status(ctx) // a gateway that does not answer has none to show
	return s.Links
}

func (u *upgraded) Drain(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), ctlTimeout)
	defer cancel()
	_ = u.client.Drain(ctx, admin.DrainRequest{Within: within})
}

// reload is for one goroutine, and over before Stop.
func (u *upgraded) reload(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	done, err := u.client.Reload(ctx)
	if err != nil {
		return "", err
	}
	old := u.process
	if u.process, err = os.FindProcess(done.PID); err != nil {
		return "", err
	}
	return done.String(), u.ended(old)
}

// Stop ends the process that serves.
func (u *upgraded) Stop() error {
	if err := u.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return u.ended(u.process)
}

// ended waits for the end of a process.
func (u *upgraded) ended(p *os.Process) error {
	late := time.AfterFunc(demoPatience, func() { _ = p.Kill() })
	defer late.Stop()
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("the gateway's process ended: %v", state)
	}
	return err
}

// showUpgrade is the demo with a gateway that is replaced meanwhile.
func showUpgrade(ctx context.Context, o demo.Options) error {
	var u *upgraded
	o.Start = func(cfg *config.Config, _ *slog.Logger) (_ demo.Gateway, err error) {
		if u, err = startUpgraded(cfg, o.Out); err != nil {
			return nil, err
		}
		return u, nil
	}
	o.Reloads = demoReloads
	o.Reload = func(ctx context.Context) (string, error) { return u.reload(ctx) }
	return demo.Run(ctx, o)
}
