package tuning

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"edged/nic"
)

// Box is the machine that is tuned. The zero Box is the one that the caller runs on, in the network namespace of the calling
// thread: no method leaves the calling goroutine to touch a setting. Tests replace its parts.
type Box struct {
	Root  string   // above proc, sys, etc and run; empty: /
	Net   nic.Host // the network devices; what it does not say of Sys and Proc is below Root
	PID   int      // of a gateway that runs, whose limits and control group count; 0: those of the caller
	State string   // path of the state file; empty: run/edged-tune/tuning.json below Root

	files    files           // nil: those below Root
	probe    func() Features // nil: this kernel's, where Root is /
	pageSize uint64          // bytes; 0: this kernel's
}

// files is what is asked of /proc and /sys. Paths are below the root.
type files interface {
	// Read returns the content.
	Read(path string) (string, error)
	// Denied returns why the file could not be written, without writing.
	Denied(path string) error
	// Write gives the file a value with a single call, as the kernel wants it, and never makes one.
	Write(path, value string) error
	// List returns the names in a directory, sorted; none where it is not there.
	List(path string) []string
}

// path returns where a path below the root is.
func (b *Box) path(below string) string {
	if b.Root == "" {
		return "/" + below
	}
	return filepath.Join(b.Root, below)
}

// real says whether the box is the one that the caller runs on.
func (b *Box) real() bool { return b.Root == "" || b.Root == "/" }

// net returns the network devices of the box.
func (b *Box) net() nic.Host {
	h := b.Net
	if h.Sys == "" {
		h.Sys = b.path("sys")
	}
	if h.Proc == "" {
		h.Proc = b.path("proc")
	}
	return h
}

// disk returns the files of the box.
func (b *Box) disk() files {
	if b.files != nil {
		return b.files
	}
	return tree{b}
}

// tree is the files below a box's root.
type tree struct{ *Box }

// mostOfFile bounds what is read of one file: /proc/interrupts on a large box is the longest.
const mostOfFile = 4 << 20

func (t tree) Read(path string) (string, error) {
	f, err := os.Open(t.path(path))
	if err != nil {
		return "", err
	}
	defer f.Close() // it was only read
	content, err := io.ReadAll(io.LimitReader(f, mostOfFile))
	return string(content), err
}

func (t tree) Denied(path string) error {
	f, err := os.OpenFile(t.path(path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func (t tree) Write(path, value string) error {
	f, err := os.OpenFile(t.path(path), os.O_WRONLY, 0)
	if err != nil {
		return &openError{err}
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

func (t tree) List(path string) []string {
	entries, err := os.ReadDir(t.path(path))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// openError is a refusal that came before a value was offered: the same number means another thing then.
type openError struct{ error }

// Unwrap returns the refusal.
func (e *openError) Unwrap() error { return e.error }

// read returns a file's content with whitespace collapsed; empty where it cannot be read.
func (b *Box) read(path string) string {
	content, err := b.disk().Read(path)
	if err != nil {
		return ""
	}
	return collapse(content)
}

// lines returns a file's lines, trimmed.
func (b *Box) lines(path string) []string {
	content, err := b.disk().Read(path)
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(content) {
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

// setting reads a file of one value, and tries to open it for writing where that is of interest.
func (b *Box) setting(path string, writing bool) Setting {
	content, err := b.disk().Read(path)
	if err != nil {
		return Setting{Errno: errnoOf(err)}
	}
	s := Setting{Value: collapse(content)}
	if writing {
		s.Denied = errnoOf(b.disk().Denied(path))
	}
	return s
}
