package dispatch

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how often the files of a certificate are looked at, while there are handshakes.
const lookAgain = time.Second

// keyPair is a certificate of two files. It is read again when one of them changes; until both fit together the one
// before is used.
type keyPair struct {
	cert, key string
	log       *slog.Logger
	load      func(cert, key string) (*tls.Certificate, error)

	mu     sync.Mutex
	now    *tls.Certificate
	of     [2]os.FileInfo // the files that were read last, also in vain; nil: there was none
	looked time.Time
}

func newKeyPair(cert, key string, log *slog.Logger) (*keyPair, error) {
	p := &keyPair{cert: cert, key: key, log: log, load: loadPair}
	p.of, p.looked = p.files(), time.Now()
	var err error
	p.now, err = p.load(cert, key)
	return p, err
}

// loadPair reads a certificate. The errors of crypto/tls do not all name the file.
func loadPair(cert, key string) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", cert, key, err)
	}
	return &c, nil
}

func (p *keyPair) files() (of [2]os.FileInfo) {
	for i, path := range []string{p.cert, p.key} {
		if info, err := os.Stat(path); err == nil {
			of[i] = info
		}
	}
	return of
}

// get is for tls.Config.GetCertificate.
func (p *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := time.Now(); t.Sub(p.looked) >= lookAgain {
		p.looked = t
		p.look()
	}
	return p.now, nil
}

func (p *keyPair) look() {
	of := p.files()
	if same(of[0], p.of[0]) && same(of[1], p.of[1]) {
		return
	}
	p.of = of
	c, err := p.load(p.cert, p.key)
	if err != nil {
		p.log.Warn("changed certificate not taken; the one before is used", "err", err)
		return
	}
	p.now = c
	p.log.Info("certificate read again", "file", p.cert, "until", c.Leaf.NotAfter)
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
