package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How often a gateway looks for what the keeper says, or tries to find it again.
const (
	keepingTick  = 250 * time.Millisecond
	quickTries   = 8               // ticks in which a keeper is looked for at each; later at each 8th
	keepingLimit = 2 * time.Second // for one message, either way
	takeLimit    = 10 * time.Second
)

// ErrKeeperBusy is what a second gateway is told.
var ErrKeeperBusy = errors.New("keeper: there is another gateway")

// Keeping is the gateway's side of a keeper. When the keeper ends, the gateway goes on, and what it has is deposited again with
// the next one.
type Keeping struct {
	// Static after construction.
	socket string
	log    *slog.Logger
	// fd is the connection. Its number stays the same for ever, also over a new connection (dup3) and for a successor:
	// reactors send on it without a lock.
	fd int

	up         atomic.Bool   // there is a keeper, as far as is known
	memory     atomic.Int64  // descriptor of the shared memory; -1: none
	generation atomic.Uint32 // raised when a new keeper must be told of everything
	broken     atomic.Bool   // a reactor could not send: Run makes a new connection

	full   atomic.Uint64 // what the keeper had no room for
	renews atomic.Uint64
}

// Welcome is what a keeper says to a gateway that comes.
type Welcome struct {
	Links   int     // descriptors that it keeps
	Crashes int     // gateways that died in the last minute
	Dropped int     // descriptors that it let go of since the last gateway came
	Why     Dropped // the last reason for that
	Memory  int     // a descriptor of the shared memory, this process's own; -1: there is none
}

// OpenKeeping connects to the keeper. A gateway that just died may still be on its way out: ErrKeeperBusy is worth another try.
func OpenKeeping(socket string, log *slog.Logger) (*Keeping, Welcome, error) {
	fd, w, err := dialKeeper(socket)
	if err != nil {
		return nil, Welcome{}, err
	}
	return newKeeping(socket, fd, w.Memory, true, log), w, nil
}

// ResumeKeeping goes on with a connection that a predecessor passed on (Descriptors), and a memory for a keeper that does not know it.
func ResumeKeeping(socket string, connection, memory int, log *slog.Logger) *Keeping {
	return newKeeping(socket, connection, memory, true, log)
}

// AwaitKeeping is for a keeper that is not there yet: Run finds it when it comes, gives it the memory, and has everything deposited.
func AwaitKeeping(socket string, memory int, log *slog.Logger) (*Keeping, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0) // the number for its connection
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", os.NewSyscallError("socket", err))
	}
	return newKeeping(socket, fd, memory, false, log), nil
}

func newKeeping(socket string, connection, memory int, up bool, log *slog.Logger) *Keeping {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeping{socket: socket, log: log, fd: connection}
	k.memory.Store(int64(memory))
	k.up.Store(up)
	return k
}

// Descriptors returns what a successor needs to go on: the connection and the shared memory.
func (k *Keeping) Descriptors() (connection, memory int) { return k.fd, int(k.memory.Load()) }

// Take returns everything that is kept; it stays kept. The descriptors are this process's own, and not closed on exec. It comes
// before Run, and before anything is deposited.
func (k *Keeping) Take(each func(key uint64, fd int)) error {
	if err := k.send(appendKeeperMessage(nil, keepTake, 0)); err != nil {
		return err
	}
	buf, oob := make([]byte, keeperMessage), make([]byte, unix.CmsgSpace(4*mostFiles))
	for end := time.Now().Add(takeLimit); ; {
		m, err := receiveKeeper(k.fd, buf, oob, time.Until(end), 0)
		if err != nil {
			return fmt.Errorf("keeper: take: %w", err)
		}
		switch {
		case m.kind == keepTaken:
			closeFiles(m.fds)
			return nil
		case m.kind != keepLinks:
			closeFiles(m.fds)
			continue
		case len(m.fds) < m.len():
			closeFiles(m.fds)
			return errors.New("keeper: take: no room for the descriptors of all links (LimitNOFILE)")
		}
		for i, fd := range m.fds {
			if i < m.len() {
				each(m.key(i), fd)
			} else {
				closeFile(fd)
			}
		}
	}
}

// Share gives the keeper a memory to keep for the next gateway, in place of the present one. With anew everything that is
// deposited is dropped first. If that fails Run gives it to the next keeper, which is told of everything anew.
func (k *Keeping) Share(memory int, anew bool) error {
	arg := uint32(1)
	if anew {
		arg = 0
	}
	k.memory.Store(int64(memory))
	err := k.send(appendKeeperMessage(nil, keepMemory, arg), memory)
	if err != nil {
		k.broken.Store(true)
	}
	return err
}

// Leave says that the end of this gateway is none by accident, and whether the next one should find the links.
func (k *Keeping) Leave(keep bool) error {
	arg := uint32(0)
	if keep {
		arg = 1
	}
	return k.send(appendKeeperMessage(nil, keepLeave, arg))
}

// Close ends the connection. Run must have ended, and no reactor use a Deposit any more.
func (k *Keeping) Close() { closeFile(k.fd) }

