package nic

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answerWait bounds the wait for one Driver's call. The kernel answers while it takes the request, but may wait for the rtnl
// lock there, and no deadline ends that.
const answerWait = 5 * time.Second

// generic is a socket of generic netlink with the two families that tell of queues.
type generic struct {
	conn            *genetlink.Conn
	netdev, ethtool genetlink.Family
	netdevErr       error // why there is no such family, nil where there is
	ethtoolErr      error
}

// dialGeneric opens one in the network namespace of the calling thread.
func dialGeneric(ctx context.Context) (*generic, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(answerWait)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetDeadline(deadline); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true) // older than 4.12: errors come without words
	g := &generic{conn: conn}
	g.netdev, g.netdevErr = conn.GetFamily(netdevFamily)
	g.ethtool, g.ethtoolErr = conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	return g, nil
}

func (g *generic) Close() error { return g.conn.Close() }

// dump asks the family netdev for a list.
func (g *generic) dump(command uint8, attributes []byte) ([]genetlink.Message, error) {
	if g.netdevErr != nil {
		return nil, g.netdevErr
	}
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: g.netdev.Version}, Data: attributes}
	return g.conn.Execute(m, g.netdev.ID, netlink.Request|netlink.Dump)
}

// get asks the family ethtool.
func (g *generic) get(command uint8, attributes []byte) ([]genetlink.Message, error) {
	return g.call(command, attributes, netlink.Request)
}

// set has the family ethtool change something.
func (g *generic) set(command uint8, attributes []byte) error {
	_, err := g.call(command, attributes, netlink.Request|netlink.Acknowledge)
	return err
}

func (g *generic) call(command uint8, attributes []byte, flags netlink.HeaderFlags) ([]genetlink.Message, error) {
	if g.ethtoolErr != nil {
		return nil, g.ethtoolErr
	}
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: g.ethtool.Version}, Data: attributes}
	return g.conn.Execute(m, g.ethtool.ID, flags)
}

// errnoOf returns what the kernel said.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, os.ErrNotExist): // no such family
		return unix.ENOENT
	case errors.Is(err, os.ErrDeadlineExceeded):
		return unix.ETIMEDOUT
	case errors.Is(err, io.ErrUnexpectedEOF):
		return unix.EBADMSG
	}
	return unix.EIO
}

// detailOf returns the kernel's own words, mostly none.
func detailOf(err error) string {
	var op *netlink.OpError
	if errors.As(err, &op) {
		return op.Message
	}
	return ""
}
