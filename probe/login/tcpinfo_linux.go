package login

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged says whether bytes that we sent are lost (see lost), and whether bytes that we received are
// unread. A kernel acknowledges also for a frozen or wedged process, so the first tells a broken network or host
// from a broken broker; the second is our own doing. Source: tcp(7), TCP_INFO and SIOCINQ. False if it cannot tell.
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

// lost says that something we sent has not been acknowledged for longer than an acknowledgement takes. What we sent
// a moment ago, for example a heartbeat of the library just before our deadline, is unacknowledged too: a kernel
// may wait 40 ms, and up to 200 ms, for an answer to send along. Our own kernel sends again after that (at least
// 200 ms).
func lost(info *unix.TCPInfo) bool {
	const longest = 1000 // ms
	return info.Unacked > 0 && (info.Retransmits > 0 || info.Last_data_sent > longest)
}
