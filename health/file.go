package health

import (
	"io"
	"os"
)

// reopen is after how many ticks a file that was not there is looked for again: a module may be loaded later.
const reopen = 12

// file is a file of /proc or /sys that is kept open and read from its beginning each time. A path that is empty is a file
// that is never there.
type file struct {
	path string
	f    *os.File
	wait int  // ticks until it is looked for again
	said bool // that it is not there
}

// read returns the file's content, in buf; nil where it is not there. A file larger than buf is cut at the end of a line. note is
// told once when the file goes missing, and once when it is back; nil where that is nothing to tell.
func (f *file) read(buf []byte, note func(msg string, attrs ...any)) []byte {
	if f.path == "" || f.f == nil && !f.open(note) {
		return nil
	}
	n, err := f.f.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		f.close()
		f.lost(err, note)
		return nil
	}
	if f.said && note != nil {
		note("health term counts again: its source is back", "path", f.path)
	}
	f.said = false
	if n < len(buf) {
		return buf[:n]
	}
	for n > 0 && buf[n-1] != '\n' {
		n--
	}
	return buf[:n]
}

func (f *file) open(note func(msg string, attrs ...any)) bool {
	if f.wait > 0 {
		f.wait--
		return false
	}
	opened, err := os.Open(f.path)
	if err != nil {
		f.lost(err, note)
		return false
	}
	f.f = opened
	return true
}

func (f *file) lost(err error, note func(msg string, attrs ...any)) {
	f.wait = reopen
	if !f.said && note != nil {
		note("health term is skipped: its source cannot be read", "path", f.path, "error", err)
	}
	f.said = true
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close() // it was only read
		f.f = nil
	}
}