// Run watches over the connection until ctx ends. It must not run while a successor takes the connection over.
func (k *Keeping) Run(ctx context.Context) {
	tick := time.NewTicker(keepingTick)
	defer tick.Stop()
	buf, oob := make([]byte, keeperMessage), make([]byte, unix.CmsgSpace(4*mostFiles))
	for tries := 0; ; {
		if k.up.Load() {
			if err := k.listen(buf, oob); err != nil {
				k.up.Store(false)
				k.log.Warn("the keeper is gone: a crash would cost the links", "error", err)
			}
		}
		if tries++; k.up.Load() {
			tries = 0
		} else if (tries < quickTries || tries%quickTries == 0) && k.renew() == nil {
			k.up.Store(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listen takes in what the keeper said; an error means that the connection is of no more use.
func (k *Keeping) listen(buf, oob []byte) error {
	for {
		if k.broken.Load() {
			return errors.New("it does not take what it is sent")
		}
		m, err := receiveKeeper(k.fd, buf, oob, 0, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		closeFiles(m.fds)
		if m.kind == keepFull {
			k.full.Add(uint64(m.len()))
		}
	}
}

// renew finds a keeper that knows nothing of this gateway's links, or makes it forget them, and has everything deposited again.
func (k *Keeping) renew() error {
	_ = unix.Shutdown(k.fd, unix.SHUT_RDWR) // a keeper that only hung does not take us for a second gateway
	fd, w, err := dialKeeper(k.socket)
	if err != nil {
		return err
	}
	defer closeFile(fd)
	if w.Memory >= 0 {
		closeFile(w.Memory)
	}
	b := appendKeeperMessage(nil, keepMemory, 0)
	if m := int(k.memory.Load()); m >= 0 {
		if err := sendKeeper(fd, b, m); err != nil {
			return err
		}
	}
	if err := unix.Dup3(fd, k.fd, unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("dup3", err)
	}
	k.broken.Store(false)
	k.generation.Add(1)
	k.renews.Add(1)
	k.log.Info("the keeper is there")
	return nil
}

// KeepingStats counts what the gateway's side did.
type KeepingStats struct {
	Up     bool   // there is a keeper
	Full   uint64 // links that the keeper had no room for
	Renews uint64 // keepers found again
}

// Stats may be called at any time.
func (k *Keeping) Stats() KeepingStats {
	return KeepingStats{k.up.Load(), k.full.Load(), k.renews.Load()}
}

func (k *Keeping) send(b []byte, fds ...int) error { return sendKeeper(k.fd, b, fds...) }

func sendKeeper(fd int, b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, b, oob, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("keeper: %w", os.NewSyscallError("sendmsg", err))
			}
			return nil
		}
	}
}

// receiveKeeper returns the next message; with no limit the one that is there already, or EAGAIN.
func receiveKeeper(fd int, buf, oob []byte, limit time.Duration, flags int) (keeperMsg, error) {
	if limit > 0 && !readable(fd, time.Now().Add(limit)) {
		return keeperMsg{}, os.ErrDeadlineExceeded
	}
	n, oobn, got, _, err := unix.Recvmsg(fd, buf, oob, flags|unix.MSG_DONTWAIT)
	for errors.Is(err, unix.EINTR) {
		n, oobn, got, _, err = unix.Recvmsg(fd, buf, oob, flags|unix.MSG_DONTWAIT)
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return keeperMsg{}, err
	}
	fds := receivedFiles(nil, oob[:oobn])
	m, err := parseKeeperMessage(buf[:n])
	if err == nil && got&unix.MSG_TRUNC != 0 {
		err = errors.New("a message that is cut off")
	}
	if err != nil {
		closeFiles(fds)
		return keeperMsg{}, err
	}
	m.fds = fds
	return m, nil
}

// readable waits until there is something to read, or an error, at most until end. The runtime preempts by a signal, which ends a
// poll early whatever its handler says (signal(7)).
func readable(fd int, end time.Time) bool {
	for {
		left := max(time.Until(end), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		switch {
		case !errors.Is(err, unix.EINTR):
			return n != 0 // what is wrong with fd the next call says
		case left == 0:
			return false
		}
	}
}

// dialKeeper connects and says hello.
func dialKeeper(socket string) (fd int, w Welcome, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, w, fmt.Errorf("keeper: %w", os.NewSyscallError("socket", err))
	}
	// What is sent blocks while the keeper is busy, but for a reactor, which asks not to.
	limit := unix.NsecToTimeval(int64(keepingLimit))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	for err = unix.EINTR; errors.Is(err, unix.EINTR); { // where the keeper's queue is full it waits, and has done nothing yet
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	}
	if err != nil {
		err = fmt.Errorf("keeper: connect to %s: %w", socket, err)
	}
	if err == nil {
		err = ownedByUser(fd, socket)
	}
	if err == nil {
		w, err = sayHello(fd)
	}
	if err != nil {
		closeFile(fd)
		return -1, Welcome{}, err
	}
	return fd, w, nil
}

// ownedByUser makes sure that who gets every link is this user's.
func ownedByUser(fd int, socket string) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("keeper: %s is of user %d", socket, cred.Uid)
	}
	return nil
}

func sayHello(fd int) (w Welcome, err error) {
	if err := sendKeeper(fd, appendKeeperMessage(nil, keepHello, 0)); err != nil {
		return w, err
	}
	m, err := receiveKeeper(fd, make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4)), keepingLimit, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return w, fmt.Errorf("keeper: no welcome: %w", err)
	}
	if m.kind != keepWelcome || m.len() < 4 {
		closeFiles(m.fds)
		if m.kind == keepBusy {
			return w, ErrKeeperBusy
		}
		return w, fmt.Errorf("keeper: message %d instead of a welcome", m.kind)
	}
	w = Welcome{Links: int(m.key(0)), Crashes: int(m.key(1)), Dropped: int(m.key(2)), Why: Dropped(m.key(3)), Memory: -1}
	if len(m.fds) > 0 {
		w.Memory = m.fds[0]
		closeFiles(m.fds[1:])
	}
	return w, nil
}
