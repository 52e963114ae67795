package probe

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged says whether bytes that we sent are lost, see lost, and whether bytes that we received lie unread. A kernel acknowledges for a process that is frozen or wedged, so the first tells a broken network
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
		sent = err == nil && lost(info)
		unread, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		received = err == nil && unread > 0
	})
	return sent, received
}

// lost says that something we sent has not been acknowledged for longer than that takes. What was sent a moment ago, a
// heartbeat of the library's just before our deadline say, is unacknowledged too: a kernel may wait 40 ms, and up to
// 200, in case there is an answer to send along. Our own sends again after that (200 ms at least).
func lost(info *unix.TCPInfo) bool {
	const longest = 1000 // ms
	return info.Unacked > 0 && (info.Retransmits > 0 || info.Last_data_sent > longest)
}
