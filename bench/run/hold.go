package main

import (
	"bytes"
	"os"
	"time"
)

const (
	warmLinks   = 100             // opened and closed before the first look, so that code and buffers are there
	settleEvery = time.Second     // between two looks at the memory
	settleLimit = 5 * time.Second // then it is taken as it is
	userNear    = 64 << 10        // bytes by which two looks may differ and count as the same
	kernelNear  = 512 << 10       // the same of the kernel, where others live too
	holdWarm    = time.Second     // from the last link's opening to the first counted moment
	shortHold   = 2 * time.Second // of subjects whose CPU is not asked for
)

// memory is what a look at the machine shows.
type memory struct {
	user   int // resident bytes of the server
	kernel int // bytes of the whole kernel; 0 where it may not be read
}

// settled reads the memory until it stands still: a runtime gives back in its own time what it used while links opened.
func (b *bench) settled(pid int) (memory, error) {
	last, err := b.memory(pid)
	for limit := time.Now().Add(settleLimit); err == nil && time.Now().Before(limit); {
		if err := b.sleep(settleEvery); err != nil {
			return last, err
		}
		before := last
		last, err = b.memory(pid)
		if near(before.user, last.user, userNear) && near(before.kernel, last.kernel, kernelNear) {
			break
		}
	}
	return last, err
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
func (b *bench) hold(r row, s subject, pids []int, args []string) (sample, error) {
	if err := b.warmUp(r, s, pids, args); err != nil {
		return sample{}, err
	}
	before, err := b.settled(pids[0])
	if err != nil {
		return sample{}, err
	}
	var out bytes.Buffer
	c, err := b.client(s, &out, args)
	if err != nil {
		return sample{}, err
	}
	if err := c.await(b.ctx, loadLimit); err != nil {
		return sample{}, err
	}
	opened := time.Now()
	with, err := b.settled(pids[0])
	if err != nil {
		return sample{}, err
	}
	watch := shortHold
	if s.long {
		watch = b.set.hold
	}
	if err := b.sleep(holdWarm + watch - time.Since(opened)); err != nil {
		return sample{}, err
	}
	_ = c.stdin.Close() // ends the measurement
	rep, err := b.result(c, &out, r, len(pids), loadLimit)
	if err != nil {
		return sample{}, err
	}
	return heldSample(r, s, before, with, rep), nil
}

// warmUp opens and closes some links as the row will.
func (b *bench) warmUp(r row, s subject, pids []int, args []string) error {
	few := r
	few.mode, few.links = storm, warmLinks
	few.beat = 0
	var out bytes.Buffer
	c, err := b.client(s, &out, append(loadArgs(b.set, few, s, pids), args[len(args)-1]))
	if err != nil {
		return err
	}
	_, err = b.result(c, &out, few, len(pids), loadLimit)
	return err
}

// heldSample turns what was seen into figures per link.
func heldSample(r row, s subject, before, with memory, rep report) sample {
	found := sample{otherCPU: rep.OtherCPU, lineNs: rep.LineNs}
	put := func(f figure, v float64) { found.values = append(found.values, value{f, v}) }
	if r.beat == 0 {
		put(userBytes, float64(with.user-before.user)/float64(r.links))
		if before.kernel > 0 {
			put(kernBytes, float64(with.kernel-before.kernel)/float64(2*r.links)) // both ends of each are ours
		}
	}
	if s.long {
		put(idleCPU, 100*rep.Servers[0].CPU)
	}
	if r.beat > 0 {
		put(beatCPU, rep.Servers[0].PerFrameUs)
	}
	return found
}
