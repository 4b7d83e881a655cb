package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// proxies are programs of others that pass messages on, from PATH or unpacked for this run.
type proxies struct {
	haproxy, nginx, nats, mosquitto string
	stream                          string // nginx's module for TCP; empty: it is built in
	libraries                       string // LD_LIBRARY_PATH of what was unpacked
}

// missing returns the packages of Debian that have what was not found, program by program.
func (p proxies) missing() [][]string {
	var all [][]string
	for _, of := range []struct {
		found    string
		packages []string
	}{{p.haproxy, []string{"haproxy"}}, {p.nginx, []string{"nginx-core", "libnginx-mod-stream"}}, {p.nats, []string{"nats-server"}},
		{p.mosquitto, []string{"mosquitto"}}} {
		if of.found == "" {
			all = append(all, of.packages)
		}
	}
	return all
}

// or returns p with what it lacks from q. A module belongs to its nginx.
func (p proxies) or(q proxies) proxies {
	if p.nginx == "" {
		p.nginx, p.stream = q.nginx, q.stream
	}
	p.haproxy, p.nats, p.mosquitto = cmp.Or(p.haproxy, q.haproxy), cmp.Or(p.nats, q.nats), cmp.Or(p.mosquitto, q.mosquitto)
	p.libraries = cmp.Or(p.libraries, q.libraries)
	return p
}

// findProxies looks for the proxies, and unpacks into the temporary directory what the machine lacks: nothing is installed, so
// that no service starts. Without them the rows do without.
func (b *bench) findProxies() {
	if !b.set.peers {
		fmt.Fprintln(os.Stderr, "bench: without HAProxy, nginx, NATS and mosquitto; make bench PEERS=1 (or -peers) measures them too")
		return
	}
	b.now.proxies = lookProxies("/", os.Getenv("PATH"))
	missing := b.now.missing()
	if len(missing) == 0 {
		return
	}
	dir := filepath.Join(b.dir, "packages")
	for _, packages := range missing {
		if err := b.unpack(dir, packages); err != nil {
			fmt.Fprintf(os.Stderr, "bench: without what is not installed (apt install %s): %v\n", strings.Join(packages, " "), err)
		}
	}
	unpacked := lookProxies(dir, filepath.Join(dir, "usr/sbin"))
	unpacked.libraries = strings.Join(libraryDirs(dir), ":")
	b.now.proxies = b.now.or(unpacked)
}

// lookProxies finds the proxies in the directories of a PATH, and nginx's module below root.
func lookProxies(root, path string) proxies {
	var p proxies
	for _, dir := range append(filepath.SplitList(path), "/usr/sbin") {
		for name, to := range map[string]*string{"haproxy": &p.haproxy, "nginx": &p.nginx, "nats-server": &p.nats, "mosquitto": &p.mosquitto} {
			if file := filepath.Join(dir, name); *to == "" && executable(file) {
				*to = file
			}
		}
	}
	if m := filepath.Join(root, "usr/lib/nginx/modules/ngx_stream_module.so"); readable(m) {
		p.stream = m
	}
	return p
}

func executable(file string) bool {
	i, err := os.Stat(file)
	return err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0
}

func readable(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// unpack fetches packages, and what they need and the machine lacks, and unpacks them into dir.
func (b *bench) unpack(dir string, packages []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return err
	}
	archives := filepath.Join(b.dir, "archives", packages[0])
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return err
	}
	args := append([]string{"install", "--download-only", "--no-install-recommends", "-y", "-o", "Dir::Cache::archives=" + archives,
		"-o", "Debug::NoLocking=1"}, packages...)
	if err := b.tool(b.dir, "apt-get", args...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := b.tool(b.dir, "dpkg-deb", "-x", f, dir); err != nil {
			return err
		}
	}
	return nil
}

// libraryDirs returns the directories below root that hold shared libraries.
func libraryDirs(root string) []string {
	var dirs []string
	_ = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".so") && !slices.Contains(dirs, filepath.Dir(file)) {
			dirs = append(dirs, filepath.Dir(file))
		}
		return nil
	})
	return dirs
}

// haproxyConfig returns a configuration in TCP mode in which nothing happens by itself.
func haproxyConfig(threads, links, port int, backend string) string {
	return fmt.Sprintf(`global
	maxconn %d
	nbthread %d
defaults
	mode tcp
	timeout connect 10s
	timeout client 1h
	timeout server 1h
listen relay
	bind 127.0.0.1:%d
	server backend %s
`, links, threads, port, backend)
}

// nginxConfig returns the same for nginx's stream module. Each link takes two of a worker's connections.
func nginxConfig(workers, links, port int, backend, module, pid string) string {
	load := ""
	if module != "" {
		load = "load_module " + module + ";\n"
	}
	return fmt.Sprintf(`%sworker_processes %d;
daemon off;
pid %s;
error_log stderr warn;
events { worker_connections %d; }
stream {
	server {
		listen 127.0.0.1:%d reuseport backlog=4096;
		proxy_pass %s;
		proxy_timeout 1h;
		tcp_nodelay on;
	}
}
`, load, workers, pid, 2*links+100, port, backend)
}

// serveProxy starts a proxy before a C floor.
func (b *bench) serveProxy(r row, s subject) (target, error) {
	backend, err := b.ready(s, b.now.cfloor, "-n", strconv.Itoa(s.loops), "0")
	if err != nil {
		return target{}, err
	}
	behind, err := backend.address()
	if err != nil {
		return target{}, err
	}
	port, err := freePort()
	if err != nil {
		return target{}, err
	}
	file := filepath.Join(b.dir, "proxy.conf")
	text, args := haproxyConfig(s.loops, r.capacity(), port, behind), []string{"-db", "-f", file}
	if s.program == nginx {
		text = nginxConfig(s.loops, r.capacity(), port, behind, b.now.stream, filepath.Join(b.dir, "nginx.pid"))
		args = []string{"-p", b.dir, "-e", "stderr", "-c", file}
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return target{}, err
	}
	c := command(b.now.of(s.program), args...)
	if b.now.libraries != "" {
		c.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+b.now.libraries)
	}
	c.group = true
	p, err := b.start(c, "", nil)
	if err != nil {
		return target{}, err
	}
	t := target{address: "127.0.0.1:" + strconv.Itoa(port), servers: []*process{p, backend}, pids: []int{p.cmd.Process.Pid}}
	if err := b.answers(p, t.address); err != nil {
		return target{}, err
	}
	if s.program == nginx {
		t.pids, err = b.proc.children(p.cmd.Process.Pid)
		if err == nil && len(t.pids) != s.loops {
			err = fmt.Errorf("nginx has %d workers, not %d", len(t.pids), s.loops)
		}
	}
	t.own = len(t.pids)
	t.pids = append(t.pids, backend.cmd.Process.Pid)
	return t, err
}

// freePort returns a port that nobody listens at. The thread's network namespace is that of the programs.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// answers waits until a program that says nothing takes connections, and passes on what is sent.
func (b *bench) answers(p *process, address string) error {
	ctx, cancel := context.WithTimeout(b.ctx, readyLimit)
	defer cancel()
	for {
		if err := tryEcho(address); err == nil {
			return nil
		}
		if err := p.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return p.fault(fmt.Errorf("did not answer within %v", readyLimit))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tryEcho sends an empty frame and awaits it.
func tryEcho(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{0, 0}); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 2))
	return err
}
