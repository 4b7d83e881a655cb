package health

import (
	"os"
	"path/filepath"
	"time"
)

// largestText bounds what is read of one file. Lines of 400 CPUs fit.
const largestText = 64 << 10

// reader reads the signals that are switched on. It is owned by the sampler's goroutine. Its files stay open, because
// opening costs more than reading, and belong to the network namespace of the thread that opened them.
type reader struct {
	on   Terms
	note func(msg string, attrs ...any)
	buf  []byte // nil: nothing is read

	fileNr         file
	sockstat       file
	tcpMem         file
	netstat        file
	meminfo        file
	cgroup         cgroup
	softnetStat    file
	conntrackCount file
	conntrackMax   file
	stat           file
	pressure       file

	softnet  softnet
	softirqs softirqs
	threads  threads
}

// cgroup is the files of the process's own memory cgroup.
type cgroup struct{ used, limit, stat file }

// newReader returns a reader of the files below root, which is "/" but in tests.
func newReader(on Terms, root string, note func(msg string, attrs ...any)) *reader {
	at := func(path string) file { return file{path: filepath.Join(root, path)} }
	r := &reader{
		on: on, note: note,
		fileNr:         at("proc/sys/fs/file-nr"),
		sockstat:       at("proc/thread-self/net/sockstat"),
		tcpMem:         at("proc/sys/net/ipv4/tcp_mem"),
		netstat:        at("proc/thread-self/net/netstat"),
		meminfo:        at("proc/meminfo"),
		softnetStat:    at("proc/thread-self/net/softnet_stat"),
		conntrackCount: at("proc/sys/net/netfilter/nf_conntrack_count"),
		conntrackMax:   at("proc/sys/net/netfilter/nf_conntrack_max"),
		stat:           at("proc/stat"),
		pressure:       at("proc/pressure/memory"),
		threads:        threads{tasks: filepath.Join(root, "proc/self/task")},
	}
	if any := on.Fds || on.TCPMem || on.Memory || on.Accept || on.Softnet || on.Conntrack || on.ReactorCPU || on.PSI; any {
		r.buf = make([]byte, largestText)
		r.findCgroup(root)
	}
	return r
}

// findCgroup finds the process's own cgroup. A path may be seen from outside of a container whose files are mounted at the
// root, so that is looked at next. The root of the box has no limit, and so no such files.
func (r *reader) findCgroup(root string) {
	text, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) // without it there is no such term
	unified, memory := parseCgroup(text)
	for _, path := range []string{unified, "/"} {
		dir := filepath.Join(root, "sys/fs/cgroup", path)
		if r.cgroup.limit.path == "" && exists(filepath.Join(dir, "memory.max")) {
			r.cgroup = cgroup{
				file{path: filepath.Join(dir, "memory.current")}, file{path: filepath.Join(dir, "memory.max")}, file{path: filepath.Join(dir, "memory.stat")},
			}
			if p := filepath.Join(dir, "memory.pressure"); exists(p) {
				r.pressure.path = p
			}
		}
	}
	for _, path := range []string{memory, "/"} {
		dir := filepath.Join(root, "sys/fs/cgroup/memory", path)
		if r.cgroup.limit.path == "" && memory != "" && exists(filepath.Join(dir, "memory.limit_in_bytes")) {
			r.cgroup = cgroup{
				file{path: filepath.Join(dir, "memory.usage_in_bytes")}, file{path: filepath.Join(dir, "memory.limit_in_bytes")}, file{path: filepath.Join(dir, "memory.stat")},
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// read fills s. reactors are the threads of Inputs.
func (r *reader) read(now time.Time, reactors []int, s *Signals) {
	*s = Signals{}
	if r.buf == nil {
		return
	}
	if r.on.Fds {
		s.SystemFiles = parseFileNr(r.text(&r.fileNr))
	}
	if r.on.TCPMem {
		used, ok := parseSockstat(r.text(&r.sockstat))
		pressure, fine := parseTCPMem(r.text(&r.tcpMem))
		s.TCPMem = gauge(used, pressure, ok && fine)
	}
	if r.on.TCPMem || r.on.Accept {
		n := parseNetstat(r.text(&r.netstat))
		s.Accept, s.TCPPressure = n.accept, n.pressure
	}
	if r.on.Memory {
		s.Memory = parseMeminfo(r.text(&r.meminfo))
		s.CgroupMemory = r.readCgroup()
	}
	if r.on.Softnet {
		s.Softnet = r.softnet.take(r.text(&r.softnetStat))
	}
	if r.on.Conntrack {
		count, _, ok := nextNumber(r.text(&r.conntrackCount))
		most, _, fine := nextNumber(r.text(&r.conntrackMax))
		s.Conntrack = gauge(count, most, ok && fine)
	}
	if r.on.ReactorCPU {
		s.ReactorCPU = r.threads.busiest(reactors, now, r.buf)
		s.Softirq = r.softirqs.take(r.text(&r.stat))
	}
	if r.on.PSI {
		hundredths, ok := parsePSI(r.text(&r.pressure))
		s.MemoryStall = gauge(hundredths, 100_00, ok)
	}
}

// readCgroup needs three files at once, each of them small.
func (r *reader) readCgroup() Gauge {
	used, limit, rest := r.buf[:64], r.buf[64:128], r.buf[128:]
	return cgroupMemory(r.cgroup.used.read(used, nil), r.cgroup.limit.read(limit, nil), r.cgroup.stat.read(rest, nil))
}

func (r *reader) text(f *file) []byte { return f.read(r.buf, r.note) }

func gauge(used, limit uint64, ok bool) Gauge {
	if !ok {
		return Gauge{}
	}
	return Gauge{Used: float64(used), Limit: float64(limit)}
}

// parseFileNr reads /proc/sys/fs/file-nr: files in use, 0, and the most there may be.
func parseFileNr(b []byte) Gauge {
	used, b, ok := nextNumber(b)
	_, b, fine := nextNumber(b)
	most, _, fits := nextNumber(b)
	return gauge(used, most, ok && fine && fits)
}

func (r *reader) close() {
	for _, f := range []*file{
		&r.fileNr, &r.sockstat, &r.tcpMem, &r.netstat, &r.meminfo, &r.cgroup.used, &r.cgroup.limit, &r.cgroup.stat,
		&r.softnetStat, &r.conntrackCount, &r.conntrackMax, &r.stat, &r.pressure,
	} {
		f.close()
	}
	r.threads.close()
}
