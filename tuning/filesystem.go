package tuning

// Room that the box's other programs and the gateway's own files need beside the links.
const (
	otherFiles    = 65536 // of the whole machine
	gatewayFiles  = 1024  // listeners, streams to Managers, Redis, the administrator's
	reactorFiles  = 4     // epoll, eventfd and what a reactor opens for a moment
	filesPerLink  = 2     // fs.file-max counts both ends while a gateway hands its links to the next one by message
	watchTenths   = 12    // epoll watches for each ten links
	mostFilesEver = 2147483584
)

// filesOfProcess returns the RLIMIT_NOFILE that a gateway needs.
func filesOfProcess(links uint64, reactors int) uint64 {
	return links + uint64(reactors)*reactorFiles + gatewayFiles
}

// nrOpen returns fs.nr_open: the ceiling of RLIMIT_NOFILE. The kernel refuses more than sysctl_nr_open_max, EINVAL (fs/file.c).
func nrOpen(links uint64) uint64 { return min(links+otherFiles, mostFilesEver) }

// fileMax returns fs.file-max.
func fileMax(links uint64) uint64 { return links*filesPerLink + otherFiles }

// epollWatches returns fs.epoll.max_user_watches: each link is one entry in a reactor's epoll, with a fifth to spare.
func epollWatches(links uint64) uint64 { return (links*watchTenths + 9) / 10 }

var fileKnobs = []knob{
	{
		key: "fs.nr_open", scope: machine, unit: "files of one process",
		rule:   "links + 65,536, never lowered",
		why:    "a link is a file, and no process may be allowed more files than this",
		source: "Documentation/admin-guide/sysctl/fs.rst; fs/file.c",
		want:   func(s *sizing, now string) (string, string) { return raised(now, nrOpen(s.links)), "" },
	},
	{
		key: "fs.file-max", scope: machine, unit: "files of the machine",
		rule:   "2 × links + 65,536, never lowered",
		why:    "all processes together open no more files than this, unless they are root's",
		source: "Documentation/admin-guide/sysctl/fs.rst; fs/file_table.c",
		want:   func(s *sizing, now string) (string, string) { return raised(now, fileMax(s.links)), "" },
	},
	{
		key: "fs.epoll.max_user_watches", scope: machine, unit: "watched files of one user",
		rule:   "1.2 × links, never lowered",
		why:    "each link is watched by its reactor's epoll; beyond this epoll_ctl fails with ENOSPC, by default at 4 % of the memory",
		source: "Documentation/admin-guide/sysctl/fs.rst; fs/eventpoll.c",
		want:   func(s *sizing, now string) (string, string) { return raised(now, epollWatches(s.links)), "" },
	},
}
