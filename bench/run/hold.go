package main

import (
	"bytes"
	"os"
	"time"
)

const (
	warmLinks   = 100             // opened and closed before the first look, so that code and buffers are there
	settleEvery = time.Second     // between two looks at the memory
	settleLeast = 6 * time.Second // edged gives memory back once it has been quiet for some seconds
	settleLimit = 9 * time.Second // then it is taken as it is
	userNear    = 64 << 10        // bytes by which two looks may differ and count as the same
	kernelNear  = 512 << 10       // the same of the kernel, where others live too
	holdWarm    = time.Second     // from the last link's opening to the first counted moment
	shortHold   = 2 * time.Second // of subjects whose CPU is not asked for
)

// warmUp is the time from the last link's opening to the first counted moment. Where links send heartbeats each of them has sent two
// by then, and a server has had the time to find out when it does: how it goes on like that for days is what is measured.
func (r row) warmUp() time.Duration {
	if r.beat > 0 {
		return 2*r.beat + 10*time.Second
	}
	return holdWarm
}

// memory is what a look at the machine shows.
type memory struct {
	user   int // resident bytes of the server
	kernel int // bytes of the whole kernel; 0 where it may not be read
}

// settled reads the memory until it stands still: a runtime gives back in its own time what it used while links opened. It
// returns also how long that took.
func (b *bench) settled(pid int) (memory, time.Duration, error) {
	began := time.Now()
	last, err := b.memory(pid)
	for limit := began.Add(settleLimit); err == nil && time.Now().Before(limit); {
		if err := b.sleep(settleEvery); err != nil {
			return last, 0, err
		}
		before := last
		last, err = b.memory(pid)
		if time.Since(began) >= settleLeast && near(before.user, last.user, userNear) && near(before.kernel, last.kernel, kernelNear) {
			break
		}
	}
	return last, time.Since(began), err
}

// look reads the memory of a subject, where the row shows it.
func (b *bench) look(r row, t target) (memory, time.Duration, error) {
	if r.beat > 0 {
		return memory{}, 0, nil
	}
	return b.settled(t.pids[0])
}

func near(a, b, within int) bool { return max(a-b, b-a) <= within }

func (b *bench) memory(pid int) (memory, error) {
	user, err := b.proc.rss(pid)
	if err != nil {
		return memory{}, err
	}
	kernel, err := b.proc.kernel()
	if os.IsPermission(err) || os.IsNotExist(err) {
		return memory{user: user}, nil
	}
	return memory{user, kernel}, err
}

func (b *bench) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// hold measures a row of links that do nothing or little: memory before and with them, and CPU while they are there.
func (b *bench) hold(r row, s subject, t target) (sample, error) {
	if err := b.warmUp(r, s, t); err != nil {
		return sample{}, err
	}
	before, _, err := b.look(r, t)
	if err != nil {
		return sample{}, err
	}
	keptBefore, err := b.keeping(t)
	if err != nil {
		return sample{}, err
	}
	end, err := b.open(b.set, r, s, t)
	if err != nil {
		return sample{}, err
	}
	opened := time.Now()
	with, took, err := b.look(r, t)
	if err != nil {
		return sample{}, err
	}
	keptWith, err := b.keeping(t)
	if err != nil {
		return sample{}, err
	}
	heap, err := b.heap(t)
	if err != nil {
		return sample{}, err
	}
	watch := shortHold
	if s.long {
		watch = b.set.hold
	}
	if err := b.sleep(r.warmUp() + watch - time.Since(opened)); err != nil {
		return sample{}, err
	}
	rep, err := end()
	if err != nil {
		return sample{}, err
	}
	found := heldSample(r, s, before, with, rep)
	found.settled = took.Seconds()
	found.values = append(found.values, heap...)
	if s.kept {
		found.put(keeperBytes, float64(keptWith.keeper-keptBefore.keeper)/float64(r.links))
		found.put(sharedBytes, float64(keptWith.shared-keptBefore.shared)/float64(r.links))
	}
	return found, nil
}

// open starts a load that lasts until end is called, and waits until all its links are open.
func (b *bench) open(set settings, r row, s subject, t target) (end func() (report, error), err error) {
	var out bytes.Buffer
	c, err := b.client(r, s, &out, t.load(set, r, s))
	if err != nil {
		return nil, err
	}
	return func() (report, error) {
		_ = c.stdin.Close() // ends the measurement
		return b.result(c, &out, r, len(t.pids), loadLimit)
	}, c.await(b.ctx, loadLimit)
}

// warmUp opens and closes some links as the row will.
func (b *bench) warmUp(r row, s subject, t target) error {
	few := r
	few.mode, few.links = storm, warmLinks
	few.beat = 0
	_, err := b.talk(b.set, few, s, t)
	return err
}

// heldSample turns what was seen into figures per link.
func heldSample(r row, s subject, before, with memory, rep report) sample {
	found := newSample(rep, rep)
	if r.beat == 0 {
		found.put(userBytes, float64(with.user-before.user)/float64(r.links))
		if before.kernel > 0 {
			found.put(kernBytes, float64(with.kernel-before.kernel)/float64(2*r.links)) // both ends of each are ours
		}
	}
	if s.long {
		found.put(idleCPU, 100*rep.Servers[0].CPU)
	}
	if r.beat > 0 {
		found.put(beatCPU, rep.Servers[0].PerFrameUs)
	}
	return found
}
