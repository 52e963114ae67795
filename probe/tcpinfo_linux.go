package probe

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged says whether bytes that we sent have not been acknowledged by the other side. A kernel acknowledges
// for a process that is frozen or wedged, so this tells a broken network or host from a broken broker.
// Source: tcp(7), TCP_INFO. False where it cannot tell.
func unacknowledged(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	pending := false
	_ = rc.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		pending = err == nil && info.Unacked > 0
	})
	return pending
}
