// Command unstuck finds RabbitMQ nodes that look alive but accept no logins, proves it, and has them started afresh.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	crashBySignal()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// crashBySignal has Go end the process by SIGABRT, and not by its exit code 2, if it ever crashes: of `unstuck probe`
// that code means stuck, and who trusts it might restart a node that is healthy. No core is left behind, for passwords
// may be in it.
func crashBySignal() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // to lower it is always allowed
	debug.SetTraceback("crash")
}

// run runs the command line until it is done or interrupted, and gives the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, newRootCommand(), args, stdout, stderr)
}
