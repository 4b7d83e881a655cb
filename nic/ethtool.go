package nic

import (
	"slices"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ethtoolHeader is the attribute that names the interface in a request; its number is the same in all of them.
const ethtoolHeader = 1

// requestTo returns the attributes of a request about the interface of that index, and what fill puts. The name is not sent:
// it may be another interface's by now.
func requestTo(index int, fill func(ae *netlink.AttributeEncoder)) []byte {
	return encode(func(ae *netlink.AttributeEncoder) {
		ae.Nested(ethtoolHeader, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(index))
			return nil
		})
		if fill != nil {
			fill(ae)
		}
	})
}

// numbers reads an answer that is a row of them. A type that is not in fields is passed over.
func numbers(messages []genetlink.Message, fields map[uint16]*int) error {
	return decode(messages, func() {}, func(ad *netlink.AttributeDecoder) {
		if to := fields[ad.Type()]; to != nil {
			*to = int(ad.Uint32())
		}
	})
}

func parseChannels(messages []genetlink.Message) (c Channels, err error) {
	err = numbers(messages, map[uint16]*int{
		unix.ETHTOOL_A_CHANNELS_RX_MAX: &c.Max.RX, unix.ETHTOOL_A_CHANNELS_TX_MAX: &c.Max.TX,
		unix.ETHTOOL_A_CHANNELS_OTHER_MAX: &c.Max.Other, unix.ETHTOOL_A_CHANNELS_COMBINED_MAX: &c.Max.Combined,
		unix.ETHTOOL_A_CHANNELS_RX_COUNT: &c.Now.RX, unix.ETHTOOL_A_CHANNELS_TX_COUNT: &c.Now.TX,
		unix.ETHTOOL_A_CHANNELS_OTHER_COUNT: &c.Now.Other, unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT: &c.Now.Combined,
	})
	return c, err
}

func parseRings(messages []genetlink.Message) (r Rings, err error) {
	err = numbers(messages, map[uint16]*int{
		unix.ETHTOOL_A_RINGS_RX_MAX: &r.RXMax, unix.ETHTOOL_A_RINGS_TX_MAX: &r.TXMax,
		unix.ETHTOOL_A_RINGS_RX: &r.RX, unix.ETHTOOL_A_RINGS_TX: &r.TX,
	})
	return r, err
}

// parseCoalesce reads the answer, which has what the driver supports and nothing else.
func parseCoalesce(messages []genetlink.Message) (c Coalesce, err error) {
	usecs := map[uint16]struct {
		field CoalesceField
		to    *int
	}{
		unix.ETHTOOL_A_COALESCE_RX_USECS: {RXUsecs, &c.RXUsecs}, unix.ETHTOOL_A_COALESCE_RX_MAX_FRAMES: {RXFrames, &c.RXFrames},
		unix.ETHTOOL_A_COALESCE_TX_USECS: {TXUsecs, &c.TXUsecs}, unix.ETHTOOL_A_COALESCE_TX_MAX_FRAMES: {TXFrames, &c.TXFrames},
	}
	err = decode(messages, func() {}, func(ad *netlink.AttributeDecoder) {
		switch n, ok := usecs[ad.Type()]; {
		case ok:
			c.Has |= n.field
			*n.to = int(ad.Uint32())
		case ad.Type() == unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX:
			c.Has |= AdaptiveRX
			c.AdaptiveRX = ad.Uint8() != 0
		case ad.Type() == unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_TX:
			c.Has |= AdaptiveTX
			c.AdaptiveTX = ad.Uint8() != 0
		}
	})
	return c, err
}

// putCoalesce adds the fields that are to change.
func putCoalesce(ae *netlink.AttributeEncoder, c Coalesce) {
	number := func(field CoalesceField, attr uint16, v int) {
		if c.Has&field != 0 {
			ae.Uint32(attr, uint32(v))
		}
	}
	flag := func(field CoalesceField, attr uint16, on bool) {
		if c.Has&field != 0 {
			ae.Uint8(attr, bit(on))
		}
	}
	number(RXUsecs, unix.ETHTOOL_A_COALESCE_RX_USECS, c.RXUsecs)
	number(RXFrames, unix.ETHTOOL_A_COALESCE_RX_MAX_FRAMES, c.RXFrames)
	number(TXUsecs, unix.ETHTOOL_A_COALESCE_TX_USECS, c.TXUsecs)
	number(TXFrames, unix.ETHTOOL_A_COALESCE_TX_MAX_FRAMES, c.TXFrames)
	flag(AdaptiveRX, unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX, c.AdaptiveRX)
	flag(AdaptiveTX, unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_TX, c.AdaptiveTX)
}

func bit(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

// offloads are the features that are told, of some sixty.
var offloads = []string{GRO, GSO, LRO, TSO}

// parseFeatures reads the answer, in which each set lists the names that are in it. One that can neither be changed nor is on
// does not exist for the driver.
func parseFeatures(messages []genetlink.Message) ([]Feature, error) {
	sets := map[uint16][]string{}
	err := decode(messages, func() {}, func(ad *netlink.AttributeDecoder) {
		attr := ad.Type()
		switch attr {
		case unix.ETHTOOL_A_FEATURES_HW, unix.ETHTOOL_A_FEATURES_ACTIVE, unix.ETHTOOL_A_FEATURES_NOCHANGE:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				sets[attr] = bitNames(ad)
				return nil
			})
		}
	})
	if err != nil {
		return nil, err
	}
	var features []Feature
	for _, name := range offloads {
		on := slices.Contains(sets[unix.ETHTOOL_A_FEATURES_ACTIVE], name)
		can := slices.Contains(sets[unix.ETHTOOL_A_FEATURES_HW], name)
		never := slices.Contains(sets[unix.ETHTOOL_A_FEATURES_NOCHANGE], name)
		if on || can {
			features = append(features, Feature{Name: name, On: on, Fixed: !can || never})
		}
	}
	return features, nil
}

// bitNames returns the names of a bitset in its long form.
func bitNames(ad *netlink.AttributeDecoder) (names []string) {
	for ad.Next() {
		if ad.Type() != unix.ETHTOOL_A_BITSET_BITS {
			continue
		}
		ad.Nested(func(bits *netlink.AttributeDecoder) error {
			for bits.Next() {
				bits.Nested(func(bit *netlink.AttributeDecoder) error {
					for bit.Next() {
						if bit.Type() == unix.ETHTOOL_A_BITSET_BIT_NAME {
							names = append(names, bit.String())
						}
					}
					return nil
				})
			}
			return nil
		})
	}
	return names
}

// putFeature adds one feature to a request; others stay.
func putFeature(ae *netlink.AttributeEncoder, name string, on bool) {
	ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(unix.ETHTOOL_A_BITSET_BITS, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(ae *netlink.AttributeEncoder) error {
				ae.String(unix.ETHTOOL_A_BITSET_BIT_NAME, name)
				ae.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, on)
				return nil
			})
			return nil
		})
		return nil
	})
}

func parseSpeed(messages []genetlink.Message) (speed uint32, err error) {
	err = decode(messages, func() {}, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == unix.ETHTOOL_A_LINKMODES_SPEED {
			speed = ad.Uint32()
		}
	})
	return speed, err
}
