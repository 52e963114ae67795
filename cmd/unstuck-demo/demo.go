package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/app"
	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/terminal"
)

// limit is how long the demo may take once the nodes are up.
const limit = 3 * time.Minute

// newCommand gives the command that breaks a node of a real RabbitMQ cluster and shows how it is cured.
func newCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "unstuck-demo",
		Short: "Break a node of a real RabbitMQ cluster and watch it being cured",
		Long: `Start three clustered RabbitMQ nodes and the daemon on this machine, wedge the login of one node, and show what
happens as it happens: the node's own health checks stay green, the daemon suspects it, confirms it, asks every guard,
captures the incident, deletes the node, and waits until the new one accepts logins.

It needs RabbitMQ's server (rabbitmq-server). It exits 0 only if exactly the wedged node was deleted and accepts logins
again, and it leaves no process and no file behind.`,
		Example: "  unstuck-demo\n  unstuck-demo --keep    # leaves it running until Ctrl-C",
		Args:    cli.Exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGPIPE) // a reader that goes away ends the demo, but not before it has tidied up
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			s := newShow(cmd.OutOrStdout(), func(err error) { cancel(fmt.Errorf("write to the terminal: %w", err)) })
			err := run(ctx, s, keep)
			s.Close()
			if err != nil && cmd.Context().Err() != nil {
				return errors.New("interrupted; every process and file of the demo is removed")
			}
			if err == nil {
				s.Line(terminal.Bold, "PASSED: exactly the wedged node was deleted, and accepts logins again.")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running afterwards, until interrupted")
	return cmd
}

// handshake is the handshake_timeout of the demo's brokers.
const handshake = 3 * time.Second

// broker is how the demo's broker is watched: as production is by default, with every threshold shortened.
func broker() config.Broker {
	b := config.DefaultBroker()
	b.Name, b.HandshakeTimeout = "lab", handshake
	p := &b.Probes
	p.Login.Every, p.Login.Timeout = config.Every(3*time.Second), 4*time.Second
	p.Login.WhileSuspect, p.Login.WhileConfirmed = 2*time.Second, 10*time.Second
	p.Roundtrip.Every, p.Roundtrip.Timeout = config.Every(20*time.Second), 8*time.Second
	p.Log.Every, p.Log.MaxAge = config.Every(10*time.Second), 30*time.Second
	b.Policy.Mode = decide.Remediate
	b.Policy.MinDuration, b.Policy.RecheckAfter = 15*time.Second, 5*time.Second
	b.Policy.StartupGracePeriod, b.Policy.RecoveryTimeout = 5*time.Second, 90*time.Second
	b.Policy.GracePeriod = 10 * time.Second
	return b
}

func run(ctx context.Context, s *show, keep bool) (err error) {
	s.title("Starting three clustered RabbitMQ nodes on this machine")
	began := time.Now()
	l, err := lab.Start(ctx, lab.Options{HandshakeTimeout: handshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	if err != nil {
		return err
	}
	defer func() {
		s.say("Ending every process and removing every file of the demo")
		err = errors.Join(err, l.Close())
	}()
	s.say("%d nodes are up after %s", len(l.Names()), terminal.Brief(time.Since(began)))

	return runOn(ctx, s, l, keep)
}

// runOn runs the daemon on the lab, and the scenario against both.
func runOn(ctx context.Context, s *show, l *lab.Lab, keep bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("the demo has not ended %s after the nodes were up", limit))
	})
	defer timer.Stop()

	told := newStory(s)
	a, err := newApp(ctx, l, told)
	if err != nil {
		return err
	}
	s.title("Starting the daemon")
	s.say("look meanwhile: http://%s/status/ in a browser, and http://%s/metrics", a.APIAddr(), a.MetricsAddr())
	s.say("shortened for the demo: a login every 3 s instead of 15, its deadline 4 s instead of 12 (the nodes' own")
	s.say("handshake_timeout 3 s instead of 10), stuck for 15 s instead of 45 before it is confirmed, 5 s to start up")
	ended := make(chan error, 1)
	go func() {
		err := a.Run(ctx)
		cancel(err)
		ended <- err
	}()
	err = scenario(ctx, s, l, told)
	if err == nil && keep {
		timer.Stop()
		err = keepRunning(s, l, a)
		<-ctx.Done()
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	cancel(nil)
	return errors.Join(err, <-ended)
}

