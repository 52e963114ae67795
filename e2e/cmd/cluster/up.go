package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// stepTimeout bounds each part of the start: several times what it needs on two busy cores.
const stepTimeout = 3 * time.Minute

func (w where) up(ctx context.Context, _ string) error {
	if _, err := cluster.Open(w.dir); err == nil {
		fmt.Fprintln(w.out,
			"A cluster runs already. Another one takes its place: it is removed, with all that was done in it.")
	}
	began := time.Now()
	c, err := cluster.Start(ctx, w.options())
	if err == nil {
		err = w.fill(ctx, c)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return w.interrupted(c)
	case c == nil:
		return err
	case err != nil:
		return fmt.Errorf("%w; the cluster still runs, for you to look at: its logs are in %s, and `make cluster-down` "+
			"removes it",
			err, filepath.Join(w.dir, "log"))
	}
	fmt.Fprintf(w.out, "The cluster runs, after %v.\n", time.Since(began).Round(100*time.Millisecond))
	return w.explain(c)
}

// interrupted cleans up: what was being started is removed, and one that ran before stays, if it was not removed yet.
func (w where) interrupted(started *cluster.Cluster) error {
	if _, err := cluster.Open(w.dir); err == nil && started == nil {
		return errors.New("interrupted: the cluster that ran before still does, and nothing else was started")
	}
	fmt.Fprintln(w.out, "Interrupted. Removing the cluster ...")
	if err := cluster.Remove(w.dir); err != nil {
		return fmt.Errorf("interrupted: %w; `make cluster-down` removes what is left", err)
	}
	return errors.New("interrupted: nothing of the cluster is left; what was built for it is kept in .cache, for the " +
		"next start")
}

// step says what is being done, and how long it took.
func (w where) step(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	fmt.Fprintf(w.out, "%s ...\n", what)
	began := time.Now()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(w.out, "%s: done in %v\n", what, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// The commits of the application: both environments start with the first.
const (
	firstCommit  = "1111111111111111111111111111111111111111"
	secondCommit = "2222222222222222222222222222222222222222" // its migration migrates, so that a revert is refused
)

// fill puts into the cluster what people look at: an application, a broker, and Unstuck.
func (w where) fill(ctx context.Context, c *cluster.Cluster) error {
	if w.version == "" {
		return nil
	}
	maker := &artifact.Maker{Root: w.root, Progress: w.out}
	if err := c.Apply(ctx, people); err != nil {
		return err
	}
	if err := c.UseAccount(ctx, "kube-system", "admin"); err != nil {
		return err
	}
	var registry *cluster.Registry
	var apps []*cluster.Standin
	err := w.step(ctx, "create an application in staging and production", func(ctx context.Context) (err error) {
		registry, apps, err = application(ctx, c, maker)
		return err
	})
	if err != nil {
		return err
	}
	u, err := w.brokerAndImage(ctx, c, maker)
	if err != nil {
		return err
	}
	return w.step(ctx, "install Unstuck", func(ctx context.Context) error {
		if err := w.install(ctx, u, registry); err != nil {
			return err
		}
		for _, app := range apps {
			if err := app.WaitReady(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// brokerAndImage starts the broker, and meanwhile makes what Unstuck is installed from.
func (w where) brokerAndImage(ctx context.Context, c *cluster.Cluster,
	maker *artifact.Maker,
) (*cluster.Unstuck, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var u *cluster.Unstuck
	var errUnstuck error
	var preparing sync.WaitGroup
	preparing.Go(func() { u, errUnstuck = c.PrepareUnstuck(ctx, maker) })
	err := w.step(ctx, "start RabbitMQ "+w.version+", three nodes", func(ctx context.Context) error {
		_, err := c.StartBroker(ctx, cluster.BrokerOptions{Version: w.version})
		return err
	})
	if err != nil {
		cancel()
	}
	preparing.Wait()
	if err != nil {
		return nil, err // what it cut short is of no interest
	}
	return u, errUnstuck
}

// people is the account of the cluster's administrator.
//
//go:embed people.yaml
var people string

// application publishes the images of both commits and creates the application in each environment, at the first.
func application(ctx context.Context, c *cluster.Cluster,
	maker *artifact.Maker,
) (*cluster.Registry, []*cluster.Standin, error) {
	registry, err := c.StartRegistry(ctx)
	if err != nil {
		return nil, nil, err
	}
	for commit, environment := range map[string]map[string]string{firstCommit: nil, secondCommit: {"MIGRATE": "yes"}} {
		if err := c.PublishStandin(ctx, maker, registry, commit, environment); err != nil {
			return nil, nil, err
		}
	}
	var apps []*cluster.Standin
	// in the latter's namespace is the broker, too, as in the incident
	for _, name := range []string{"staging", "production"} {
		app, err := c.CreateStandin(ctx, name, firstCommit, registry)
		if err != nil {
			return nil, nil, err
		}
		apps = append(apps, app)
	}
	return registry, apps, nil
}

//go:embed values.yaml
var values string

// tokens is the file of tokens: that of the person who started the cluster.
const tokens = `
tokens:
- name: oncall
  hash: %s
  rights:
  - {verbs: [deploy, promote, revert, restart, task, logs, env], environments: ["*"]}
  - {verbs: [pause, delete, probe], targets: ["*"]}
`

// install installs Unstuck by its chart, and writes down what it takes to talk to it.
func (w where) install(ctx context.Context, u *cluster.Unstuck, registry *cluster.Registry) error {
	token, hash, err := config.NewToken("oncall")
	if err != nil {
		return err
	}
	if err := u.PutFiles(ctx, map[string]string{"tokens.yaml": fmt.Sprintf(tokens, hash)}, registry); err != nil {
		return err
	}
	const promotion = "    promote_from: staging\n"
	all := values + cluster.StandinEnvironment("staging") + cluster.StandinEnvironment("production") +
		promotion + cluster.Mounts
	if err := u.Install(ctx, all); err != nil {
		return err
	}
	for _, port := range []string{"api", "metrics"} {
		if err := u.Forward(ctx, port); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(w.token(), []byte(token+"\n"), 0o600),
		os.WriteFile(w.curl(), []byte(`header = "Authorization: Bearer `+token+"\"\n"), 0o600),
		os.Mkdir(w.tools(), 0o755),
		os.Symlink(filepath.Join(w.dir, "bin", "kubectl"), filepath.Join(w.tools(), "kubectl")),
		os.Symlink(u.Helm(), filepath.Join(w.tools(), "helm")),
	)
}

// The files for people in the cluster's directory.
func (w where) token() string { return filepath.Join(w.dir, "token") }      // alone, on a line
func (w where) curl() string  { return filepath.Join(w.dir, "token.curl") } // as curl reads it, with -K
func (w where) tools() string { return filepath.Join(w.dir, "tools") }      // kubectl and helm
