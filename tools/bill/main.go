// Command bill writes what a binary is made of: an SPDX document with every module and its checksum, and a text with the licences
// that its parts ask to be passed on. It knows only what stands in the binary itself, so the bill is that of what is shipped.
//
//	bill -binary FILE -version V [-time SECONDS] [-own DIR] -modules "$(go env GOMODCACHE)" -goroot "$(go env GOROOT)" -sbom OUT -licences OUT
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "the binary, a `file`")
	flag.StringVar(&o.version, "version", "dev", "its version")
	flag.StringVar(&o.own, "own", ".", "`directory` of its own sources, with a LICENSE")
	flag.StringVar(&o.modules, "modules", "", "`directory` of Go's module cache")
	flag.StringVar(&o.goroot, "goroot", "", "`directory` of Go itself")
	flag.Int64Var(&o.time, "time", 0, "when it was made, in `seconds` since 1970")
	flag.StringVar(&o.sbom, "sbom", "", "where the SPDX document goes, a `file`")
	flag.StringVar(&o.licences, "licences", "", "where the licences go, a `file`")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bill:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, version      string
	own, modules, goroot string // directories
	sbom, licences       string // files
	time                 int64  // seconds since 1970
}

// binary is what is billed.
type binary struct {
	name, version, arch string
	sha256              string // hex
	made                time.Time
	licence             string // SPDX
	parts               []part // Go's own library first, then the modules as the binary lists them
}

// part is a module that is linked in.
type part struct {
	path, version string
	sum           string // as in go.sum; empty for Go's own library
	licence       string // SPDX
	texts         []text // what must be passed on
}

// text is one file of a licence.
type text struct{ name, content string }

func run(o options) error {
	b, err := read(o)
	if err != nil {
		return err
	}
	doc, err := b.spdx()
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.sbom, doc, 0o644); err != nil {
		return err
	}
	return os.WriteFile(o.licences, b.thirdParty(), 0o644)
}

// read takes the binary's own list of modules, and their licences from the module cache.
func read(o options) (*binary, error) {
	info, err := buildinfo.ReadFile(o.binary)
	if err != nil {
		return nil, err
	}
	b := &binary{name: filepath.Base(o.binary), version: o.version, made: time.Unix(o.time, 0).UTC()}
	if b.sha256, err = sum(o.binary); err != nil {
		return nil, err
	}
	for _, s := range info.Settings {
		if s.Key == "GOARCH" {
			b.arch = s.Value
		}
	}
	if b.licence, _, err = licenceOf(o.own); err != nil {
		return nil, err
	}
	std := part{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}
	if std.licence, std.texts, err = licenceOf(o.goroot); err != nil {
		return nil, err
	}
	b.parts = append(b.parts, std)
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		p := part{path: m.Path, version: m.Version, sum: m.Sum}
		if p.licence, p.texts, err = licenceOf(filepath.Join(o.modules, escaped(m.Path)+"@"+m.Version)); err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		b.parts = append(b.parts, p)
	}
	return b, nil
}

// sum returns the SHA-256 of a file.
func sum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// escaped is a module's path as the module cache has it: capitals are written !small, for file systems that know no difference.
func escaped(path string) string {
	var s strings.Builder
	for _, r := range path {
		if 'A' <= r && r <= 'Z' {
			s.WriteByte('!')
			r += 'a' - 'A'
		}
		s.WriteRune(r)
	}
	return s.String()
}
