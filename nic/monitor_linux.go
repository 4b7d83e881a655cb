package nic

import (
	"github.com/mdlayher/genetlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// subscribeQueues begins a subscription to changes of interfaces and of what ethtool sets, as subscribe does. Where ethtool
// tells nothing, interfaces alone are followed.
func subscribeQueues(done <-chan struct{}) (subscription, error) {
	linksDone := make(chan struct{})
	links, err := subscribe(linksDone)
	if err != nil {
		return nil, err
	}
	m := &merger{links: links, linksDone: linksDone, news: make(chan struct{}, 1), out: make(chan netlink.LinkUpdate)}
	if conn, err := dialMonitor(); err == nil {
		m.monitor = conn
		go m.listen()
	}
	go m.run(done)
	return m.out, nil
}

// dialMonitor joins the group to which the family ethtool tells what was set.
func dialMonitor() (*genetlink.Conn, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if err == nil {
		err = unix.ENOENT
		for _, group := range family.Groups {
			if group.Name == unix.ETHTOOL_MCGRP_MONITOR_NAME {
				err = conn.JoinGroup(group.ID)
			}
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// merger makes one stream of two. It ends, with all that it started, when done is closed or one of the two breaks.
type merger struct {
	links     subscription
	linksDone chan struct{}
	monitor   *genetlink.Conn // nil: there is none
	news      chan struct{}   // from the monitor; closed when that has ended
	out       chan netlink.LinkUpdate
}

// listen turns messages into news; which setting of which interface has changed does not count.
func (m *merger) listen() {
	defer close(m.news)
	for {
		if _, _, err := m.monitor.Receive(); err != nil {
			return // closed, or ENOBUFS: some were lost
		}
		select {
		case m.news <- struct{}{}:
		default:
		}
	}
}

func (m *merger) run(done <-chan struct{}) {
	defer close(m.out)
	defer m.end()
	for {
		var update netlink.LinkUpdate
		var ok bool
		select {
		case <-done:
			return
		case update, ok = <-m.links:
		case _, ok = <-m.news:
		}
		if !ok {
			return
		}
		select {
		case <-done:
			return
		case m.out <- update:
		}
	}
}

// end waits for both streams.
func (m *merger) end() {
	close(m.linksDone)
	for range m.links { // its sender must not be left blocked
	}
	if m.monitor != nil {
		_ = m.monitor.Close()
		for range m.news {
		}
	}
}
