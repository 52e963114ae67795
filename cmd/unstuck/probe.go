package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/version"
)

// passwordVariable is the environment variable with the password.
const passwordVariable = "UNSTUCK_PASSWORD"

// defaultUser is the user that a fresh RabbitMQ has, and its password.
const defaultUser = "guest"

// newLogin is login.New, or a test's own.
type newLogin func(login.Options) func(context.Context, target.Node) probe.Result

// probeFlags are the flags of `unstuck probe`.
type probeFlags struct {
	level        string
	timeout      time.Duration
	handshake    time.Duration
	watch        time.Duration // 0: once
	passwordFile string
	output       *cli.Output

	caFile, certFile, keyFile, serverName string
}

const probeLong = `Log in to RabbitMQ nodes as a client does, and say whether they accept logins: the time of each stage of the
login, the verdict, and what to do. It needs no configuration.

A URL without a port means 5672, or 5671 for amqps. Without a vhost, or with "/" alone, it means the vhost "/". A
slash in a vhost is written %2F. Without a user name it means guest, whose password is guest if none is given. A
host name that stands for several nodes reaches only one of them: give each node's own address.

The password comes from the URL, from --password-file, or from the environment variable UNSTUCK_PASSWORD; the first
of these that gives one counts. In the URL the process list and the shell's history show it.

Silence proves a node stuck only if it lasts beyond the broker's own handshake timeout, which ends the logins of a
node that is merely slow. So a stuck node takes the whole --timeout to be found, and a shorter one proves nothing.
Each attempt leaves a few processes and a socket behind on a node whose login is wedged: do not watch one for hours.

The exit code is that of a monitoring plugin. With several targets the worst counts, in the order of this list:
  2  stuck: only a restart cures it
  1  faulty: something is wrong that a restart does not cure
  3  unknown: the probe could not tell, or the command line is wrong
  0  healthy`

