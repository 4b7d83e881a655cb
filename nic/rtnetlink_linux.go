package nic

import (
	"errors"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rtnetlink is the Kernel of the calling thread's network namespace.
type rtnetlink struct{}

// Links implements Kernel. A list that changed while it was read is read again.
func (rtnetlink) Links() ([]Link, error) {
	var (
		found []netlink.Link
		err   error
	)
	for range 5 {
		found, err = netlink.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	links := make([]Link, 0, len(found))
	for _, l := range found {
		links = append(links, describe(l))
	}
	return links, nil
}

func describe(found netlink.Link) Link {
	a := found.Attrs()
	l := Link{
		Index:    a.Index,
		Name:     a.Name,
		AltNames: a.AltNames,
		Kind:     found.Type(),
		Address:  a.HardwareAddr.String(),
		Perm:     a.PermHWAddr.String(),
		MTU:      a.MTU,
		Master:   a.MasterIndex,
		Up:       a.RawFlags&unix.IFF_UP != 0 && (a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown),
		Loopback: a.Flags&net.FlagLoopback != 0,
		Device:   a.ParentDev != "", // told by Linux 5.14 and later
	}
	if a.NetNsID == -1 && a.ParentIndex != a.Index { // else the index is of another namespace
		l.Lower = a.ParentIndex
	}
	if bond, ok := found.(*netlink.Bond); ok {
		l.Backup = bond.Mode == netlink.BOND_MODE_ACTIVE_BACKUP
	}
	return l
}

// DefaultRoutes implements Kernel.
func (rtnetlink) DefaultRoutes() ([]int, error) {
	var indexes []int
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		for _, index := range best(routes) {
			if !slices.Contains(indexes, index) {
				indexes = append(indexes, index)
			}
		}
	}
	return indexes, nil
}

// best returns the interfaces of the unicast route of the lowest metric.
func best(routes []netlink.Route) []int {
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return r.Type != unix.RTN_UNICAST })
	if len(routes) == 0 {
		return nil
	}
	least := slices.MinFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority }).Priority
	var indexes []int
	for _, r := range routes {
		if r.Priority != least {
			continue
		}
		if r.LinkIndex != 0 {
			indexes = append(indexes, r.LinkIndex)
		}
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
	}
	return indexes
}
