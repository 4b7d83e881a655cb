package config

import "edged/admin"

// AdminAt is the section [admin] of the file at path, whatever stands beside it: who asks a running gateway needs no more of the
// file, and asks most urgently when something in it is wrong. A section that cannot be understood is the default; an error says
// that the file cannot be read.
func AdminAt(path string) (admin.Config, error) {
	c := Default()
	text, err := readFile(path)
	if err == nil {
		_ = parse(path, text, c) // what is wrong is told by whoever acts on the file
	}
	return c.Admin, err
}
