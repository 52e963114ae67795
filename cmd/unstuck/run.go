package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/target"
)

// newRunCommand gives the command that runs the daemon.
func newRunCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon: log in to every node of every broker of the configuration, decide, explain, serve metrics and the API.

Nodes that are pods of Kubernetes can be deleted when they are stuck, where the configuration says so; what must survive
is kept in the cluster then. Nodes that the configuration names by address can only be watched. In the environments of
the configuration it deploys, reverts, restarts and runs tasks for whoever asks for it over the API and may. The daemon
ends on SIGTERM or Ctrl-C.`,
		Example: "  unstuck run --config unstuck.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("want no arguments: the configuration goes with --config FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usageError("want --config FILE: see %q", cmd.CommandPath()+" --help")
			}
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			return runDaemon(cmd.Context(), c, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the configuration `file`")
	return cmd
}

// runDaemon does all that can fail before it begins to watch.
func runDaemon(ctx context.Context, c *config.Config, stderr io.Writer) error {
	log := newLogger(c.Log, stderr)
	if c.InCluster() {
		return runInCluster(ctx, c, log)
	}
	dir, err := remediate.NewDir(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	unlock, err := lockDir(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	defer unlock()
	d := newDaemon(remediate.NewStore(dir), log)
	for _, b := range c.Brokers {
		if err := d.watch(b, supplier{World: fixedNodes{nodes: b.Nodes, isLeader: alone}, credentials: b.Credentials}); err != nil {
			return err
		}
	}
	d.serveManual(dir)
	d.watchFiles(c)
	if err := d.openAPI(c, nil); err != nil {
		return err
	}
	l, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	d.tellAccess(c, l.api.Addr())
	log.Info("watching", "brokers", len(c.Brokers), "metrics", l.metrics.Addr().String(), "api", l.api.Addr().String(),
		"data_dir", c.DataDir, "version", currentVersion().Version)
	err = d.run(ctx, l)
	log.Info("stopped")
	return err
}

// lockDir makes sure that no other daemon keeps its deletions in the directory: two would not know of each other's. The
// lock ends with the process, however that ends.
func lockDir(path string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock it: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another daemon uses %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func newLogger(l config.Log, out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// listeners are where the daemon is reached.
type listeners struct{ metrics, api net.Listener }

func listen(ctx context.Context, l config.Listen) (listeners, error) {
	var lc net.ListenConfig
	metrics, err := lc.Listen(ctx, "tcp", l.Metrics)
	if err != nil {
		return listeners{}, fmt.Errorf("listen for metrics: %w", err)
	}
	api, err := lc.Listen(ctx, "tcp", l.API)
	if err != nil {
		return listeners{}, errors.Join(fmt.Errorf("listen for the API: %w", err), metrics.Close())
	}
	return listeners{metrics: metrics, api: api}, nil
}

// fixedNodes are nodes of which only the addresses are known. Whatever else a guard asks of them, nobody can tell, and
// nobody can delete them.
type fixedNodes struct {
	nodes    []target.Node
	isLeader func() (target.Answer, time.Time)
}

// alone is what a daemon says of its leadership that has locked its data_dir: there is no other.
func alone() (target.Answer, time.Time) { return target.Yes, time.Time{} }

// View gives the nodes, each with its name for a UID.
func (f fixedNodes) View(_ context.Context, broker string) (target.View, error) {
	v := target.View{At: time.Now(), Expected: len(f.nodes)}
	v.IsLeader, v.LeaderSince = f.isLeader()
	for _, n := range f.nodes {
		n.Target, n.UID = broker, n.Name
		v.Nodes = append(v.Nodes, n)
	}
	return v, nil
}

// Delete refuses.
func (fixedNodes) Delete(_ context.Context, n target.Node, _ time.Duration) error {
	return fmt.Errorf("delete %s: it is known by its address alone, nothing here could delete it", n.Name)
}
