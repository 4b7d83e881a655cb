package nic

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// change is one setting to be made: by the family ethtool, or where that is not there by ioctl.
type change struct {
	leaf     Leaf
	question string
	want     string
	command  uint8
	fill     func(g *generic, ae *netlink.AttributeEncoder) error
	ioctl    func(c control) error // nil: there is none
}

// make makes it.
func (c change) make(ctx context.Context) error {
	err := c.byGeneric(ctx)
	absent := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT)
	if absent && c.ioctl != nil {
		err = c.byControl()
	}
	if err == nil {
		return nil
	}
	return c.failed(err)
}

func (c change) failed(err error) *SetError {
	return &SetError{What: c.question + " of " + c.leaf.Name, Want: c.want, Errno: errnoOf(err), Detail: detailOf(err)}
}

func (c change) byGeneric(ctx context.Context) error {
	g, err := dialGeneric(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }()
	if g.ethtoolErr != nil {
		return g.ethtoolErr
	}
	var fillErr error
	request := requestTo(c.leaf.Index, func(ae *netlink.AttributeEncoder) { fillErr = c.fill(g, ae) })
	if fillErr != nil {
		return fillErr
	}
	return g.set(c.command, request)
}

func (c change) byControl() error {
	s, err := openControl()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.is(c.leaf); err != nil {
		return err
	}
	return c.ioctl(s)
}

// SetChannels implements Driver.
func (kernelDriver) SetChannels(ctx context.Context, leaf Leaf, want Counts) error {
	return change{
		leaf: leaf, question: AskChannels, want: want.String(), command: unix.ETHTOOL_MSG_CHANNELS_SET,
		ioctl: func(c control) error { return c.setChannels(leaf.Name, want) },
		fill: func(g *generic, ae *netlink.AttributeEncoder) error {
			messages, err := g.get(unix.ETHTOOL_MSG_CHANNELS_GET, requestTo(leaf.Index, nil))
			if err != nil {
				return err
			}
			now, err := parseChannels(messages)
			put := func(attr uint16, most, n int) {
				if most > 0 || n > 0 { // a kind that the device does not have may not even be set to 0
					ae.Uint32(attr, uint32(n))
				}
			}
			put(unix.ETHTOOL_A_CHANNELS_RX_COUNT, now.Max.RX, want.RX)
			put(unix.ETHTOOL_A_CHANNELS_TX_COUNT, now.Max.TX, want.TX)
			put(unix.ETHTOOL_A_CHANNELS_OTHER_COUNT, now.Max.Other, want.Other)
			put(unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT, now.Max.Combined, want.Combined)
			return err
		},
	}.make(ctx)
}

// SetRings implements Driver.
func (kernelDriver) SetRings(ctx context.Context, leaf Leaf, rx, tx int) error {
	return change{
		leaf: leaf, question: AskRings, want: fmt.Sprintf("rx %d tx %d", rx, tx), command: unix.ETHTOOL_MSG_RINGS_SET,
		ioctl: func(c control) error { return c.setRings(leaf.Name, rx, tx) },
		fill: func(_ *generic, ae *netlink.AttributeEncoder) error {
			if rx > 0 {
				ae.Uint32(unix.ETHTOOL_A_RINGS_RX, uint32(rx))
			}
			if tx > 0 {
				ae.Uint32(unix.ETHTOOL_A_RINGS_TX, uint32(tx))
			}
			return nil
		},
	}.make(ctx)
}

// SetCoalesce implements Driver.
func (kernelDriver) SetCoalesce(ctx context.Context, leaf Leaf, want Coalesce) error {
	return change{
		leaf: leaf, question: AskCoalesce, want: want.String(), command: unix.ETHTOOL_MSG_COALESCE_SET,
		ioctl: func(c control) error { return c.setCoalesce(leaf.Name, want) },
		fill:  func(_ *generic, ae *netlink.AttributeEncoder) error { putCoalesce(ae, want); return nil },
	}.make(ctx)
}

// SetFeature implements Driver. The kernel reports no error where the driver, or another feature, does not allow the change.
func (kernelDriver) SetFeature(ctx context.Context, leaf Leaf, name string, on bool) error {
	want := Feature{Name: name, On: on}
	c := change{
		leaf: leaf, question: AskFeatures, want: want.String(), command: unix.ETHTOOL_MSG_FEATURES_SET,
		fill: func(_ *generic, ae *netlink.AttributeEncoder) error { putFeature(ae, name, on); return nil },
	}
	if err := c.make(ctx); err != nil {
		return err
	}
	g, err := dialGeneric(ctx)
	if err != nil {
		return c.failed(err)
	}
	defer func() { _ = g.Close() }()
	messages, err := g.get(unix.ETHTOOL_MSG_FEATURES_GET, requestTo(leaf.Index, nil))
	if err != nil {
		return c.failed(err)
	}
	features, err := parseFeatures(messages)
	if err != nil {
		return c.failed(err)
	}
	for _, f := range features {
		if f.Name == name && f.On != on {
			return &SetError{What: c.question + " of " + leaf.Name, Want: c.want, Got: f.String()}
		}
	}
	return nil
}
