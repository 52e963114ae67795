//go:build unix

package login

import "syscall"

// What the system says of a connection, by the names of connect(2) and write(2).
const (
	errRefused   = syscall.ECONNREFUSED
	errReset     = syscall.ECONNRESET
	errAborted   = syscall.EPIPE
	errNoHost    = syscall.EHOSTUNREACH
	errNoNetwork = syscall.ENETUNREACH
	errHostDown  = syscall.EHOSTDOWN
)
