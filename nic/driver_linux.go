package nic

import (
	"context"
	"errors"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernelDriver is the Driver of the calling thread's network namespace. It holds nothing: each call opens its sockets.
type kernelDriver struct{}

// Ask implements Driver.
func (kernelDriver) Ask(ctx context.Context, leaf Leaf) (Answers, error) {
	a := Answers{Refused: map[string]syscall.Errno{}}
	gone := false
	tell := func(question string, err error) {
		if err != nil {
			a.Refused[question] = errnoOf(err)
			gone = gone || a.Refused[question] == unix.ENODEV
		}
	}
	if g, err := dialGeneric(ctx); err != nil {
		tell(AskNetdev, err)
		tell(AskEthtool, err)
	} else {
		a.askGeneric(g, leaf.Index, tell)
		_ = g.Close()
	}
	if c, err := openControl(); err != nil {
		tell(AskInfo, err)
	} else {
		a.askControl(c, leaf, tell)
		_ = c.Close()
	}
	if err := ctx.Err(); err != nil {
		return Answers{}, err
	}
	if gone {
		return Answers{}, ErrGone
	}
	return a, nil
}

// askGeneric puts the questions to both families. A family that is not there is told once.
func (a *Answers) askGeneric(g *generic, index int, tell func(question string, err error)) {
	of := func(attr uint16) []byte {
		return encode(func(ae *netlink.AttributeEncoder) { ae.Uint32(attr, uint32(index)) })
	}
	if tell(AskNetdev, g.netdevErr); g.netdevErr == nil {
		messages, err := g.dump(netdevQueueGet, of(queueIfindex))
		tell(AskQueues, parsed(&a.Queues, parseQueues, messages, err))
		messages, err = g.dump(netdevNAPIGet, of(napiIfindex))
		tell(AskNAPIs, parsed(&a.NAPIs, parseNAPIs, messages, err))
	}
	if tell(AskEthtool, g.ethtoolErr); g.ethtoolErr != nil {
		return
	}
	request := requestTo(index, nil)
	messages, err := g.get(unix.ETHTOOL_MSG_CHANNELS_GET, request)
	tell(AskChannels, parsed(&a.Channels, parseChannels, messages, err))
	messages, err = g.get(unix.ETHTOOL_MSG_RINGS_GET, request)
	tell(AskRings, parsed(&a.Rings, parseRings, messages, err))
	messages, err = g.get(unix.ETHTOOL_MSG_COALESCE_GET, request)
	tell(AskCoalesce, parsed(&a.Coalesce, parseCoalesce, messages, err))
	messages, err = g.get(unix.ETHTOOL_MSG_FEATURES_GET, request)
	tell(AskFeatures, parsed(&a.Features, parseFeatures, messages, err))
	messages, err = g.get(unix.ETHTOOL_MSG_LINKMODES_GET, request)
	tell(AskSpeed, parsed(&a.Speed, parseSpeed, messages, err))
}

// parsed stores what parse makes of an answer; err is why there is none.
func parsed[T any](to *T, parse func([]genetlink.Message) (T, error), messages []genetlink.Message, err error) error {
	if err != nil {
		return err
	}
	v, err := parse(messages)
	if err != nil {
		return err
	}
	*to = v
	return nil
}

// askControl puts the questions that only ioctl answers, and those that the family ethtool would have.
func (a *Answers) askControl(c control, leaf Leaf, tell func(question string, err error)) {
	err := c.is(leaf)
	if err != nil {
		tell(AskInfo, err)
		return
	}
	a.Driver, a.Bus, err = c.info(leaf.Name)
	tell(AskInfo, err)
	a.RSSTable, err = c.rssTable(leaf.Name)
	tell(AskRSSTable, err)
	if a.Refused[AskEthtool] == 0 {
		return
	}
	a.Channels, err = c.channels(leaf.Name)
	tell(AskChannels, err)
	a.Rings, err = c.rings(leaf.Name)
	tell(AskRings, err)
	a.Coalesce, err = c.coalesce(leaf.Name)
	tell(AskCoalesce, err)
}

// Stats implements Driver: what netdev does not tell, the driver's own counters may, by their names.
func (kernelDriver) Stats(ctx context.Context, leaf Leaf) ([]QueueStats, error) {
	stats, err := genericStats(ctx, leaf.Index)
	if err == nil && len(stats) > 0 {
		return stats, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	c, err := openControl()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.is(leaf); errors.Is(err, unix.ENODEV) {
		return nil, ErrGone
	} else if err != nil {
		return nil, err
	}
	names, values, err := c.driverStats(leaf.Name)
	if err != nil {
		return nil, err
	}
	if stats = parseDriverStats(names, values); len(stats) == 0 {
		return nil, unix.EOPNOTSUPP
	}
	return stats, nil
}

// genericStats asks the family netdev.
func genericStats(ctx context.Context, index int) ([]QueueStats, error) {
	g, err := dialGeneric(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = g.Close() }()
	messages, err := g.dump(netdevQStatsGet, encode(func(ae *netlink.AttributeEncoder) {
		ae.Uint32(qstatsIfindex, uint32(index))
		ae.Uint32(qstatsScope, scopeQueue)
	}))
	if err != nil {
		return nil, err
	}
	return parseQStats(messages)
}
