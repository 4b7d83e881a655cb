package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs are the executables of one state of the tree; an empty one was not to be built.
type programs struct {
	cfloor, crelay, croom, cload, cnats, cfan, cpush, cmanager string
	echo, manager, edged, net, netpoll                         string
	dispatcher, asks, redis                                    string // the address service, its load and its Redis
	proxies
}

// of returns the executable of a program.
func (p programs) of(what program) string {
	return map[program]string{floor: p.cfloor, relayFloor: p.crelay, echo: p.echo, gateway: p.edged, peerNet: p.net, peerNetpoll: p.netpoll, haproxy: p.haproxy, nginx: p.nginx, nats: p.nats, mosquitto: p.mosquitto,
		roomFloor: p.croom, dispatcher: p.dispatcher}[what]
}

// load returns the executable of the load for a subject of a row.
func (p programs) load(r row, s subject) string {
	switch {
	case r.mode == fanout:
		return p.cfan
	case r.mode == pushed:
		return p.cpush
	case s.program == nats:
		return p.cnats
	}
	return p.cload
}

// build builds everything into a temporary directory: the tree as it is, and of the commit to compare with what it has.
// It must come before isolate: the go command may need the network for modules.
func (b *bench) build() error {
	if _, err := exec.LookPath("gcc"); err != nil {
		return errors.New("needs gcc for the C floor and the load: install it (Debian: apt install gcc libc6-dev, Fedora: dnf install gcc)")
	}
	root, err := b.output1("", "go", "env", "GOMOD")
	if err != nil {
		return err
	}
	root = filepath.Dir(root)
	if b.dir, err = os.MkdirTemp("", "edged-bench-"); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "building")
	b.commit, _ = b.output1(root, "git", "describe", "--always", "--dirty") // a tree without git has no name
	in := func(name string) string { return filepath.Join(b.dir, name) }
	b.now = programs{cfloor: in("cfloor"), crelay: in("crelay"), cload: in("cload"), cnats: in("cnats"),
		cmanager: in("cmanager"), croom: in("croom"), cfan: in("cfan"), cpush: in("cpush"), echo: in("echo"), manager: in("manager"), edged: in("edged"),
		dispatcher: in("edged"), asks: in("asks")}
	err = errors.Join(
		b.cBuild(root, "cfloor", "crelay", "cload", "cnats", "cmanager", "croom", "cfan", "cpush"),
		b.goBuild(root, b.now.echo, "./bench/echo"),
		b.goBuild(root, b.now.manager, "./bench/manager"),
		b.goBuild(root, b.now.asks, "./bench/asks"),
		b.goBuild(root, b.now.edged, "./cmd/edged"))
	if err != nil {
		return err
	}
	b.buildPeers(filepath.Join(root, "bench", "peers"))
	b.findProxies()
	b.findRedis(root)
	if b.set.base == "" {
		return nil
	}
	return b.buildBase(root)
}

// buildPeers builds what others have made. Its modules are its own, and may be out of reach: the rows do without it then.
func (b *bench) buildPeers(dir string) {
	to := programs{net: filepath.Join(b.dir, "peer-net"), netpoll: filepath.Join(b.dir, "peer-netpoll")}
	if err := errors.Join(b.goBuild(dir, to.net, "./net"), b.goBuild(dir, to.netpoll, "./netpoll")); err != nil {
		fmt.Fprintf(os.Stderr, "bench: without the peers of echo: %v\n", err)
		return
	}
	b.now.net, b.now.netpoll = to.net, to.netpoll
}

// buildBase builds what the commit to compare with has of our programs. Its load, floor and Manager are ours: only what is
// compared may differ.
func (b *bench) buildBase(root string) error {
	var err error
	if b.baseCommit, err = b.output1(root, "git", "rev-parse", "--short", "--verify", b.set.base+"^{commit}"); err != nil {
		return fmt.Errorf("-base %s: %w", b.set.base, err)
	}
	dir := filepath.Join(b.dir, "base")
	if err := b.extract(root, dir, b.baseCommit); err != nil {
		return fmt.Errorf("-base %s: %w", b.set.base, err)
	}
	for _, p := range []struct {
		to   *string
		what string
	}{{&b.base.echo, "bench/echo"}, {&b.base.edged, "cmd/edged"}} {
		if _, err := os.Stat(filepath.Join(dir, p.what)); err != nil {
			continue
		}
		to := filepath.Join(b.dir, "base-"+filepath.Base(p.what))
		if err := b.goBuild(dir, to, "./"+p.what); err != nil {
			return fmt.Errorf("-base %s: %w", b.set.base, err)
		}
		*p.to = to
	}
	return nil
}

// extract writes the tree of a commit into dir, and leaves the repository as it is.
func (b *bench) extract(root, dir, commit string) error {
	git := exec.CommandContext(b.ctx, "git", "archive", "--format=tar", commit)
	git.Dir = root
	out, err := git.StdoutPipe()
	if err != nil {
		return err
	}
	if err := git.Start(); err != nil {
		return err
	}
	err = untar(out, dir)
	_, _ = io.Copy(io.Discard, out) // git ends its archive with padding that a reader of tar leaves
	return errors.Join(err, git.Wait())
}

// untar writes the regular files of an archive below dir.
func untar(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := untarFile(root, h.Name, t); err != nil {
			return err
		}
	}
}

func untarFile(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// cBuild builds programs of bench/ in C.
func (b *bench) cBuild(root string, names ...string) error {
	var all []error
	for _, name := range names {
		all = append(all, b.tool(root, "gcc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", filepath.Join(b.dir, name), "bench/"+name+".c"))
	}
	return errors.Join(all...)
}

// goBuild builds as releases are built, without cgo.
func (b *bench) goBuild(dir, to, what string) error {
	return b.tool(dir, "go", "build", "-trimpath", "-buildvcs=false", "-o", to, what)
}

// tool runs a tool to its end and returns what it said if it failed.
func (b *bench) tool(dir, name string, args ...string) error {
	c := exec.CommandContext(b.ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// output1 returns the one line that a tool prints.
func (b *bench) output1(dir, name string, args ...string) (string, error) {
	c := exec.CommandContext(b.ctx, name, args...)
	c.Dir = dir
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
