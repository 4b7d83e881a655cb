//go:build e2e

package tests

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/swarm"
	"edged/wire"
)

var wireBye = wire.AppendBye(nil, wire.ByeNormal, 0, "")

// conversation is a swarm that numbers what it sends, checks the numbers of what comes, and whose links come back when they ended.
type conversation struct {
	t      *testing.T
	cancel context.CancelFunc
	done   sync.WaitGroup
	report swarm.Report // static after done
	err    error        // static after done

	mu   sync.Mutex
	most time.Duration // guarded by mu: the longest answer since longest was called
}

// startConversation returns when all links are open and talk, so many messages a second together.
func startConversation(t *testing.T, address string, links, rate int) *conversation {
	t.Helper()
	k := &conversation{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	cfg := swarm.Default()
	cfg.Target, cfg.Links, cfg.Duration, cfg.Checker, cfg.Pushes, cfg.Loops = []string{address}, links, 24*time.Hour, true, 3, 1
	cfg.Rate, cfg.Patience, cfg.Reconnect = float64(rate), patience, true
	up := make(chan struct{})
	k.done.Go(func() {
		var once sync.Once
		k.report, k.err = swarm.Run(ctx, cfg, func(p swarm.Progress) {
			if p.Phase != "run" {
				return
			}
			k.mu.Lock()
			k.most = max(k.most, p.Max)
			k.mu.Unlock()
			if p.Answered > 0 && p.Links == links {
				once.Do(func() { close(up) })
			}
		})
	})
	t.Cleanup(func() { cancel(); k.done.Wait() })
	select {
	case <-up:
	case <-time.After(patience):
		t.Fatal("the swarm does not talk")
	}
	return k
}

// longest is the longest answer of the seconds that have ended since the last call.
func (k *conversation) longest() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.most
	k.most = 0
	return d
}

// finish ends the swarm. On links that lived on nothing may be missing, doubled or out of order; on one that ended, that alone
// may be missing which it was waiting for.
func (k *conversation) finish() {
	k.t.Helper()
	k.cancel()
	k.done.Wait()
	if k.err != nil {
		k.t.Fatal(k.err)
	}
	if r := &k.report; r.Faults() != 0 || r.Messages.Unanswered != r.Check.Unheard.Total {
		var text strings.Builder
		_ = r.WriteText(&text)
		k.t.Errorf("%d faults; %d unanswered, of these %d on links that ended\n%s", r.Faults(), r.Messages.Unanswered, r.Check.Unheard.Total, text.String())
	}
}
