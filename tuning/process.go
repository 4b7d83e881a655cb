package tuning

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// filesKey is the limit's entry: it is the gateway's process that has it, and its unit that sets it.
const filesKey = "RLIMIT_NOFILE"

// limitEntry judges the limit of open files. Go's runtime raises the soft one to the hard one by itself.
func (s *sizing) limitEntry() Entry {
	need := filesOfProcess(s.links, s.reactors)
	e := Entry{
		Kind: KindLimit, Key: filesKey, Current: text(s.m.Process.FilesHard), Wanted: raised(text(s.m.Process.FilesHard), need),
		Why:    fmt.Sprintf("a link is a file, and %s are the gateway's own", group(need-s.links)),
		Source: "man 2 getrlimit",
	}
	e.Status = OK
	if s.m.Process.FilesHard < need {
		e.Status = NoPermission
		e.Note = fmt.Sprintf("the unit's to set: LimitNOFILE=%d", need)
	}
	return e
}

// optionEntries are what the gateway sets on its listeners. Accepted links inherit them, so that they cost nothing for each.
func (s *sizing) optionEntries() []Entry {
	rows := []struct{ key, value, why, source string }{
		{"TCP_NOTSENT_LOWAT", "16384", "a peer that stopped reading holds at most 66 to 80 KB in the kernel, and the gateway's own queue says how far behind it is", "man 7 tcp"},
		{"TCP_NODELAY", "1", "the gateway gathers what it writes itself", "man 7 tcp"},
		{"TCP_USER_TIMEOUT", "30000", "milliseconds after which unacknowledged data ends a link, and after which one that was closed gives its memory back", "man 7 tcp"},
		{"SO_SNDBUF", "auto", "set, it would switch auto-tuning off and still take 64 KB of small writes", "man 7 socket"},
		{"SO_RCVBUF", "auto", "an idle link's buffer takes nothing", "man 7 socket"},
		{"SO_KEEPALIVE", "0", "heartbeats do it", "man 7 socket"},
		{"TCP_DEFER_ACCEPT", "0", "a client that only listens would never be accepted", "man 7 tcp"},
		{"SO_LINGER", "off", "inherited, it would drop the last push of every link", "man 7 socket"},
		{"SO_BUSY_POLL", "0", "it burns a CPU for each reactor", "man 7 socket"},
	}
	entries := make([]Entry, 0, len(rows))
	for _, r := range rows {
		entries = append(entries, Entry{
			Kind: KindOption, Key: r.key, Current: r.value, Wanted: r.value, Status: OK,
			Why: r.why, Source: r.source,
		})
	}
	return entries
}

// pid is how the process that is asked about is called in /proc.
func (b *Box) pid() string {
	if b.PID > 0 {
		return strconv.Itoa(b.PID)
	}
	return "self"
}

// statusField returns a line of /proc/PID/status; empty where there is none.
func (b *Box) statusField(pid, name string) string {
	for _, line := range b.lines("proc/" + pid + "/status") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return collapse(value)
		}
	}
	return ""
}

// Capabilities by their bits (uapi/linux/capability.h).
const (
	capNetAdmin    = 12
	capSysResource = 24
)

// process reads what the caller may do, and the limits of the gateway's process.
func (b *Box) process() Process {
	var p Process
	if ids := strings.Fields(b.statusField("self", "Uid")); len(ids) == 4 {
		p.UID = int(number(ids[1])) // effective
	}
	caps, _ := strconv.ParseUint(b.statusField("self", "CapEff"), 16, 64) // unreadable: none
	p.NetAdmin = caps&(1<<capNetAdmin) != 0
	p.SysResource = caps&(1<<capSysResource) != 0
	for _, line := range b.lines("proc/" + b.pid() + "/limits") {
		if values, ok := strings.CutPrefix(line, "Max open files"); ok {
			if f := strings.Fields(values); len(f) >= 2 {
				p.FilesSoft, p.FilesHard = limit(f[0]), limit(f[1])
			}
		}
	}
	return p
}

func limit(word string) uint64 {
	if word == "unlimited" {
		return math.MaxInt64
	}
	return number(word)
}
