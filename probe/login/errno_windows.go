package login

import "golang.org/x/sys/windows"

// What the system says of a connection. The numbers of Winsock are not those of package syscall's POSIX names.
const (
	errRefused   = windows.WSAECONNREFUSED
	errReset     = windows.WSAECONNRESET
	errAborted   = windows.WSAECONNABORTED
	errNoHost    = windows.WSAEHOSTUNREACH
	errNoNetwork = windows.WSAENETUNREACH
	errHostDown  = windows.WSAEHOSTDOWN
)
