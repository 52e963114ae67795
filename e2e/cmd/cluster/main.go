// Command cluster starts and stops a real Kubernetes cluster with a real RabbitMQ on this machine, for people to try
// Unstuck on; see package cluster. `cluster -h` lists what it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // who asks twice does not want to wait for any clean-up
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// where says what is worked on.
type where struct {
	root, dir string    // the project's, and the cluster's: absolute paths
	version   string    // of RabbitMQ; "": none is started
	out       io.Writer // for people
}

func (w where) options() cluster.Options {
	o := cluster.Options{Root: w.root, Dir: w.dir, Progress: w.out, RabbitMQ: []string{}}
	if w.version != "" {
		o.RabbitMQ = []string{w.version}
	}
	return o
}

// command is a thing to do with a cluster.
type command struct {
	name, argument, help string
	do                   func(ctx context.Context, argument string) error
}

func (w where) commands() []command {
	return []command{
		{
			"up", "",
			"start it, with a broker, an application and Unstuck, and say how to use it; one that runs is removed first", w.up,
		},
		{
			"wedge", "[POD]", "have every login to a node of the broker hang, as in the incident (default: the second node)",
			w.wedge,
		},
		{"status", "", "say whether it runs, and how to use it", w.status},
		{"down", "", "remove every trace of it, and of what a killed test left", w.down},
		{"make", "", "make what it consists of, and start nothing", func(ctx context.Context, _ string) error {
			return cluster.Make(ctx, cluster.Options{Root: w.root, Progress: w.out}) // for every version of RabbitMQ
		}},
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	w := where{out: out}
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // of its own complaints, which are returned as well
	flags.StringVar(&w.dir, "dir", "", "the cluster's `directory` (default .cache/cluster at the project's root)")
	flags.StringVar(&w.version, "rabbitmq", "4.0", "the broker's `version`: 3.10 or 4.0; \"\" for Kubernetes alone")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) || err == nil && asksForHelp(flags.Args()) {
		usage(out, flags)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: -h says what there is", err)
	}
	if err := w.find(); err != nil {
		return err
	}
	for _, c := range w.commands() {
		if c.name != flags.Arg(0) {
			continue
		}
		if most := 1 + min(1, len(c.argument)); flags.NArg() > most {
			return fmt.Errorf("%s: what is %q for? -h says what there is", c.name, flags.Arg(most))
		}
		return c.do(ctx, flags.Arg(1))
	}
	if flags.NArg() == 0 {
		return errors.New("do what? -h says what there is")
	}
	return fmt.Errorf("there is no command %q: -h says what there is", flags.Arg(0))
}

func asksForHelp(args []string) bool {
	for _, a := range args {
		if a == "help" || a == "-h" || a == "-help" || a == "--help" {
			return true
		}
	}
	return false
}

func usage(out io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(out, "A real Kubernetes cluster with a real RabbitMQ on this machine. It takes root.\n\n"+
		"usage: cluster [FLAG]... COMMAND\n\nCommands:\n")
	for _, c := range (where{}).commands() {
		fmt.Fprintf(out, "  %-12s %s\n", c.name+" "+c.argument, c.help)
	}
	fmt.Fprint(out, "\nFlags, before the command:\n")
	flags.SetOutput(out)
	flags.PrintDefaults()
}

// find finds the directories.
func (w *where) find() (err error) {
	if w.root, err = artifact.FindRoot(); err != nil {
		return err
	}
	if w.dir == "" {
		w.dir = filepath.Join(w.root, ".cache", "cluster")
		return nil
	}
	w.dir, err = filepath.Abs(w.dir)
	return err
}

// open gives the cluster that runs.
func (w where) open() (*cluster.Cluster, error) {
	c, err := cluster.Open(w.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no cluster runs: `make cluster` starts one")
	}
	return c, err
}

func (w where) status(ctx context.Context, _ string) error {
	c, err := w.open()
	if err != nil {
		return err
	}
	if err := c.WaitAPI(ctx); err != nil {
		return err
	}
	return w.explain(c)
}

func (w where) down(context.Context, string) error {
	return errors.Join(cluster.Remove(w.dir), w.removeLeft())
}

// removeLeft removes what a killed test left. The cluster itself ended with the test; one that runs belongs to a test
// that does.
func (w where) removeLeft() error {
	dir := cluster.TestDir(w.root)
	if _, err := cluster.Open(dir); !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(w.out, "%s stays: a test uses it\n", dir)
		return nil
	}
	return cluster.Remove(dir)
}
