package nic

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// Limits of Watch.
const (
	settle     = 100 * time.Millisecond // changes come in groups: a bond that comes up is a dozen
	leastRetry = 100 * time.Millisecond
	mostRetry  = 5 * time.Second
)

// Watch calls changed after each group of changes to the interfaces of the calling thread's network namespace (made,
// removed, renamed, up, down, carrier), at most once in 100 ms, and once at the start of each subscription, because what
// happened before it is not known. It returns nil when ctx ends, and an error only where it cannot subscribe at first:
// then whoever needs to know asks Resolve from time to time. A subscription that the kernel ends (ENOBUFS: changes came
// faster than they were taken) is begun again. changed runs on the calling goroutine. A default route that moves to another
// interface is no change of an interface: who runs on a Virtual Set resolves now and then in any case.
func Watch(ctx context.Context, changed func()) error {
	return watch(ctx, changed, subscribe)
}

// WatchQueues is Watch that also calls changed when the channels, rings, offloads or coalescing of an interface are changed by
// ethtool (Linux 5.7 and later): new channels have other interrupts. An interrupt that is moved to another CPU, and a CPU that
// goes off, tell nobody: whoever needs to know maps again from time to time.
func WatchQueues(ctx context.Context, changed func()) error {
	return watch(ctx, changed, subscribeQueues)
}

// subscription is a stream of changes of which only the fact counts; it is closed when it has broken.
type subscription <-chan netlink.LinkUpdate

// subscribe begins a subscription that ends with done. After that it must be read until it is closed.
func subscribe(done <-chan struct{}) (subscription, error) {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{}); err != nil {
		return nil, err
	}
	return updates, nil
}

func watch(ctx context.Context, changed func(), subscribe func(done <-chan struct{}) (subscription, error)) error {
	for first, retry := true, leastRetry; ctx.Err() == nil; first = false {
		done := make(chan struct{})
		updates, err := subscribe(done)
		if err != nil && first {
			return fmt.Errorf("subscribe to interface changes: %w", err)
		}
		if err == nil {
			changed()
			if follow(ctx, updates, changed) {
				retry = leastRetry
			}
			close(done)
			for range updates { // its sender must not be left blocked
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, mostRetry)
	}
	return nil
}

// follow reports changes until ctx ends or updates is closed, and says whether there was one.
func follow(ctx context.Context, updates subscription, changed func()) (any bool) {
	for {
		select {
		case <-ctx.Done():
			return any
		case _, ok := <-updates:
			if !ok {
				return any
			}
		}
		any = true
		group := time.After(settle)
		for open := true; open; {
			select {
			case <-ctx.Done():
				return any
			case _, ok := <-updates:
				if !ok {
					return any // the next subscription begins with a call of changed
				}
			case <-group:
				open = false
			}
		}
		changed()
	}
}
