package probe

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged says whether bytes that we sent have not been acknowledged by the other side, and whether bytes that we
// received lie unread. A kernel acknowledges for a process that is frozen or wedged, so the first tells a broken network
// or host from a broken broker; the second is our own doing.
// Source: tcp(7), TCP_INFO and SIOCINQ. False where it cannot tell.
func unacknowledged(conn net.Conn) (sent, received bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false, false
	}
	_ = rc.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		sent = err == nil && info.Unacked > 0
		unread, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		received = err == nil && unread > 0
	})
	return sent, received
}
