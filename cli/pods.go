package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/terminal"
)

// mostLines is how many the API gives at most.
const mostLines = 1000

// logFlags are those of `unstuck logs`.
type logFlags struct {
	container, since string
	tail             int
	follow, previous bool
}

func (c console) newLogsCommand() *cobra.Command {
	var f logFlags
	cmd := c.command(&cobra.Command{
		Use:   "logs ENVIRONMENT SERVICE",
		Short: "Show the logs of all pods of a service, merged",
		Long: `Show the last lines of the logs of all pods of a service, merged in the order of their times (UTC), and with --follow
what comes, until Ctrl-C. New pods are followed, too. What is said of the pods themselves goes to standard error.`,
		Example: "  unstuck logs production frontend --since 10m --follow",
		Args:    Exactly(2, "an environment and a service"),
	}, environmentsFirst(servicesOf), func(ctx context.Context, s *session, args []string) error {
		if f.tail < -1 || f.tail == 0 {
			return UsageError("flag --tail: want a number from 1 to %d, or -1 for %[1]d", mostLines)
		}
		path := apiPath("environments", args[0], "services", args[1], "logs") + "?" + f.query()
		if f.follow {
			return s.followLogs(ctx, path)
		}
		log, raw, err := get[release.ServiceLog](ctx, s.client, path)
		switch {
		case err != nil:
			return err
		case s.asJSON:
			return s.printJSON(raw)
		}
		s.showLog(log)
		return nil
	})
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
	flags.StringVar(&f.since, "since", "",
		"only what is not older than this `duration`, as in 10m, or later than this time")
	flags.IntVar(&f.tail, "tail", 100, "the last so many lines, of all pods together; up to 1000, or -1 for so many")
	flags.StringVarP(&f.container, "container", "c", "",
		"`name` of the container (default: the one that kubectl would take)")
	flags.BoolVarP(&f.previous, "previous", "p", false, "of the run before, of containers that were started again")
	for _, name := range []string{"since", "container"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func (f logFlags) query() string {
	lines := f.tail
	if lines == -1 { // kubectl's word for all
		lines = mostLines
	}
	q := url.Values{"lines": {strconv.Itoa(lines)}}
	for name, value := range map[string]string{"container": f.container, "since": f.since} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, wanted := range map[string]bool{"follow": f.follow, "previous": f.previous} {
		if wanted {
			q.Set(name, "true")
		}
	}
	return q.Encode()
}

// followLogs shows a log until Ctrl-C, which is how everybody ends it, and so no error. As JSON, each line of the
// output is a part of the log.
func (s *session) followLogs(ctx context.Context, path string) error {
	return s.resume(ctx, path, s.patience, func(text string) {
		s.warnf("%s", text)
	}, func(e event) (over bool, err error) {
		var part release.ServiceLog
		if err := json.Unmarshal([]byte(e.data), &part); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		if s.asJSON {
			_, err := fmt.Fprintln(s.out, terminal.Escape(e.data))
			return err != nil, err
		}
		s.showLog(part)
		return false, nil
	})
}

// showLog shows the lines, and what is wrong with the logs of pods.
func (s *session) showLog(log release.ServiceLog) {
	for _, p := range log.Pods {
		if p.State != release.LogRead {
			s.warnf("pod %s, container %s: %s: %s", p.Pod, p.Container, p.State, p.Why)
		}
	}
	if log.Cut {
		s.warnf("older lines are left out: these have too many bytes")
	}
	for _, l := range log.Lines {
		s.printf("%s %s | %s", l.At.UTC().Format("15:04:05.000"), l.Pod, l.Text)
	}
}

func (c console) newEnvCommand() *cobra.Command {
	return c.command(&cobra.Command{
		Use:   "env ENVIRONMENT SERVICE [POD]",
		Short: "Show the variables of a pod, but for secrets",
		Long: `Show the variables with which the containers of a service's newest pod run, or those of one pod. What comes from a
Secret or a ConfigMap is shown as where it comes from, and a value that looks like a secret is not shown.`,
		Example: "  unstuck env production frontend",
		Args:    between(2, 3, "an environment, a service, and a pod or none"),
	}, environmentsFirst(servicesOf), func(ctx context.Context, s *session, args []string) error {
		path := apiPath("environments", args[0], "services", args[1], "env")
		if len(args) > 2 {
			path = apiPath("environments", args[0], "services", args[1], "pods", args[2], "env")
		}
		env, raw, err := get[release.PodEnv](ctx, s.client, path)
		switch {
		case err != nil:
			return err
		case s.asJSON:
			return s.printJSON(raw)
		}
		s.showEnv(env)
		return nil
	})
}

func (s *session) showEnv(env release.PodEnv) {
	s.printf("pod %s", env.Pod)
	for _, c := range env.Containers {
		kind := "container"
		if c.Init {
			kind = "init container"
		}
		s.printf("%s %s, image %s", kind, c.Container, c.Image)
		for _, from := range c.From {
			s.printf("  (every key of %s)", sourceOf(from))
		}
		for _, v := range c.Variables {
			switch {
			case v.Value != nil:
				s.printf("  %s=%s", v.Name, *v.Value)
			case v.From != nil:
				s.printf("  %s  (from %s)", v.Name, sourceOf(*v.From))
			default:
				s.printf("  %s  (not shown: %s)", v.Name, v.Masked)
			}
		}
	}
}

// sourceOf says where a value comes from.
func sourceOf(from release.EnvSource) string {
	text := string(from.Kind)
	if from.Name != "" {
		text += " " + from.Name
	}
	if from.Key != "" {
		text += ", " + from.Key
	}
	if from.Prefix != "" {
		text += ", each name after " + from.Prefix
	}
	if from.Optional {
		text += ", which need not exist"
	}
	return text
}
