// Command unstuck-demo breaks a node of a real RabbitMQ cluster on this machine and shows how Unstuck cures it. It is a
// command of its own so that nothing that breaks brokers is in the image.
package main

import (
	"os"

	"github.com/cjworkbench/unstuck/cli"
)

func main() {
	os.Exit(cli.Run(newCommand(), os.Args[1:], os.Stdout, os.Stderr))
}