// newApp is the daemon of production, supplied by the lab. It keeps its records in the lab's directory, which goes with
// the lab, and which the next one removes if this one is killed.
func newApp(ctx context.Context, l *lab.Lab, told *story) (*app.App, error) {
	return app.New(ctx, app.Options{
		Config: &config.Config{
			Brokers: []config.Broker{broker()}, DataDir: dataDir(l),
			Listen: config.Listen{Metrics: "127.0.0.1:0", API: "127.0.0.1:0"},
		},
		Log: slog.New(slog.DiscardHandler),
		Supply: func(config.Broker) app.Supplier {
			return app.Supplier{World: l, Exec: l, Logs: l, Credentials: func(context.Context) (target.Credentials, error) {
				user, password := l.Credentials()
				return target.Credentials{Username: user, Password: password}, nil
			}}
		},
		Observer: told,
	})
}

// dataDir is where the demo's daemon keeps its records.
func dataDir(l *lab.Lab) string { return filepath.Join(l.Dir(), "demo") }

// keepRunning says how to look at what is left running.
func keepRunning(s *show, l *lab.Lab, a *app.App) error {
	user, password := l.Credentials()
	passwordFile := filepath.Join(l.Dir(), "password")
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the password: %w", err)
	}
	s.title("Everything is left running; Ctrl-C ends it. From now on only what is not healthy is shown")
	s.onlyTrouble()
	s.Line("", fmt.Sprintf("page      http://%s/status/", a.APIAddr()))
	s.Line("", fmt.Sprintf("API       http://%s/api/v1/targets/lab", a.APIAddr()))
	s.Line("", fmt.Sprintf("metrics   http://%s/metrics", a.MetricsAddr()))
	for _, n := range l.Nodes() {
		s.Line("", fmt.Sprintf("%s  unstuck probe --handshake-timeout %s --timeout 4s --password-file %s amqp://%s@%s",
			n.Name, handshake, passwordFile, user, n.Address))
	}
	return nil
}

// scenario wedges a node, waits until the daemon has cured it, and checks that it did exactly that.
func scenario(ctx context.Context, s *show, l *lab.Lab, story *story) error {
	if err := story.wait(ctx, "every node accepts logins", story.allHealthy); err != nil {
		return err
	}
	before := l.Nodes()
	victim := before[1]
	s.begin(time.Now())
	s.title("Wedging the login of %s", victim.Name)
	if err := l.WedgeLogin(ctx, victim.Name); err != nil {
		return err
	}
	story.begin()
	s.say("it goes on to accept connections; this is what its own health checks say meanwhile:")
	for _, check := range l.Checks(ctx, victim) {
		s.check(check)
	}
	if err := story.wait(ctx, "the deletion is settled", story.isSettled); err != nil {
		return err
	}

	s.title("Looking whether that was right")
	var errs []error
	deletions := l.Deletions()
	if len(deletions) != 1 || deletions[0].UID != victim.UID {
		errs = append(errs, fmt.Errorf("want exactly one deletion, that of %s, got %+v", victim.Name, deletions))
	}
	for i, n := range l.Nodes() {
		if deleted := n.Name == victim.Name; deleted == (n.UID == before[i].UID) {
			errs = append(errs, fmt.Errorf("%s has the UID %s, it had %s", n.Name, n.UID, before[i].UID))
		}
		if err := l.WaitLogin(ctx, n.Name); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.good("exactly %s was deleted; all three nodes accept logins; the others have kept their UIDs", victim.Name)
	story.times()
	return story.showIncident(ctx, dataDir(l))
}
