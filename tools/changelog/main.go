// Command changelog turns CHANGELOG.md, which is for people, into what packages want: a Debian changelog, or the list that nfpm
// puts into an rpm, as JSON, which is YAML.
//
//	changelog -format deb|rpm -version V [-release R] [-time SECONDS] -maintainer 'NAME <MAIL>' CHANGELOG.md
//
// The file has a heading for each version, "## 1.2.3 - 2026-11-22", the newest first, and below it items that begin with "- ".
// The first may read "## Unreleased": it is that of the version being built.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// entry is one version, as nfpm takes it.
type entry struct {
	Version  string    `json:"semver"`
	Date     time.Time `json:"date"`
	Packager string    `json:"packager"`
	Changes  []change  `json:"changes"`
}

type change struct {
	Note string `json:"note"`
}

// building is the version that the list is made for.
type building struct {
	version, release, maintainer string
	made                         time.Time
}

func main() {
	var b building
	var format string
	var seconds int64
	flag.StringVar(&format, "format", "rpm", "deb or rpm")
	flag.StringVar(&b.version, "version", "dev", "the version that is built")
	flag.StringVar(&b.release, "release", "1", "its release, as a package")
	flag.StringVar(&b.maintainer, "maintainer", "", "who packages it, `NAME <MAIL>`")
	flag.Int64Var(&seconds, "time", 0, "when it was made, in `seconds` since 1970")
	flag.Parse()
	b.made = time.Unix(seconds, 0).UTC()
	if err := run(b, format, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "changelog:", err)
		os.Exit(1)
	}
}

func run(b building, format, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	entries, err := b.parse(string(content))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	switch format {
	case "deb":
		_, err = os.Stdout.WriteString(debian(entries))
		return err
	case "rpm":
		out := json.NewEncoder(os.Stdout)
		out.SetEscapeHTML(false)
		return out.Encode(entries)
	}
	return fmt.Errorf("format %q: want deb or rpm", format)
}

// parse reads the file. Where its newest version is not the one that is built, that one gets an entry of its own, since a package
// whose changelog begins with another version than its own is taken for broken.
func (b building) parse(content string) ([]entry, error) {
	var entries []entry
	for i, line := range strings.Split(content, "\n") {
		heading, isHeading := strings.CutPrefix(line, "## ")
		item, isItem := strings.CutPrefix(line, "- ")
		more := strings.TrimSpace(line)
		switch {
		case isHeading:
			e, err := b.entry(heading)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			entries = append(entries, e)
		case len(entries) == 0 || more == "": // what comes before the first version
		case isItem:
			e := &entries[len(entries)-1]
			e.Changes = append(e.Changes, change{plain(item)})
		default:
			e := &entries[len(entries)-1]
			if len(e.Changes) == 0 {
				return nil, fmt.Errorf("line %d: %q belongs to no item", i+1, more)
			}
			e.Changes[len(e.Changes)-1].Note += " " + plain(more)
		}
	}
	if len(entries) == 0 || entries[0].Version != b.packaged(b.version) {
		e, _ := b.entry(unreleased)
		e.Changes = []change{{"As the sources were at this time."}}
		entries = append([]entry{e}, entries...)
	}
	return entries, nil
}

const unreleased = "Unreleased"

// entry is what a heading begins.
func (b building) entry(heading string) (entry, error) {
	e := entry{Version: b.packaged(b.version), Date: b.made, Packager: b.maintainer}
	if heading == unreleased {
		return e, nil
	}
	version, day, _ := strings.Cut(heading, " - ")
	date, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return entry{}, fmt.Errorf("heading %q: want %q or a version and its day, as in \"1.2.3 - 2026-11-22\"", heading, unreleased)
	}
	e.Version, e.Date = b.packaged(version), date
	return e, nil
}

// packaged is a version of edged as a version of its package.
func (b building) packaged(version string) string { return version + "-" + b.release }

// plain drops the marks of Markdown that would only disturb.
func plain(s string) string { return strings.NewReplacer("`", "", "**", "").Replace(s) }

// debian is the list as deb-changelog(5) has it.
func debian(entries []entry) string {
	var s strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&s, "edged (%s) stable; urgency=medium\n\n", e.Version)
		for _, c := range e.Changes {
			s.WriteString(wrapped("  * ", "    ", c.Note))
		}
		fmt.Fprintf(&s, "\n -- %s  %s\n\n", e.Packager, e.Date.Format(time.RFC1123Z))
	}
	return strings.TrimSuffix(s.String(), "\n")
}

// width is that of a line of a Debian changelog, characters.
const width = 78

// wrapped is a text in lines, the first with a mark before it and the others with an indent of the same width.
func wrapped(mark, indent, text string) string {
	var s strings.Builder
	line := mark
	for _, word := range strings.Fields(text) {
		if len(line) > len(indent) && len(line)+len(word) > width {
			s.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	return s.String() + strings.TrimRight(line, " ") + "\n"
}
