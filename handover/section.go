package handover

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// The file of a hand-over, all numbers little-endian:
//
//	 0  8  "edged" 0 "HO"
//	 8  2  version of the file's format: 1
//	10  2  0
//	12  4  number of sections
//	16  8  size of the file
//	24  4  0
//	28  4  CRC-32C of the 28 bytes before and of the table
//	32     table, 64 bytes a section:
//	       0  1  length of the name, 1 to 39
//	       1 39  name, then zeros
//	      40  2  version of the section's format, from 1
//	      42  2  0
//	      44  4  CRC-32C of its bytes
//	      48  8  where they are, from the file's begin
//	      56  8  how many
//
// The bytes of the sections lie anywhere behind the table, without overlap.
const (
	fileMagic   = "edged\x00HO"
	fileVersion = 1
	headBytes   = 32
	entryBytes  = 64
	maxName     = 39
	maxSections = 1 << 16
)

// ErrFile is what every error of Parse wraps: the bytes are no whole hand-over.
var ErrFile = errors.New("handover: no whole state")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Section is one part of a state.
type Section struct {
	Name    string // of its owner's choice: see Part
	Version uint16 // of the format of Bytes, from 1
	Bytes   []byte
}

// Kind returns the name up to a slash: what all sections of one format have in common.
func (s Section) Kind() string { return kindOf(s.Name) }

func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, "/")
	return kind
}

// entry is one line of a file's table.
type entry struct {
	name    string
	version uint16
	crc     uint32
	at, n   uint64
}

func (e entry) put(b []byte) {
	clear(b[:entryBytes])
	b[0] = byte(len(e.name))
	copy(b[1:1+maxName], e.name)
	binary.LittleEndian.PutUint16(b[40:], e.version)
	binary.LittleEndian.PutUint32(b[44:], e.crc)
	binary.LittleEndian.PutUint64(b[48:], e.at)
	binary.LittleEndian.PutUint64(b[56:], e.n)
}

// putHead writes header and table of a file of size bytes to its begin.
func putHead(b []byte, entries []entry, size uint64) {
	clear(b[:headBytes])
	copy(b, fileMagic)
	binary.LittleEndian.PutUint16(b[8:], fileVersion)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(entries)))
	binary.LittleEndian.PutUint64(b[16:], size)
	for i, e := range entries {
		e.put(b[headBytes+i*entryBytes:])
	}
	binary.LittleEndian.PutUint32(b[28:], headSum(b, len(entries)))
}

func headSum(b []byte, sections int) uint32 {
	sum := crc32.Checksum(b[:28], castagnoli)
	return crc32.Update(sum, castagnoli, b[headBytes:headBytes+sections*entryBytes])
}

func checkName(name string) error {
	ok := len(name) > 0 && len(name) <= maxName
	for _, c := range []byte(name) {
		ok = ok && c > ' ' && c < 0x7f && c != '='
	}
	if !ok {
		return fmt.Errorf("%q is not 1 to %d letters without spaces", name, maxName)
	}
	return nil
}

// Encode returns the file of the sections as one piece of memory. The names must be different; they and the versions are the
// caller's own: it panics over those that cannot be.
func Encode(sections []Section) []byte {
	size := headBytes + len(sections)*entryBytes
	entries := make([]entry, 0, len(sections))
	for _, s := range sections {
		if err := checkName(s.Name); err != nil || s.Version == 0 {
			panic(fmt.Sprintf("handover: section %q version %d: %v", s.Name, s.Version, err))
		}
		entries = append(entries, entry{s.Name, s.Version, crc32.Checksum(s.Bytes, castagnoli), uint64(size), uint64(len(s.Bytes))})
		size += len(s.Bytes)
	}
	b := make([]byte, headBytes+len(sections)*entryBytes, size)
	putHead(b, entries, uint64(size))
	for _, s := range sections {
		b = append(b, s.Bytes...)
	}
	return b
}

