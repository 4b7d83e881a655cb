package session

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// stateVersion is the first byte of a saved session. After it stand the length
// of the field and the field, length 0 for no session.
const stateVersion = 1

// ErrState means that saved bytes are not those of a session.
var ErrState = errors.New("session: not a saved session")

// AppendState adds what LoadState needs to make the session again in another
// process; Ref 0 stays Ref 0.
func (s *Store) AppendState(dst []byte, r Ref) []byte {
	dst = append(dst, stateVersion)
	return protowire.AppendBytes(dst, s.Field(r))
}

// LoadState makes a session from the start of b and returns how many bytes
// it took. It believes nothing: what AppendState did not write is ErrState. A
// session over the limit is taken, as its link is worth more than the limit.
func (s *Store) LoadState(b []byte) (Ref, int, error) {
	if len(b) == 0 {
		return 0, 0, ErrState
	}
	if b[0] != stateVersion {
		return 0, 0, fmt.Errorf("%w: version %d", ErrState, b[0])
	}
	field, n := protowire.ConsumeBytes(b[1:])
	if n < 0 || n != protowire.SizeBytes(len(field)) || len(field) > maxField {
		return 0, 0, ErrState
	}
	if len(field) == 0 {
		return 0, 1 + n, nil
	}
	defer s.draft.reset()
	d := &s.draft
	if !d.load(field) || !d.valid() || !d.reindex() || !bytes.Equal(d.encode(), field) {
		return 0, 0, ErrState
	}
	return s.place(0, d.encode()), 1 + n, nil
}
