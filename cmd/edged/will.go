package main

import (
	"errors"
	"fmt"

	"edged/handover"
)

// The will of a process is its carried, as far as that is of use after its death: the command's own counters begin anew. It is a note
// in a ring of its own, behind those of the gateway in the same memory.

var errWill = errors.New("what the process itself left cannot be read")

// withWill has room for a will in a memory of the gateway's.
func withWill(g handover.Geometry) handover.Geometry {
	g.Rings++
	g.RingBytes = max(g.RingBytes, 4096) // nothing is in this one
	return g
}

// ringOfWill is the last one of the first shard; nil: there is none.
func ringOfWill(m *handover.Memory) *handover.Ring {
	n := m.Geometry().Rings
	if n == 0 {
		return nil
	}
	return m.Ring(0, n-1)
}

// writeWill replaces the will. One goroutine does it at a time.
func writeWill(m *handover.Memory, c *carried) {
	b := mustEncode(c)
	if len(b) > handover.NoteBytes { // on a box with very many interfaces
		c.Health = nil
		b = mustEncode(c)
	}
	ringOfWill(m).PutNote(b)
}

func readWill(m *handover.Memory) (*carried, error) {
	r := ringOfWill(m)
	if r == nil {
		return nil, errWill
	}
	c, err := parseCarried(r.Note())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWill, err)
	}
	return c, nil
}
