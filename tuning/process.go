package tuning

import "fmt"

// filesKey is the limit's entry: it is the gateway's process that has it, and its unit that sets it.
const filesKey = "RLIMIT_NOFILE"

// limitEntry judges the limit of open files. Go's runtime raises the soft one to the hard one by itself.
func (s *sizing) limitEntry() Entry {
	need := filesOfProcess(s.links, s.reactors)
	e := Entry{
		Kind: KindLimit, Key: filesKey, Current: text(s.m.Process.FilesHard), Wanted: raised(text(s.m.Process.FilesHard), need),
		Why:    fmt.Sprintf("a link is a file, and %d are the gateway's own", need-s.links),
		Source: "man 2 getrlimit",
	}
	e.Status = OK
	if s.m.Process.FilesHard < need {
		e.Status = NoPermission
		e.Note = fmt.Sprintf("the unit's to set: LimitNOFILE=%d", need)
		if s.m.Process.SysResource {
			e.Note += "; a gateway with CAP_SYS_RESOURCE raises it by itself"
		}
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
