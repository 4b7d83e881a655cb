package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

// demoPatience bounds what a process of the show may take to serve, and to end.
const demoPatience = 10 * time.Second

// demoDeeds is what is done to the gateway in a show of upgrades: r a reload, k a kill.
const demoDeeds = "rrkrrkr"

// upgraded is a gateway in a process of its own, as the demo sees it, with a keeper beside it.
type upgraded struct {
	path, file string // of the program and its configuration
	client     *admin.Client
	status     admin.Status
	process    *os.Process // the one that serves now; a child of this one's, whoever has started it
	keeper     *os.Process
}

// startUpgraded runs `edged keeper` and `edged serve` with what the demo needs of cfg.
func startUpgraded(cfg *config.Config, said io.Writer) (u *upgraded, err error) {
	socket := cfg.Admin.Listen[0]
	dir := filepath.Dir(strings.TrimPrefix(socket, "unix:"))
	u = &upgraded{file: filepath.Join(dir, "edged.toml")}
	listen, err := fixed(cfg.Listeners[0].Address)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("[[listener]]\naddress = %q\n[manager]\naddresses = [%q]\n[admin]\nlisten = [%q]\n[keeper]\nenabled = true\nsocket = %q\n",
		listen, cfg.Manager.Addresses[0], socket, filepath.Join(dir, "keeper.sock"))
	if err := os.WriteFile(u.file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if u.path, err = os.Executable(); err != nil {
		return nil, err
	}
	if u.client, err = dialAdmin(socket); err != nil {
		return nil, err
	}
	if err = u.keep(); err == nil {
		err = u.begin()
	}
	if err != nil {
		last, _ := os.ReadFile(u.file + ".log")
		fmt.Fprintf(said, "%s", last)
		return nil, errors.Join(err, u.Stop())
	}
	return u, nil
}

// fixed returns a TCP address with a port that stays, for a process that comes in the place of another one.
func fixed(address string) (string, error) {
	if !strings.HasSuffix(address, ":0") {
		return address, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// run starts the program with a sub-command; what it logs is kept in a file.
func (u *upgraded) run(command string, stdout *os.File) (*os.Process, error) {
	log, err := os.OpenFile(u.file+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	if stdout == nil {
		stdout = log
	}
	return handover.Start(u.path, []string{u.path, command, "--config", u.file}, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, stdout, log}})
}

// keep starts the keeper, and waits until it is ready.
func (u *upgraded) keep() error {
	said, stdout, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = said.Close() }()
	u.keeper, err = u.run("keeper", stdout)
	_ = stdout.Close() // the keeper's end with it
	if err != nil {
		return err
	}
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return fmt.Errorf("the keeper does not serve: %w", err)
	}
	return nil
}

// begin starts a gateway, and waits until it serves.
func (u *upgraded) begin() (err error) {
	if u.process, err = u.run("serve", nil); err != nil {
		return err
	}
	for end := time.Now().Add(demoPatience); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), ctlTimeout)
		u.status, err = u.client.Status(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the gateway does not serve: %w", err)
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
	return done.String(), exited(old)
}

// kill ends the gateway without a word, and starts another one. It is for the goroutine of reload.
func (u *upgraded) kill(context.Context) (string, error) {
	began := time.Now()
	if err := u.process.Kill(); err != nil {
		return "", err
	}
	if _, err := u.process.Wait(); err != nil {
		return "", err
	}
	if err := u.begin(); err != nil {
		return "", err
	}
	return fmt.Sprintf("process %d serves %v later, with %d links", u.status.PID, time.Since(began).Round(time.Millisecond), u.status.Links), nil
}

// Stop ends the processes, the keeper last.
func (u *upgraded) Stop() error {
	var err error
	for _, p := range []*os.Process{u.process, u.keeper} {
		if p != nil {
			err = errors.Join(err, p.Signal(syscall.SIGTERM), exited(p))
		}
	}
	return err
}

// exited waits for the end of a process.
func exited(p *os.Process) error {
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
	reloads, kills := 0, 0
	reload := func(ctx context.Context) (string, error) {
		reloads++
		did, err := u.reload(ctx)
		return numberedDeed("reload", reloads, did, err)
	}
	kill := func(ctx context.Context) (string, error) {
		kills++
		did, err := u.kill(ctx)
		return numberedDeed("kill", kills, did, err)
	}
	for _, d := range demoDeeds {
		if d == 'k' {
			o.Deeds.List = append(o.Deeds.List, kill)
		} else {
			o.Deeds.List = append(o.Deeds.List, reload)
		}
	}
	n := strings.Count(demoDeeds, "k")
	o.Deeds.Name, o.Deeds.Break = fmt.Sprintf("%d reloads and %d kills", len(demoDeeds)-n, n), true
	return demo.Run(ctx, o)
}

// numberedDeed says of a deed which one of its kind it was.
func numberedDeed(kind string, nth int, did string, err error) (string, error) {
	if err != nil {
		return "", fmt.Errorf("%s %d: %w", kind, nth, err)
	}
	return fmt.Sprintf("%s %d: %s", kind, nth, did), nil
}
