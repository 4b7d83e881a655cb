package nictest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Expand makes the files that text describes below root, one a line:
//
//	in sys/class/net/eth0
//	ifindex = 2
//	device -> ../../../devices/pci0000:00/0000:00:03.0
//	queues/
//	in .
//	sys/kernel/irq/{40..47}/actions = eth0-TxRx-{0..7}
//
// A line with "in" says which directory of root the lines after it begin in. A file holds its text and a line feed; "\n"
// within the text is a line feed too. A path that ends with a slash is a directory, an arrow a link as it stands. Ranges
// {A..B} of one line go on together and repeat it; they must be equally long, {A..B/N} repeats each number N times. A line
// that begins with # says nothing. Later lines replace earlier ones.
func Expand(root, text string) error {
	dir := "."
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if to, ok := strings.CutPrefix(line, "in "); ok {
			dir = to
			continue
		}
		lines, err := repeat(line)
		for _, l := range lines {
			err = errors.Join(err, place(root, dir, l))
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

var ranges = regexp.MustCompile(`\{(\d+)\.\.(\d+)(?:/(\d+))?\}`)

// repeat returns the lines that line with its ranges stands for.
func repeat(line string) ([]string, error) {
	found := ranges.FindAllStringSubmatch(line, -1)
	if found == nil {
		return []string{line}, nil
	}
	var all [][]string
	for _, f := range found {
		var numbers []string
		from, _ := strconv.Atoi(f[1])
		to, _ := strconv.Atoi(f[2])
		times := 1
		if f[3] != "" {
			times, _ = strconv.Atoi(f[3])
		}
		for n := from; n <= to; n++ {
			for range times {
				numbers = append(numbers, strconv.Itoa(n))
			}
		}
		if all = append(all, numbers); len(numbers) != len(all[0]) {
			return nil, fmt.Errorf("%s is not as long as %s", f[0], found[0][0])
		}
	}
	lines := make([]string, 0, len(all[0]))
	for i := range all[0] {
		k := -1
		lines = append(lines, ranges.ReplaceAllStringFunc(line, func(string) string { k++; return all[k][i] }))
	}
	return lines, nil
}

// place makes the file of one line without ranges.
func place(root, dir, line string) error {
	name, text, isFile := strings.Cut(line, " = ")
	if rest, ok := strings.CutSuffix(line, " ="); ok && !isFile {
		name, isFile = rest, true
	}
	link, to, isLink := strings.Cut(line, " -> ")
	isDir := strings.HasSuffix(line, "/") && !isLink && !isFile
	if isLink = isLink && !isFile; isLink {
		name = link
	}
	name = filepath.Join(dir, name)
	path := filepath.Join(root, name)
	if !filepath.IsLocal(name) || !isFile && !isLink && !isDir {
		return fmt.Errorf("%q is no file, link or directory", line)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch {
	case isDir:
		return os.MkdirAll(path, 0o755)
	case isLink:
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.Symlink(to, path)
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(text, `\n`, "\n")+"\n"), 0o644)
}
