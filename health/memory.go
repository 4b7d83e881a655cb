package health

import "bytes"

// parseMeminfo returns what of the box's memory is taken, out of /proc/meminfo, in KiB. What the kernel could give back
// counts as free.
func parseMeminfo(b []byte) Gauge {
	all, okAll := named(b, "MemTotal:")
	left, okLeft := named(b, "MemAvailable:") // Linux 3.14
	if !okAll || !okLeft || left > all {
		return Gauge{}
	}
	return Gauge{Used: float64(all - left), Limit: float64(all)}
}

// cgroupMemory returns what of a cgroup's memory is taken, in bytes. used and limit are the files' contents, stat that of
// memory.stat: its inactive file pages count in used, but are given back before anything fails. A limit of "max" is none.
func cgroupMemory(used, limit, stat []byte) Gauge {
	u, _, okUsed := nextNumber(used)
	l, _, okLimit := nextNumber(limit)
	if !okUsed || !okLimit {
		return Gauge{}
	}
	reclaimable, ok := named(stat, "total_inactive_file") // cgroup v1; it comes after inactive_file there
	if !ok {
		reclaimable, _ = named(stat, "inactive_file")
	}
	return Gauge{Used: float64(u - min(reclaimable, u)), Limit: float64(l)}
}

// parseCgroup returns the process's path in the unified hierarchy and in that of the v1 memory controller, out of
// /proc/self/cgroup. A path that is not there is empty.
func parseCgroup(b []byte) (unified, memory string) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		_, line, _ = bytes.Cut(line, []byte(":"))
		controllers, path, ok := bytes.Cut(line, []byte(":"))
		switch {
		case !ok:
		case len(controllers) == 0:
			unified = string(path)
		default:
			for _, c := range bytes.Split(controllers, []byte(",")) {
				if string(c) == "memory" {
					memory = string(path)
				}
			}
		}
	}
	return unified, memory
}

// parsePSI returns the share of the last 10 s in which all work waited, out of a file of /proc/pressure, in hundredths of a
// percent.
func parsePSI(b []byte) (hundredths uint64, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		name, rest := nextField(line)
		if string(name) != "full" {
			continue
		}
		average, _ := nextField(rest)
		value, found := bytes.CutPrefix(average, []byte("avg10="))
		if !found {
			return 0, false
		}
		return parseHundredths(value)
	}
	return 0, false
}
