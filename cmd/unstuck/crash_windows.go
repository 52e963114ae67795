package main

import "runtime/debug"

// crashBySignal has Go end the process by an exception, and not by its exit code 2, if it ever crashes: of `unstuck
// probe` that code means stuck, and who trusts it might restart a node that is healthy.
func crashBySignal() { debug.SetTraceback("crash") }
