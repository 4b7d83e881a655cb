package tuning

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// ownFile is where Persist writes: a name before which the administrator's 99-… come later and win.
const ownFile = "60-edged.conf"

// sysctlDirs are searched in this order: of two files of one name the first counts (man 5 sysctl.d).
var sysctlDirs = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"}

// owners returns who sets which sysctl, the one that wins last: tuned puts the files' values over its own (reapply_sysctl).
func (b *Box) owners(profile string) map[string][]Owner {
	all := map[string][]Owner{}
	if profile != "" {
		b.tunedOwners(all, profile)
	}
	from := map[string]string{} // file name: its path
	for _, dir := range sysctlDirs {
		for _, name := range b.disk().List(dir) {
			if _, masked := from[name]; !masked && strings.HasSuffix(name, ".conf") {
				from[name] = dir + "/" + name
			}
		}
	}
	set := assignments{named: map[string][]Owner{}, matched: map[string][]Owner{}, excepted: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if name != ownFile {
			b.sysctlFile(&set, from[name])
		}
	}
	if from["99-sysctl.conf"] == "" { // else a link of that name stands for the old file
		b.sysctlFile(&set, "etc/sysctl.conf")
	}
	for key, owners := range set.matched {
		if set.named[key] == nil && !set.excepted[key] {
			all[key] = append(all[key], owners...)
		}
	}
	for key, owners := range set.named {
		all[key] = append(all[key], owners...)
	}
	return all
}

// assignments are those of all files. A key that is named wins over a pattern, wherever the two stand, and one that is named
// with a dash and without a value is excepted from patterns (man 5 sysctl.d).
type assignments struct {
	named, matched map[string][]Owner
	excepted       map[string]bool
}

// sysctlFile adds what a file sets.
func (b *Box) sysctlFile(set *assignments, file string) {
	for i, line := range b.lines(file) {
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		line, dash := strings.CutPrefix(line, "-")
		key, value, assigns := strings.Cut(line, "=")
		key = dotted(strings.TrimSpace(key))
		o := Owner{By: "sysctl.d", File: "/" + file, Line: i + 1, Value: collapse(value)}
		switch {
		case !assigns:
			set.excepted[key] = set.excepted[key] || dash
		case strings.ContainsAny(key, "*?["):
			for i := range knobs {
				if matches(key, knobs[i].key) {
					set.matched[knobs[i].key] = append(set.matched[knobs[i].key], o)
				}
			}
		default:
			set.named[key] = append(set.named[key], o)
		}
	}
}

// matches says whether a pattern, of which a star stands for one part of a name, means the key.
func matches(pattern, key string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, ".", "/"), strings.ReplaceAll(key, ".", "/"))
	return ok && err == nil
}

// dotted writes a key as sysctl(8) does. Its first separator says which of the two ways it is written in.
func dotted(key string) string {
	if i := strings.IndexAny(key, "./"); i < 0 || key[i] == '.' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, key)
}

// tunedDirs are where profiles lie, the administrator's first.
var tunedDirs = []string{"etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned"}

// tunedOwners adds the [sysctl] sections of the active profiles and of those that they include, which come first and are overruled.
func (b *Box) tunedOwners(all map[string][]Owner, profiles string) {
	seen := map[string]bool{}
	for _, profile := range strings.Fields(profiles) {
		b.tunedProfile(all, profile, seen)
	}
}

func (b *Box) tunedProfile(all map[string][]Owner, profile string, seen map[string]bool) {
	if seen[profile] || strings.Contains(profile, "/") {
		return
	}
	seen[profile] = true
	for _, dir := range tunedDirs {
		file := dir + "/" + profile + "/tuned.conf"
		lines := b.lines(file)
		if lines == nil {
			continue
		}
		found := map[string]Owner{}
		section := ""
		for i, line := range lines {
			if name, ok := strings.CutPrefix(line, "["); ok {
				section, _, _ = strings.Cut(name, "]")
			}
			key, value, ok := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			switch {
			case !ok || line[0] == '#' || line[0] == ';':
			case section == "main" && key == "include":
				for name := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' }) {
					b.tunedProfile(all, name, seen)
				}
			case section == "sysctl":
				found[dotted(key)] = Owner{By: "tuned", File: "/" + file, Line: i + 1, Value: collapse(value)}
			}
		}
		for key, o := range found {
			all[key] = append(all[key], o)
		}
		return
	}
}

// daemons looks who else is at work.
func (b *Box) daemons() Daemons {
	var d Daemons
	tuned := false
	for _, name := range b.disk().List("proc") {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		switch b.read("proc/" + name + "/comm") {
		case "tuned":
			tuned = true
		case "irqbalance":
			d.Irqbalance = true
		}
	}
	if tuned {
		d.Tuned = b.read("etc/tuned/active_profile")
	}
	for _, file := range []string{"etc/default/irqbalance", "etc/sysconfig/irqbalance"} {
		for _, line := range b.lines(file) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(` "'`, r) }) {
				if irq, ok := strings.CutPrefix(word, "--banirq="); ok {
					d.BannedIRQs = append(d.BannedIRQs, int(number(irq)))
				}
			}
		}
	}
	return d
}
