package handover

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Old and new process speak over a pair of SEQPACKET sockets: kind, version of the protocol, then text. What a later version
// adds comes in lines or messages that this one does not know and passes over.
//
//	old                              new
//	start: files, limits   ------>            right after the fork
//	                       <------  hello: formats that it reads
//	(freezes)
//	state + memfd          ------>
//	                       <------  ready: loaded and checked, nothing touched
//	go                     ------>            from here on the links are the new process's
//	                       <------  running
//	(tells the supervisor)
//	own                    ------>            the new process is the main one; the old one leaves
//
// At any time before running, the new process may say refused, with a sentence, if it has touched nothing; the old one ends it
// then and goes on, as it does when a time is over or the other end is closed. The new process in its turn, having received
// the state, goes on alone when the old one dies: who froze and died no longer serves the links.
type messageKind byte

const (
	msgStart messageKind = iota + 1
	msgHello
	msgState
	msgReady
	msgGo
	msgRunning
	msgOwn
	msgRefused
)

const (
	protocolVersion = 1
	maxMessage      = 32 << 10
)

type message struct {
	kind messageKind
	body string
	fd   int // -1: none came along
}

func appendMessage(b []byte, kind messageKind, body string) []byte {
	return append(append(b, byte(kind), protocolVersion), body...)
}

func parseMessage(b []byte) (message, error) {
	if len(b) < 2 {
		return message{}, errors.New("a message without a head")
	}
	if b[1] != protocolVersion {
		return message{}, fmt.Errorf("the other process speaks version %d of the hand-over, this one %d", b[1], protocolVersion)
	}
	return message{kind: messageKind(b[0]), body: string(b[2:]), fd: -1}, nil
}

// start is what the new process is told first.
type start struct {
	trial  bool // it will not be let go: it proves that it could
	freeze time.Duration
	files  []File
	since  time.Duration // CLOCK_MONOTONIC when the links began to stand still; 0 while they do not
}

func (s start) text() string {
	var b strings.Builder
	if s.trial {
		b.WriteString("trial\n")
	}
	fmt.Fprintf(&b, "freeze %v\n", s.freeze)
	if s.since != 0 {
		fmt.Fprintf(&b, "since %v\n", s.since)
	}
	for _, f := range s.files {
		fmt.Fprintf(&b, "file %d %s\n", f.FD, f.Name)
	}
	return b.String()
}

func parseStart(text string) (s start, err error) {
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "trial":
			s.trial = true
		case "freeze":
			s.freeze, err = time.ParseDuration(rest)
		case "since":
			s.since, err = time.ParseDuration(rest)
		case "file":
			number, name, _ := strings.Cut(rest, " ")
			fd, e := strconv.Atoi(number)
			if e != nil || fd < 0 || name == "" {
				err = fmt.Errorf("%q names no file", line)
			}
			s.files = append(s.files, File{name, fd})
		}
		if err != nil {
			return start{}, err
		}
	}
	return s, nil
}
