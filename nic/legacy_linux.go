package nic

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What Linux before 5.6, and a process that may not use netlink, asks by ioctl: rows of 32-bit numbers that begin with the
// command (uapi/linux/ethtool.h). Each is named by its place in the row.
const (
	channelsSize     = 9 // struct ethtool_channels
	channelsMax      = 1 // rx, tx, other, combined
	channelsNow      = 5 // likewise
	ringsSize        = 9 // struct ethtool_ringparam
	ringsRXMax       = 1
	ringsTXMax       = 4
	ringsRX          = 5
	ringsTX          = 8
	coalesceSize     = 23 // struct ethtool_coalesce
	coalesceRXUsecs  = 1
	coalesceRXFrames = 2
	coalesceTXUsecs  = 5
	coalesceTXFrames = 6
	coalesceAdaptRX  = 10
	coalesceAdaptTX  = 11
)

// row makes a call whose answer is a row.
func (c control) row(name string, command uint32, size int) ([]uint32, error) {
	row := make([]uint32, size)
	row[0] = command
	err := c.ethtool(name, unsafe.Pointer(&row[0]))
	return row, err
}

// setRow sends a row back, changed.
func (c control) setRow(name string, command uint32, row []uint32) error {
	row[0] = command
	return c.ethtool(name, unsafe.Pointer(&row[0]))
}

func (c control) channels(name string) (Channels, error) {
	row, err := c.row(name, unix.ETHTOOL_GCHANNELS, channelsSize)
	if err != nil {
		return Channels{}, err
	}
	counts := func(at int) Counts {
		return Counts{RX: int(row[at]), TX: int(row[at+1]), Other: int(row[at+2]), Combined: int(row[at+3])}
	}
	return Channels{Now: counts(channelsNow), Max: counts(channelsMax)}, nil
}

func (c control) setChannels(name string, want Counts) error {
	row, err := c.row(name, unix.ETHTOOL_GCHANNELS, channelsSize)
	if err != nil {
		return err
	}
	for i, n := range []int{want.RX, want.TX, want.Other, want.Combined} {
		row[channelsNow+i] = uint32(n)
	}
	return c.setRow(name, unix.ETHTOOL_SCHANNELS, row)
}

func (c control) rings(name string) (Rings, error) {
	row, err := c.row(name, unix.ETHTOOL_GRINGPARAM, ringsSize)
	if err != nil {
		return Rings{}, err
	}
	return Rings{RX: int(row[ringsRX]), TX: int(row[ringsTX]), RXMax: int(row[ringsRXMax]), TXMax: int(row[ringsTXMax])}, nil
}

func (c control) setRings(name string, rx, tx int) error {
	row, err := c.row(name, unix.ETHTOOL_GRINGPARAM, ringsSize)
	if err != nil {
		return err
	}
	if rx > 0 {
		row[ringsRX] = uint32(rx)
	}
	if tx > 0 {
		row[ringsTX] = uint32(tx)
	}
	return c.setRow(name, unix.ETHTOOL_SRINGPARAM, row)
}

// coalesce cannot tell what the driver supports: what it does not is 0 and stays 0.
func (c control) coalesce(name string) (Coalesce, error) {
	row, err := c.row(name, unix.ETHTOOL_GCOALESCE, coalesceSize)
	if err != nil {
		return Coalesce{}, err
	}
	return Coalesce{
		Has:     RXUsecs | RXFrames | TXUsecs | TXFrames | AdaptiveRX | AdaptiveTX,
		RXUsecs: int(row[coalesceRXUsecs]), RXFrames: int(row[coalesceRXFrames]),
		TXUsecs: int(row[coalesceTXUsecs]), TXFrames: int(row[coalesceTXFrames]),
		AdaptiveRX: row[coalesceAdaptRX] != 0, AdaptiveTX: row[coalesceAdaptTX] != 0,
	}, nil
}

func (c control) setCoalesce(name string, want Coalesce) error {
	row, err := c.row(name, unix.ETHTOOL_GCOALESCE, coalesceSize)
	if err != nil {
		return err
	}
	put := func(field CoalesceField, at, v int) {
		if want.Has&field != 0 {
			row[at] = uint32(v)
		}
	}
	put(RXUsecs, coalesceRXUsecs, want.RXUsecs)
	put(RXFrames, coalesceRXFrames, want.RXFrames)
	put(TXUsecs, coalesceTXUsecs, want.TXUsecs)
	put(TXFrames, coalesceTXFrames, want.TXFrames)
	put(AdaptiveRX, coalesceAdaptRX, int(bit(want.AdaptiveRX)))
	put(AdaptiveTX, coalesceAdaptTX, int(bit(want.AdaptiveTX)))
	return c.setRow(name, unix.ETHTOOL_SCOALESCE, row)
}
