//go:build unix

package main

import (
	"runtime/debug"
	"syscall"
)

// crashBySignal has Go end the process by SIGABRT, and not by its exit code 2, if it ever crashes: of `unstuck probe`
// that code means stuck, and who trusts it might restart a node that is healthy. No core is left behind, for passwords
// may be in it.
func crashBySignal() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // to lower it is always allowed
	debug.SetTraceback("crash")
}
