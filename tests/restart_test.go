//go:build e2e

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"edged/api/edgedpb"
	"edged/wire"
)

// TestRestart kills the gateway and starts it again: its places have other use counts, so that nobody gets what was meant
// for a link of before.
func TestRestart(t *testing.T) {
	t.Parallel()
	p := newPlain(t, nil)
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "edged.toml"), filepath.Join(dir, "admin.sock")
	s := setup{managers: []string{p.address}, listeners: []string{fmt.Sprintf("address = %q", freePort(t)), fmt.Sprintf("name = \"u\"\naddress = %q", "unix:"+filepath.Join(dir, "links.sock"))}}
	check(t, os.WriteFile(file, []byte(s.text(admin)), 0o600))
	seen := map[uint32]bool{}
	var old *edgedpb.LinkRef
	var epoch uint64
	for life := range 4 {
		g := startFile(t, file, admin, setup{})
		c := dialIn(t, g.addresses[life%2], "ann/phone") // one of them by the socket that the one before left behind
		l := p.opened(c.link).GetLink()
		now := p.stream(0).hello.GetEpoch()
		if seen[l.GetUniq()] || now == epoch {
			t.Errorf("life %d has uniq %d and epoch %d again", life, l.GetUniq(), now)
		}
		if old != nil {
			if l.GetIndex() != old.GetIndex() {
				t.Errorf("the first link of life %d has place %d, that of the one before %d: the test tests nothing", life, l.GetIndex(), old.GetIndex())
			}
			ref := uint64(100 + life)
			p.send(withRef(ref, dataItem(old, []byte("for the dead"))), dataItem(l, []byte("for the living")))
			if got := c.want(wire.KindData); string(got) != "for the living" {
				t.Errorf("life %d: the new owner of the place got %q", life, got)
			}
			p.wantRefused(ref, edgedpb.Refused_STALE_LINK)
		}
		seen[l.GetUniq()], old, epoch = true, l, now
		last := p.stream(0)
		g.kill()
		waitFor(t, "the stream is gone", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, s := range p.streams {
				if s == last {
					return false
				}
			}
			return true
		})
	}
}
