package swarm

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"edged/sdk/client"
)

const (
	// mostQuestions is how many questions the dispatch service is asked at a time, however many links begin: each asks its
	// own, as its client would, but a swarm must not do to the service what it is to do to gateways.
	mostQuestions = 64
	// mostTargets bounds the addresses that are remembered: a service that invents them shall not fill the memory.
	mostTargets = 1 << 16
	// mostPicks is how many addresses of a list a link keeps; a Directory asks for as many.
	mostPicks = 3
)

// target is where links go.
type target struct {
	at        netip.AddrPort
	name, slb string
}

// finder asks the dispatch service for the loops, one question for each link that wants to know. The loops give it links by
// ask, and it posts the answers to them.
type finder struct {
	dir     *client.Directory // static, like the next three
	http    *http.Transport
	jobs    chan job // has room for every link: one asks once at a time
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	targets []target          // only appended to, so that loops can read what was there when they got it
	known   map[string]uint32 // number in targets, by name
	seen    Lookups
}

// job is a link that wants to know where to go.
type job struct {
	loop  *loop
	place uint32
}

// found is the answer.
type found struct {
	place   uint32
	n       int               // of picks; 0: there is no list
	picks   [mostPicks]uint32 // in targets
	why     string            // there is none
	targets []target          // all that are known by now
	ttl     time.Duration
	backoff client.Backoff
}

// backoff is how links come back where the dispatch service does not say.
var localBackoff = client.Backoff{Base: backoffBase, Max: backoffMost, Factor: 2, Jitter: 1}

func newFinder(cfg *Config) (*finder, error) {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: mostQuestions, MaxIdleConnsPerHost: mostQuestions}
	dir, err := client.NewDirectory(cfg.Dispatch, &http.Client{Transport: t})
	if err != nil {
		return nil, err
	}
	f := &finder{dir: dir, http: t, jobs: make(chan job, cfg.Links), known: map[string]uint32{}}
	f.seen = Lookups{URL: dir.String(), Errors: map[string]uint64{}, Took: &Histogram{}}
	return f, nil
}

// start begins to work; end waits until all work has ended.
func (f *finder) start() {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	for range mostQuestions {
		f.workers.Go(func() {
			for {
				select {
				case j := <-f.jobs:
					a := f.find(ctx)
					a.place = j.place
					j.loop.net.Post(func() { j.loop.found(&a) })
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

func (f *finder) end() {
	f.stop()
	f.workers.Wait()
	f.http.CloseIdleConnections()
}

// ask has a link's question asked. It never waits.
func (f *finder) ask(r *loop, place uint32) { f.jobs <- job{r, place} }

// find asks a question.
func (f *finder) find(ctx context.Context) (a found) {
	began := time.Now()
	l, err := f.dir.Ask(ctx)
	took := time.Since(began)
	for _, e := range l.Addresses {
		if a.n == mostPicks {
			break
		}
		var number uint32
		if number, err = f.number(ctx, e); err == nil {
			a.picks[a.n] = number
			a.n++
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.Asked++
	f.seen.Took.Record(took)
	if a.n == 0 {
		a.why = "dispatch: " + lookupReason(err)
		f.seen.Failed++
		f.seen.Errors[a.why]++
	}
	a.targets, a.ttl, a.backoff = f.targets, l.TTL, l.Backoff.Or(localBackoff)
	return a
}

var errTargets = errors.New("too many addresses in all")

// number returns the number of an address, which is a new one if it was not seen before.
func (f *finder) number(ctx context.Context, a client.Address) (uint32, error) {
	f.mu.Lock()
	n, ok := f.known[a.Address]
	f.mu.Unlock()
	if ok {
		return n, nil
	}
	at, err := resolve(ctx, a.Address)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok = f.known[a.Address]; ok { // somebody was faster
		return n, nil
	}
	if len(f.targets) == mostTargets {
		return 0, errTargets
	}
	n = uint32(len(f.targets))
	f.targets = append(f.targets, target{at, a.Address, a.SLB})
	f.known[a.Address] = n
	return n, nil
}

// lookups returns what was asked so far.
func (f *finder) lookups() *Lookups {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen.clone()
}

// lookupReason names an error in few and always the same words: without the ports of connections, for one.
func lookupReason(err error) string {
	var errno syscall.Errno
	var status *client.StatusError
	var name *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &status):
		return strconv.Itoa(status.Status) + " " + http.StatusText(status.Status)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, client.ErrNoAddress):
		return client.ErrNoAddress.Error()
	case errors.As(err, &name):
		return "unknown host"
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection ended"
	case errors.Is(err, errTargets):
		return errTargets.Error()
	}
	return "answer is not a list"
}

// resolve finds the IP address of a "host:port". Of a name that has several, such as localhost, it is one of IPv4, which is what
// gateways listen on if nothing else is said.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	first := addrs[0].Unmap()
	for _, a := range addrs {
		if a.Unmap().Is4() {
			first = a.Unmap()
			break
		}
	}
	return netip.AddrPortFrom(first, uint16(n)), nil
}