// Parse returns the sections of a file, in its order. Their bytes are the file's own. It believes nothing: every length, place,
// name and checksum is proved before it is used, and the error, which wraps ErrFile, is one sentence.
func Parse(file []byte) ([]Section, error) {
	entries, err := parseTable(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	sections := make([]Section, len(entries))
	for i, e := range entries {
		sections[i] = Section{e.name, e.version, file[e.at : e.at+e.n : e.at+e.n]}
	}
	if err := checkSums(sections, entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return sections, nil
}

func parseTable(b []byte) ([]entry, error) {
	switch {
	case len(b) < headBytes:
		return nil, fmt.Errorf("%d bytes are too few", len(b))
	case string(b[:8]) != fileMagic:
		return nil, fmt.Errorf("it begins with %q", b[:8])
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != fileVersion {
		return nil, fmt.Errorf("the file's format is %d, not %d", v, fileVersion)
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n > maxSections || len(b) < headBytes+int(n)*entryBytes {
		return nil, fmt.Errorf("%d sections in %d bytes", n, len(b))
	}
	if size := binary.LittleEndian.Uint64(b[16:]); size != uint64(len(b)) {
		return nil, fmt.Errorf("%d bytes, not the %d that were written", len(b), size)
	}
	if binary.LittleEndian.Uint32(b[28:]) != headSum(b, int(n)) {
		return nil, errors.New("the table's checksum differs")
	}
	entries := make([]entry, 0, n)
	names := make(map[string]bool, n)
	for i := range int(n) {
		e, err := parseEntry(b, headBytes+i*entryBytes, headBytes+int(n)*entryBytes)
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", i, err)
		}
		if names[e.name] {
			return nil, fmt.Errorf("two sections %q", e.name)
		}
		names[e.name] = true
		entries = append(entries, e)
	}
	return entries, checkOverlap(entries)
}

func parseEntry(file []byte, at, first int) (e entry, err error) {
	b := file[at : at+entryBytes]
	n := int(b[0])
	if n > maxName || len(bytes.TrimRight(b[1+n:1+maxName], "\x00")) != 0 {
		return e, errors.New("a name that is none")
	}
	e = entry{
		name:    string(b[1 : 1+n]),
		version: binary.LittleEndian.Uint16(b[40:]),
		crc:     binary.LittleEndian.Uint32(b[44:]),
		at:      binary.LittleEndian.Uint64(b[48:]),
		n:       binary.LittleEndian.Uint64(b[56:]),
	}
	if err := checkName(e.name); err != nil {
		return e, err
	}
	if e.version == 0 {
		return e, fmt.Errorf("%s has no version", e.name)
	}
	size := uint64(len(file))
	if e.at < uint64(first) || e.at > size || e.n > size-e.at {
		return e, fmt.Errorf("%s: %d bytes at %d of %d", e.name, e.n, e.at, size)
	}
	return e, nil
}

func checkOverlap(entries []entry) error {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b entry) int {
		switch {
		case a.at != b.at:
			return int(min(max(int64(a.at-b.at), -1), 1))
		case a.n < b.n: // an empty one may lie where another begins
			return -1
		}
		return 1
	})
	for i := 1; i < len(sorted); i++ {
		if p := sorted[i-1]; p.at+p.n > sorted[i].at {
			return fmt.Errorf("%s and %s overlap", p.name, sorted[i].name)
		}
	}
	return nil
}

// checkSums computes the sections' checksums, several at a time: it is done while the links stand still.
func checkSums(sections []Section, entries []entry) error {
	wrong := make([]bool, len(sections))
	eachAtOnce(len(sections), func(i int) {
		wrong[i] = crc32.Checksum(sections[i].Bytes, castagnoli) != entries[i].crc
	})
	if i := slices.Index(wrong, true); i >= 0 {
		return fmt.Errorf("the checksum of %s differs", sections[i].Name)
	}
	return nil
}

// eachAtOnce calls f for 0 to n-1, from as many goroutines as there are processors, and waits for the end of all.
func eachAtOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	work := func() {
		for {
			mu.Lock()
			i := next
			next++
			mu.Unlock()
			if i >= n {
				return
			}
			f(i)
		}
	}
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
