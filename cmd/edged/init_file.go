package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"edged/etc"
)

// template is the file that is installed, with other words at its head: what init writes are not only defaults.
func template() string {
	return strings.Replace(etc.Gateway, "What stands here are the defaults: a line that is deleted changes nothing.",
		"`edged init` has written it. What it was not told is the default: deleting\n# such a line changes nothing.", 1)
}

// fill puts the answers to some questions into the template.
func (n *initialization) fill(some []question) (string, error) {
	text := template()
	for _, q := range some {
		answer := *n.answers[q.flag]
		if answer == "" {
			continue
		}
		value, err := q.form.write(answer)
		if err != nil {
			return "", err
		}
		old, at := valueIn(text, q.section, q.key)
		if at < 0 {
			return "", fmt.Errorf("the template has no %s in [%s]", q.key, q.section)
		}
		text = text[:at] + value + text[at+len(old):]
	}
	return text, nil
}

// valueIn finds the value of a key in a file that has each on a line of its own; at is -1 if it is not there.
func valueIn(text, section, key string) (value string, at int) {
	in, pos := "", 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "[") {
			in = strings.Trim(line, "[]\n")
		}
		if name, rest, ok := strings.Cut(line, " = "); ok && in == section && name == key {
			return strings.TrimSuffix(rest, "\n"), pos + len(name) + len(" = ")
		}
		pos += len(line)
	}
	return "", -1
}

// write is an answer as TOML.
func (f form) write(answer string) (string, error) {
	switch f {
	case formNumber:
		n, err := strconv.ParseInt(answer, 10, 64)
		if err != nil {
			return "", fmt.Errorf("%q is not a whole number", answer)
		}
		return strconv.FormatInt(n, 10), nil
	case formList:
		var items []string
		for item := range strings.SplitSeq(answer, ",") {
			items = append(items, quoteTOML(strings.TrimSpace(item)))
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	}
	return quoteTOML(answer), nil
}

// quoteTOML is a basic string. Control characters stand as \uXXXX, as TOML has not all the escapes of Go.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// serviceGroup may read what init writes.
const serviceGroup = "edged"

// untouched says whether a file is as it was installed: writing over it loses nothing.
func untouched(file string) bool {
	text, err := os.ReadFile(file)
	return err == nil && string(text) == etc.Gateway
}

// writeNew writes a file that is there whole or not at all. Root and the service may read it: it may come to hold secrets.
func writeNew(file, text string, over bool) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	var at *fs.PathError
	if errors.As(err, &at) { // the name that it would have had for a moment says nothing to anybody
		return fmt.Errorf("write into %s: %w", filepath.Dir(file), at.Err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after a rename it has gone already
	_, err = f.WriteString(text)
	err = errors.Join(err, giveTo(f, file, serviceGroup), f.Chmod(0o640), f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if over {
		return os.Rename(f.Name(), file)
	}
	if err = os.Link(f.Name(), file); errors.Is(err, fs.ErrExist) {
		return existsError(file) // since mayWrite
	}
	return err
}

// giveTo makes f belong to whom the file belongs to that it takes the place of. Where that is root alone, or there is none, the
// group of the service gets it; without such a group whoever runs init runs the gateway too.
func giveTo(f *os.File, file, service string) error {
	uid, gid := -1, -1
	if info, err := os.Stat(file); err == nil {
		uid, gid = ownerOf(info)
	}
	if group, err := user.LookupGroup(service); err == nil && gid <= 0 && os.Geteuid() == 0 {
		if gid, err = strconv.Atoi(group.Gid); err != nil {
			return fmt.Errorf("group %s: %w", service, err)
		}
	}
	return f.Chown(uid, gid)
}
