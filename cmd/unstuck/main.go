// Command unstuck finds RabbitMQ nodes that look alive but accept no logins, proves it, and has them started afresh.
package main

import (
	"os"
	_ "time/tzdata" // the image has no time zones

	"github.com/cjworkbench/unstuck/cli"
)

func main() {
	crashBySignal()
	root := newRootCommand()
	os.Exit(cli.Run(root, cli.AsCalled(root, os.Args), os.Stdout, os.Stderr))
}