func newProbeCommand(attempt newLogin) *cobra.Command {
	var f probeFlags
	cmd := &cobra.Command{
		Use:   "probe [flags] amqp[s]://user@host[:port][/vhost]...",
		Short: "Log in to RabbitMQ nodes and say how they are",
		Long:  probeLong,
		Example: `  unstuck probe amqp://monitor@10.0.0.7 --password-file /run/secrets/amqp
  UNSTUCK_PASSWORD=... unstuck probe amqps://monitor@mq-0.example:5671/orders amqps://monitor@mq-1.example:5671/orders
  unstuck probe --level roundtrip --watch=30s amqp://monitor@[::1]:5672/%2F
  unstuck probe -o json amqp://monitor@10.0.0.7 | jq -r .status`,
		Args:              cli.AtLeast(1, "at least one URL, such as amqp://user@host:5672/vhost"),
		ValidArgsFunction: cobra.FixedCompletions([]string{"amqp://", "amqps://"}, cobra.ShellCompDirectiveNoSpace),
		RunE:              func(cmd *cobra.Command, args []string) error { return runProbe(cmd, f, attempt, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.level, "level", string(probe.Login),
		"`level` to probe at: login, or roundtrip (a message through a queue of its own)")
	flags.DurationVar(&f.timeout, "timeout", login.DefaultTimeout,
		"deadline of a probe that does not get on; 20s at level roundtrip")
	flags.DurationVar(&f.handshake, "handshake-timeout", login.DefaultHandshakeTimeout,
		"the broker's own handshake_timeout")
	flags.DurationVar(&f.watch, "watch", 0, "repeat at this interval until interrupted")
	flags.Lookup("watch").NoOptDefVal = "15s"
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password")
	f.output = cli.AddOutput(cmd)
	f.output.AddJSON(cmd)
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `file` with the authorities to trust (default: the system's)")
	flags.StringVar(&f.certFile, "cert-file", "", "PEM `file` with the certificate to show to the broker")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM `file` with the key of that certificate")
	flags.StringVar(&f.serverName, "server-name", "", "`name` in the broker's certificate (default: the host)")
	for _, name := range []string{"password-file", "ca-file", "cert-file", "key-file"} {
		_ = cmd.MarkFlagFilename(name) // fails only for a flag that does not exist
	}
	levels := cobra.FixedCompletions([]string{string(probe.Login), string(probe.Roundtrip)},
		cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("level", levels)
	return cmd
}

// check refuses flags that contradict each other, and fills in what depends on others.
func (f probeFlags) check(timeoutGiven, watchGiven bool) (probeFlags, error) {
	switch {
	case f.level != string(probe.Login) && f.level != string(probe.Roundtrip):
		return f, cli.UsageError("flag --level: want login or roundtrip")
	case f.timeout <= 0 || f.handshake <= 0:
		return f, cli.UsageError("flags --timeout and --handshake-timeout: want more than 0s")
	case watchGiven && f.watch < time.Second:
		return f, cli.UsageError("flag --watch: want at least 1s, as each attempt costs a stuck node a socket")
	}
	if f.level == string(probe.Roundtrip) && !timeoutGiven {
		f.timeout = max(login.DefaultRoundtripTimeout, f.handshake+login.DefaultRoundtripTimeout/2)
	}
	return f, nil
}

// runProbe probes the targets once, or again and again.
func runProbe(cmd *cobra.Command, f probeFlags, attempt newLogin, args []string) error {
	f, err := f.check(cmd.Flags().Changed("timeout"), cmd.Flags().Changed("watch"))
	if err != nil {
		return err
	}
	if f.watch > 0 {
		if err := meantForWatch(args); err != nil {
			return err
		}
	}
	targets, err := parseEndpoints(args)
	if err != nil {
		return err
	}
	if err := f.addPasswords(targets, cmd.ErrOrStderr()); err != nil {
		return err
	}
	secure, err := f.loadTLS(targets)
	if err != nil {
		return err
	}
	// A live broker's own timer may be a little late, which the probe allows for.
	if f.timeout <= f.handshake+f.handshake/20 {
		fmt.Fprintf(cmd.ErrOrStderr(),
			"note: --timeout %s is not beyond --handshake-timeout %s: silence until then proves nothing\n",
			f.timeout, f.handshake)
	}
	r := round{targets: targets, probes: make([]func(context.Context) probe.Result, len(targets)), interval: f.watch}
	for i, t := range targets {
		do := attempt(f.options(t, secure))
		r.probes[i] = func(ctx context.Context) probe.Result {
			return do(ctx, target.Node{Name: t.String(), Address: t.address})
		}
	}
	var out reporter = newTextReporter(cmd.OutOrStdout(), f)
	if f.output.JSON() {
		out = jsonReporter{cmd.OutOrStdout()}
	}
	worst, err := r.repeat(cmd.Context(), out)
	switch {
	case err != nil:
		return &cli.ExitError{Code: cli.ExitUnknown, Err: err}
	case exitCode(worst) != cli.ExitOK:
		return &cli.ExitError{Code: exitCode(worst)}
	}
	return nil
}

// meantForWatch finds the interval of --watch among the targets: the value of a flag that may go without one follows
// an equals sign.
func meantForWatch(args []string) error {
	for i, arg := range args {
		if _, err := time.ParseDuration(arg); err == nil {
			return cli.UsageError("target %d is no URL: did you mean --watch=%s?", i+1, arg)
		}
	}
	return nil
}

func parseEndpoints(args []string) ([]endpoint, error) {
	targets := make([]endpoint, len(args))
	for i, arg := range args {
		var err error
		if targets[i], err = parseEndpoint(arg); err != nil {
			return nil, cli.UsageError("target %d: %w", i+1, err)
		}
	}
	return targets, nil
}

// addPasswords gives each target its password, and a name where it has none. It warns of passwords in URLs.
func (f probeFlags) addPasswords(targets []endpoint, stderr io.Writer) error {
	common := os.Getenv(passwordVariable)
	if f.passwordFile != "" {
		var err error
		if common, err = readPassword(f.passwordFile); err != nil {
			return err
		}
	}
	for i := range targets {
		t := &targets[i]
		switch {
		case t.inURL:
			fmt.Fprintf(stderr,
				"warning: target %d: its password is in the URL, where the process list and the shell's history show it; "+
					"use --password-file or %s\n", i+1, passwordVariable)
		case common != "":
			t.password = common
		case t.username == "" || t.username == defaultUser:
			t.password = defaultUser
		default:
			return cli.UsageError("target %d: no password: use --password-file or the environment variable %s", i+1,
				passwordVariable)
		}
		if t.username == "" {
			t.username = defaultUser
		}
	}
	return nil
}

// readPassword reads a password, less one line end. Its errors do not name the file: a password may have been typed
// there by mistake.
func readPassword(file string) (string, error) {
	data, err := probe.ReadFile(file, probe.MaxSecret)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return "", cli.UsageError("flag --password-file: cannot %s the file: %w", path.Op, path.Err)
	case err != nil:
		return "", cli.UsageError("flag --password-file: cannot read the file")
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if password == "" || strings.ContainsAny(password, "\x00\n") {
		return "", cli.UsageError("flag --password-file: want one line with the password in the file")
	}
	return password, nil
}

// loadTLS gives the TLS configuration for the secure targets; nil if there is none.
func (f probeFlags) loadTLS(targets []endpoint) (*tls.Config, error) {
	for _, t := range targets {
		if !t.secure {
			continue
		}
		cfg, err := login.LoadTLS(f.caFile, f.certFile, f.keyFile, f.serverName)
		if err != nil {
			return nil, cli.UsageError("%w", err)
		}
		return cfg, nil
	}
	if f.caFile+f.certFile+f.keyFile+f.serverName != "" {
		return nil,
			cli.UsageError("flags --ca-file, --cert-file, --key-file, --server-name: they are for amqps, and no target is amqps")
	}
	return nil, nil //nolint:nilnil // no target speaks TLS
}

func (f probeFlags) options(t endpoint, secure *tls.Config) login.Options {
	if !t.secure {
		secure = nil
	}
	creds := target.Credentials{Username: t.username, Password: t.password}
	return login.Options{
		Level: probe.Kind(f.level), Vhost: t.vhost, TLS: login.Fixed(secure), Timeout: f.timeout,
		HandshakeTimeout: f.handshake,
		Credentials:      func(context.Context) (target.Credentials, error) { return creds, nil },
		Name:             "unstuck probe", Version: version.Current().Version,
	}
}
