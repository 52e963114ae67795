// Command unstuck finds RabbitMQ nodes that look alive but accept no logins, proves it, and has them started afresh.
package main

import (
	"os"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // the image has no time zones

	"github.com/cjworkbench/unstuck/cli"
)

func main() {
	crashBySignal()
	root := newRootCommand()
	os.Exit(cli.Run(root, cli.AsCalled(root, os.Args), os.Stdout, os.Stderr))
}

// crashBySignal has Go end the process by SIGABRT, and not by its exit code 2, if it ever crashes: of `unstuck probe`
// that code means stuck, and who trusts it might restart a node that is healthy. No core is left behind, for passwords
// may be in it.
func crashBySignal() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // to lower it is always allowed
	debug.SetTraceback("crash")
}
