// Command cluster starts and stops a real Kubernetes cluster with a real RabbitMQ on this machine; see package cluster.
//
//	cluster up      start it, with a broker, and say how to use it; what was there before is removed
//	cluster make    make what it consists of, and start nothing
//	cluster down    remove every trace of it, and of what a killed test left
//	cluster status  say whether it runs, and how to use it
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// brokerTimeout bounds the start of a broker: five times what three nodes need on two busy cores.
const brokerTimeout = 3 * time.Minute

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	dir := flags.String("dir", "", "the cluster's directory (default .cache/cluster at the project's root)")
	version := flags.String("rabbitmq", "4.0", "the broker's version: 3.10 or 4.0; \"\" for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := artifact.FindRoot()
	if err != nil {
		return err
	}
	if *dir == "" {
		*dir = filepath.Join(root, ".cache", "cluster")
	} else if *dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "up":
		return up(ctx, cluster.Options{Root: root, Dir: *dir, Progress: os.Stdout}, *version)
	case "make":
		return cluster.Make(ctx, cluster.Options{Root: root, Progress: os.Stdout})
	case "down":
		return errors.Join(cluster.Remove(*dir), removeLeft(cluster.TestDir(root)))
	case "status":
		c, err := cluster.Open(*dir)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("no cluster runs: `make cluster` starts one")
		}
		if err != nil {
			return err
		}
		return explain(ctx, c)
	}
	return errors.New("usage: cluster [-dir DIR] [-rabbitmq VERSION] up | make | down | status")
}

// removeLeft removes what a killed test left. The cluster itself ended with the test; one that runs belongs to a test
// that does.
func removeLeft(dir string) error {
	if _, err := cluster.Open(dir); !errors.Is(err, fs.ErrNotExist) {
		fmt.Printf("%s stays: a test uses it\n", dir)
		return nil
	}
	return cluster.Remove(dir)
}

func up(ctx context.Context, o cluster.Options, version string) error {
	began := time.Now()
	o.RabbitMQ = []string{}
	if version != "" {
		o.RabbitMQ = []string{version}
	}
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return err
	}
	if version != "" {
		err := startBroker(ctx, c, version)
		if err == nil {
			err = install(ctx, c, &artifact.Maker{Root: o.Root, Progress: o.Progress})
		}
		if err != nil {
			return errors.Join(err, fmt.Errorf("the cluster still runs, for you to look at; its logs are in %s/log", o.Dir))
		}
	}
	fmt.Printf("The cluster runs, after %v.\n", time.Since(began).Round(100*time.Millisecond))
	return explain(ctx, c)
}

func startBroker(ctx context.Context, c *cluster.Cluster, version string) error {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	fmt.Printf("start RabbitMQ %s, three nodes ...\n", version)
	began := time.Now()
	if _, err := c.StartBroker(ctx, cluster.BrokerOptions{Version: version}); err != nil {
		return err
	}
	fmt.Printf("start RabbitMQ %s: done in %v\n", version, time.Since(began).Round(100*time.Millisecond))
	return nil
}

//go:embed values.yaml
var values string

// install installs Unstuck by its chart, to watch the broker.
func install(ctx context.Context, c *cluster.Cluster, maker *artifact.Maker) error {
	u, err := c.PrepareUnstuck(ctx, maker)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	fmt.Println("install Unstuck ...")
	began := time.Now()
	if err := u.Install(ctx, values); err != nil {
		return err
	}
	fmt.Printf("install Unstuck: done in %v\n", time.Since(began).Round(100*time.Millisecond))
	for _, port := range []string{"api", "metrics"} {
		if err := u.Forward(ctx, port); err != nil {
			return err
		}
	}
	return nil
}

// explain says how to use the cluster.
func explain(ctx context.Context, c *cluster.Cluster) error {
	if err := c.WaitAPI(ctx); err != nil {
		return err
	}
	fmt.Printf(`
  export KUBECONFIG=%s
  %s get pods --all-namespaces
  API server: %s
`, c.Kubeconfig(), c.Kubectl(), c.Config.Host)
	for what, path := range map[string]string{"api": "/api/v1/brokers?pretty", "metrics": "/metrics"} {
		if at, err := c.Forwarded(what); err == nil {
			fmt.Printf("  Unstuck's %s: http://%s%s\n", what, at, path)
		}
	}
	return nil
}
