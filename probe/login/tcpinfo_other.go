//go:build !linux

package login

import "net"

// unacknowledged cannot tell here.
func unacknowledged(net.Conn) (sent, received bool) { return false, false }
