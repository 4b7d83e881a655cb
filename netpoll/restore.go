package netpoll

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ConnBytes is how long the part of a connection's record is that has no input or output: what changes with each message. Behind it
// stand, for few connections at a time, half a message that came and output that the kernel did not take.
const ConnBytes = recordBytes

// Restoration is what a group is made of that goes on in the place of one that ended without a word: in a process that was killed.
// What a loop had beside its connections is lost with it: listeners are opened anew.
type Restoration struct {
	Version uint16   // of the records: StateVersion when they were written
	Loops   [][]Kept // by the number of the loop
	// Check returns an error for a connection that went on after its record was written: it is given the bytes read and written
	// according to that. Such a connection is closed. Unix sockets, which nobody can say that of, should get an error as well.
	Check func(fd int, read, written uint32) error
	// Strays are descriptors of connections that nothing is known of. They are closed as well, unless New fails.
	Strays []int
}

// Kept is a connection that somebody else held open, with the record of it that AppendConn wrote last. The group takes the
// descriptor over unless New fails.
type Kept struct {
	FD     int
	Record []byte // not kept
}

// ConnOf returns the name of the connection that a record is of, 0 where it is none's.
func ConnOf(record []byte) Conn {
	if len(record) < ConnBytes {
		return 0
	}
	return makeConn(binary.LittleEndian.Uint32(record), binary.LittleEndian.Uint32(record[4:]))
}

// errTwice is why a second record of one slot is not believed.
var errTwice = errors.New("its slot is another one's")

// revived is what becomes of a Restoration.
type revived struct {
	from          *Restoration // until New has succeeded
	doomed        []int        // descriptors to be closed then
	torn, dropped int
	first         error // why the first one was dropped
}

// lose counts a connection that cannot be gone on with.
func (v *revived) lose(fd, loop int, why error) {
	if v.dropped == 0 {
		v.first = fmt.Errorf("netpoll: loop %d: cannot go on with a connection: %w", loop, why)
	}
	v.dropped++
	v.doomed = append(v.doomed, fd)
}
