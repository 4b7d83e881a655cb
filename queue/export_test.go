package queue

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// ParseBody is what a Handler makes of a body.
var ParseBody = parseBody

// Following is where a walk through IDs goes on.
var Following = following

// Look does what Keep does each second.
func (s *Stream) Look(ctx context.Context) { s.look(ctx, keepScript) }

// LookAsOld is Look on a server that knows no XTRIM MINID (Redis 6.0).
func (s *Stream) LookAsOld(ctx context.Context) {
	old := script{text: strings.ReplaceAll(keepScript.text, "'MINID'", "'MINUTE'")}
	sum := sha1.Sum([]byte(old.text))
	old.sum = hex.EncodeToString(sum[:])
	s.look(ctx, old)
}
