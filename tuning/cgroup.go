package tuning

import (
	"math"
	"path"
	"strings"
)

// cgroup reads the limits of the process's control group and of all above it: the tightest counts. Both hierarchies are
// looked at, because a box may have memory in either.
func (b *Box) cgroup() Cgroup {
	var c Cgroup
	for _, line := range b.lines("proc/" + b.pid() + "/cgroup") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		id, controllers, group := fields[0], strings.Split(fields[1], ","), fields[2]
		if id == "0" {
			c.Path = group
			b.unified(&c, "sys/fs/cgroup", group)
			b.unified(&c, "sys/fs/cgroup/unified", group)
		}
		for _, controller := range controllers {
			switch controller {
			case "memory":
				b.upwards("sys/fs/cgroup/memory", group, func(dir string) {
					tighten(&c.MemoryMax, number(b.read(dir+"/memory.limit_in_bytes")))
				})
			case "cpu":
				b.upwards("sys/fs/cgroup/"+fields[1], group, func(dir string) {
					c.quota(b.read(dir+"/cpu.cfs_quota_us"), b.read(dir+"/cpu.cfs_period_us"))
				})
			}
		}
	}
	return c
}

func (b *Box) unified(c *Cgroup, mount, group string) {
	b.upwards(mount, group, func(dir string) {
		tighten(&c.MemoryMax, number(b.read(dir+"/memory.max"))) // "max" is none
		tighten(&c.MemoryHigh, number(b.read(dir+"/memory.high")))
		if quota, period, ok := strings.Cut(b.read(dir+"/cpu.max"), " "); ok {
			c.quota(quota, period)
		}
	})
}

// upwards calls f with the directory of the group and of each above it.
func (b *Box) upwards(mount, group string, f func(dir string)) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		f(strings.TrimSuffix(mount+group, "/"))
		if group == "/" {
			return
		}
	}
}

// tighten takes over a limit that is lower. The old hierarchy writes a number near the largest for none.
func tighten(limit *uint64, n uint64) {
	if n > 0 && n < math.MaxInt64/2 && (*limit == 0 || n < *limit) {
		*limit = n
	}
}

func (c *Cgroup) quota(quota, period string) {
	q, p := number(quota), number(period) // "max" and -1 are none
	if q == 0 || p == 0 {
		return
	}
	if cpus := float64(q) / float64(p); c.CPUs == 0 || cpus < c.CPUs {
		c.CPUs = cpus
	}
}
