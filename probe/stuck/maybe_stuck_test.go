package stuck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// fakeExec runs no command: the test says what a command would have done.
type fakeExec struct {
	exec func(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error)
}

func (f fakeExec) Exec(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	return f.exec(ctx, n, argv, stdout, stderr)
}

// says gives an Execer whose command takes this long, prints this, and ends with this exit code.
func says(took time.Duration, exit int, stdout, stderr string) fakeExec {
	return fakeExec{func(ctx context.Context, _ target.Node, argv []string, out, errs io.Writer) (int, error) {
		if argv[len(argv)-1] == "--version" { // which asks nobody
			return 0, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(took):
		}
		if _, err := io.WriteString(out, stdout); err != nil {
			return 0, err
		}
		_, err := io.WriteString(errs, stderr)
		return exit, err
	}}
}

var someNode = target.Node{Target: "b", Name: "rabbit-1", UID: "u1"}

// healthyWith gives the baselines of a node that showed this many suspicious processes when it was healthy.
func healthyWith(suspicious int) *Baselines {
	var b Baselines
	b.Observe(probe.Result{UID: someNode.UID, Kind: probe.Login, Reason: probe.OK})
	b.Observe(probe.Result{UID: someNode.UID, Kind: probe.MaybeStuck, Reason: probe.OK, Processes: &probe.Processes{Suspicious: suspicious}})
	return &b
}

func TestMaybeStuckMakesAVerdictOfWhatTheCommandSaid(t *testing.T) {
	sample := func(name string) string { return string(readSample(t, name)) }
	frozen := sample("frozen.txt")
	diagnostics := func(lines string) string { return "Error\n\nattempted to contact: [rabbit@a]\n\nrabbit@a:\n" + lines }
	refusedTCP := diagnostics("  * epmd reports node 'rabbit' uses port 25672\n  * can't establish TCP connection to the target node, reason: econnrefused (connection refused)\n")
	noTCP := diagnostics("  * epmd reports node 'rabbit' uses port 25672\n  * can't establish TCP connection to the target node, reason: timeout (timed out)\n")
	cutShort := sample("login-wedged.txt")
	cutShort = cutShort[:len(cutShort)-500]

	for name, test := range map[string]struct {
		exec   fakeExec
		want   probe.Reason
		detail string // must be part of it
	}{
		"a healthy node":                    {says(6*time.Second, 0, sample("healthy.txt"), ""), probe.OK, "1 of 271 processes"},
		"300 idle connections":              {says(6*time.Second, 0, sample("healthy-300-idle-connections.txt"), ""), probe.OK, "1 of 2369"},
		"login wedged":                      {says(6*time.Second, 0, sample("login-wedged.txt"), ""), probe.ProcessesStuck, "4 connections hang in their login"},
		"wedged before the greeting":        {says(6*time.Second, 0, sample("start-wedged.txt"), ""), probe.ProcessesStuck, "4 connections hang in their login"},
		"queues wedged":                     {says(6*time.Second, 0, sample("queues-wedged.txt"), ""), probe.WorkWaits, "4 channels or queues hang"},
		"slow login, at a single look":      {says(6*time.Second, 0, sample("slow-login.txt"), ""), probe.ProcessesStuck, "4 connections"},
		"metadata locked":                   {says(6*time.Second, 0, sample("metadata-locked.txt"), ""), probe.MetadataAwaited, "wait for the metadata store"},
		"warnings before and after":         {says(0, 0, "warning: latin1\n"+sample("login-wedged.txt")+"bye\n", "warning"), probe.ProcessesStuck, ""},
		"the app is stopped":                {says(0, 64, "", sample("app-stopped.txt")), probe.NotRun, "without its rabbit app"},
		"the tool knows no such option":     {says(0, 64, "", "Error (argument validation): too many arguments.\n"), probe.ExecFailed, "exit code 64: Error (argument validation)"},
		"frozen":                            {says(14*time.Second, 69, "", frozen), probe.ToolsUnresponsive, "14s"},
		"frozen, errors on standard output": {says(14*time.Second, 69, frozen, ""), probe.ToolsUnresponsive, "14s"},
		"frozen, its accept queue full":     {says(19*time.Second, 69, "", noTCP), probe.ToolsUnresponsive, "19s"},
		"another cookie":                    {says(600*time.Millisecond, 69, "", frozen), probe.ExecFailed, "another Erlang cookie"},
		"another cookie, said outright": {
			says(14*time.Second, 69, "", frozen+"  * Authentication failed (rejected by the remote node), please check the Erlang cookie\n"),
			probe.ExecFailed, "another Erlang cookie",
		},
		"another name for the host": {
			says(14*time.Second, 69, "", diagnostics("  * TCP connection succeeded but Erlang distribution failed\n  * Hostname mismatch: node believes\n")),
			probe.ExecFailed, "name for the host",
		},
		"the node's process is gone":       {says(time.Second, 69, "", diagnostics("  * epmd reports: node 'rabbit' not running at all\n")), probe.NotRun, "down or booting"},
		"the node is going down":           {says(time.Second, 69, "", refusedTCP), probe.NotRun, "going down"},
		"epmd is gone":                     {says(20*time.Second, 69, "", diagnostics("  * unable to connect to epmd (port 4369) on a: address (cannot connect to host/port)\n")), probe.ExecFailed, "epmd"},
		"reached at the second try":        {says(8*time.Second, 69, "", diagnostics("  * node rabbit@a up, 'rabbit' application running\n")), probe.ExecFailed, "a moment later"},
		"a container runtime's own 69":     {says(20*time.Second, 69, "", "OCI runtime exec failed: no such container"), probe.ExecFailed, "OCI runtime exec failed"},
		"69 without a word":                {says(20*time.Second, 69, "", ""), probe.ExecFailed, "it said nothing"},
		"no such command in the image":     {says(0, 127, "", "sh: rabbitmq-diagnostics: not found"), probe.ExecFailed, "exit code 127: sh: rabbitmq"},
		"killed":                           {says(0, -1, sample("login-wedged.txt"), ""), probe.ExecFailed, "exit code -1"},
		"its own timeout, nothing found":   {says(30*time.Second, 75, sample("own-timeout.txt"), "Error: timed out"), probe.ExecFailed, "timeout of 30s"},
		"its own timeout, readers stuck":   {says(30*time.Second, 75, cutShort, "Error: timed out"), probe.ProcessesStuck, "not complete"},
		"its own timeout, nothing printed": {says(30*time.Second, 75, "", "Error: timed out"), probe.ExecFailed, "exit code 75"},
		"garbage":                          {says(6*time.Second, 0, strings.Repeat("\x00\xff{[}", 9999), ""), probe.ExecFailed, "not maybe_stuck's"},
		"nothing at all":                   {says(6*time.Second, 0, "", ""), probe.ExecFailed, "not maybe_stuck's"},
		"cut short":                        {says(6*time.Second, 0, cutShort, ""), probe.ExecFailed, "not complete"},
		"could not be run": {fakeExec{func(context.Context, target.Node, []string, io.Writer, io.Writer) (int, error) {
			return 0, errors.New("forbidden")
		}}, probe.ExecFailed, "forbidden"},
		"never ends": {says(time.Hour, 0, "", ""), probe.ExecFailed, "did not end within 45s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				r := New(test.exec, Options{Baselines: healthyWith(2)})(t.Context(), someNode)
				if r.Reason != test.want || !strings.Contains(r.Detail, test.detail) {
					t.Errorf("%s: %q, want %s: %q", r.Reason, r.Detail, test.want, test.detail)
				}
				if strings.Contains(r.Detail, "AAAAAA") || strings.Contains(r.Detail, "/var/lib") || strings.Contains(r.Detail, "\n") {
					t.Errorf("the detail says too much: %q", r.Detail)
				}
				if r.Target != "b" || r.Node != "rabbit-1" || r.UID != "u1" || r.Kind != probe.MaybeStuck ||
					!r.Started.Equal(start) || r.Took != time.Since(start) {
					t.Errorf("result %+v", r)
				}
				if r.Processes != nil && r.Processes.Baseline != 2 {
					t.Errorf("baseline %d, want 2", r.Processes.Baseline)
				}
				if (test.want == probe.ProcessesStuck || test.want == probe.OK) && r.Processes == nil {
					t.Error("the processes are missing")
				}
			})
		})
	}
}

func TestMaybeStuckTellsTheCommandWhenToGiveUp(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    []string
	}{
		{Options{}, []string{"rabbitmq-diagnostics", "-q", "-t", "30", "maybe_stuck"}},
		{
			Options{CommandTimeout: 1500 * time.Millisecond, Command: []string{"env", "A=b", "/sbin/rabbitmq-diagnostics"}},
			[]string{"env", "A=b", "/sbin/rabbitmq-diagnostics", "-q", "-t", "2", "maybe_stuck"},
		},
	} {
		var got []string
		x := fakeExec{func(_ context.Context, _ target.Node, argv []string, _, _ io.Writer) (int, error) {
			got = argv
			return 0, nil
		}}
		New(x, test.options)(t.Context(), someNode)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMaybeStuckSaysNothingAboutTheNodeIfItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r := New(says(time.Hour, 0, "", ""), Options{})(ctx, someNode)
		if r.Reason != probe.Cancelled || r.Status() != probe.Unknown || r.Took != 3*time.Second {
			t.Errorf("%s after %v", r.Reason, r.Took)
		}
	})
}

// With a wrong cookie the tool prints the same as for a frozen node. On a machine whose cores are all busy it also
// took as long.
func TestMaybeStuckSaysNothingAboutTheNodeIfTheToolIsStarved(t *testing.T) {
	frozen := string(readSample(t, "frozen.txt"))
	for name, test := range map[string]struct {
		took, version time.Duration
		exit          int
		err           error
		want          probe.Reason
		says          string
	}{
		"a frozen node":                       {took: 14500 * time.Millisecond, version: 500 * time.Millisecond, want: probe.ToolsUnresponsive, says: "gave up after 14.5s"},
		"a frozen node, an old tool":          {took: 14500 * time.Millisecond, version: time.Second, exit: 64, want: probe.ToolsUnresponsive, says: "gave up after 14.5s"},
		"a wrong cookie":                      {took: 600 * time.Millisecond, want: probe.ExecFailed, says: "most likely another Erlang cookie"},
		"a wrong cookie, a slow machine":      {took: 13 * time.Second, want: probe.ExecFailed, says: "most likely another Erlang cookie"},
		"a frozen node, a slow machine":       {took: 22 * time.Second, version: 6 * time.Second, want: probe.ToolsUnresponsive, says: "gave up after 22s"},
		"anything, with every core busy":      {took: 23 * time.Second, version: 8 * time.Second, want: probe.ExecFailed, says: "version within 7.7s"},
		"anything, the tool hangs by itself":  {took: 23 * time.Second, version: time.Hour, want: probe.ExecFailed, says: "version within 7.7s"},
		"anything, and then exec is refused":  {took: 23 * time.Second, err: errors.New("forbidden"), want: probe.ExecFailed, says: "version: forbidden"},
		"anything, and then no tool any more": {took: 23 * time.Second, exit: 127, want: probe.ExecFailed, says: "version: exit code 127"},
		"anything, just before our own end":   {took: 44 * time.Second, version: 2 * time.Second, want: probe.ExecFailed, says: "could not even tell"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := fakeExec{func(ctx context.Context, n target.Node, argv []string, out, errs io.Writer) (int, error) {
					if argv[len(argv)-1] != "--version" {
						return says(test.took, 69, "", frozen).Exec(ctx, n, argv, out, errs)
					}
					if diff := cmp.Diff([]string{"rabbitmq-diagnostics", "--version"}, argv); diff != "" {
						t.Error(diff)
					}
					select {
					case <-ctx.Done():
						return 0, ctx.Err()
					case <-time.After(test.version):
						return test.exit, test.err
					}
				}}
				r := New(x, Options{})(t.Context(), someNode)
				if r.Reason != test.want || !strings.Contains(r.Detail, test.says) {
					t.Errorf("%s (%s), want %s (%s)", r.Reason, r.Detail, test.want, test.says)
				}
				if limit := 45 * time.Second; r.Took > limit {
					t.Errorf("it took %s, more than %s", r.Took, limit)
				}
			})
		})
	}
}

func TestMaybeStuckKeepsNoOutputWithoutEnd(t *testing.T) {
	x := fakeExec{func(_ context.Context, _ target.Node, _ []string, stdout, stderr io.Writer) (int, error) {
		chunk := bytes.Repeat([]byte("attempted to contact: nobody "), 1<<10)
		before := heapInUse()
		for range 1 << 9 {
			for _, w := range []io.Writer{stdout, stderr} {
				if n, err := w.Write(chunk); n != len(chunk) || err != nil {
					return 0, err
				}
			}
		}
		if after := heapInUse(); after > before+2<<20 {
			t.Errorf("%d MiB of 29 MiB were kept", (after-before)>>20)
		}
		return 1, nil
	}}
	r := New(x, Options{})(t.Context(), someNode)
	if r.Reason != probe.ExecFailed || len(r.Detail) > 300 {
		t.Errorf("%s, detail of %d bytes", r.Reason, len(r.Detail))
	}
}

func TestVerdict(t *testing.T) {
	waits := func(a probe.Await, n int) probe.Waits { return probe.Waits{a: n} }
	for name, test := range map[string]struct {
		p    probe.Processes
		want probe.Reason
	}{
		"nothing suspicious":                              {probe.Processes{Total: 270, Baseline: 2}, probe.OK},
		"a mere count of other processes accuses nobody":  {probe.Processes{Total: 270, Suspicious: 200, Baseline: 2, Waiting: waits(probe.AwaitsUnknown, 200)}, probe.OK},
		"one connection that hangs in its login":          {probe.Processes{Total: 9999, Suspicious: 1, StuckReaders: 1, Baseline: -1}, probe.ProcessesStuck},
		"one beside many that wait for a backend":         {probe.Processes{Total: 270, Suspicious: 200, StuckReaders: 1, Waiting: waits(probe.AwaitsBackend, 198)}, probe.ProcessesStuck},
		"one beside some that wait for the metadata":      {probe.Processes{Total: 270, Suspicious: 3, StuckReaders: 1, Waiting: waits(probe.AwaitsMetadata, 2)}, probe.ProcessesStuck},
		"19 in their login, not known for whom":           {probe.Processes{Total: 270, Suspicious: 19, UnknownReaders: 19}, probe.OK},
		"20 in their login, not known for whom":           {probe.Processes{Total: 270, Suspicious: 20, UnknownReaders: 20}, probe.ProcessesStuck},
		"20 of those on a node of thousands of processes": {probe.Processes{Total: 3500, Suspicious: 20, UnknownReaders: 20}, probe.OK},
		"5 % of those, exactly":                           {probe.Processes{Total: 3500, Suspicious: 175, UnknownReaders: 175}, probe.ProcessesStuck},
		"some wait for a limit":                           {probe.Processes{Total: 270, Suspicious: 64, Waiting: waits(probe.AwaitsLimit, 64)}, probe.Full},
		"some wait for a backend":                         {probe.Processes{Total: 270, Suspicious: 30, Waiting: waits(probe.AwaitsBackend, 30)}, probe.BackendAwaited},
		"some wait for a name server":                     {probe.Processes{Total: 270, Suspicious: 30, Waiting: waits(probe.AwaitsDNS, 30)}, probe.BackendAwaited},
		"some wait for the metadata":                      {probe.Processes{Total: 270, Suspicious: 30, StuckChannels: 3, Waiting: waits(probe.AwaitsMetadata, 30)}, probe.MetadataAwaited},
		"some wait for a lock of the cluster":             {probe.Processes{Total: 270, Suspicious: 30, Waiting: waits(probe.AwaitsLock, 30)}, probe.MetadataAwaited},
		"some wait for their clients":                     {probe.Processes{Total: 270, Suspicious: 40, Waiting: waits(probe.AwaitsClient, 40)}, probe.OK},
		"one channel hangs":                               {probe.Processes{Total: 9999, Suspicious: 2, StuckChannels: 1}, probe.WorkWaits},
	} {
		if got, detail := verdict(test.p, DefaultLimits); got != test.want || detail == "" {
			t.Errorf("%s: %s (%s), want %s", name, got, detail, test.want)
		}
	}
}

// TestMaybeStuckAccusesNoNodeByFieldReports reads the outputs that people who run RabbitMQ reported: none accuses its node.
//
//promise:9
func TestMaybeStuckAccusesNoNodeByFieldReports(t *testing.T) {
	for name, test := range map[string]struct {
		want   probe.Reason
		detail string
	}{
		"tls-half-open":              {probe.OK, "40 wait for their clients"},
		"readers-await-descriptors":  {probe.Full, "64 wait for a free file descriptor or connection"},
		"channels-await-other-node":  {probe.WorkWaits, "40 wait for other nodes"},
		"one-queue-stuck":            {probe.WorkWaits, "1 waits for other nodes"},
		"supervisors-await-children": {probe.WorkWaits, "12 wait for processes that they stop"},
		"ldap-pool-busy":             {probe.BackendAwaited, "30 wait for an authentication backend"},
		"http-backend-down":          {probe.BackendAwaited, "30 wait for an authentication backend"},
		"oauth2-lock":                {probe.BackendAwaited, "30 wait for an authentication backend"},
		"khepri-minority":            {probe.MetadataAwaited, "1 waits for the metadata store"},
	} {
		var r probe.Result
		synctest.Test(t, func(t *testing.T) {
			r = New(says(6*time.Second, 0, string(readSample(t, "field/"+name+".txt")), ""), Options{})(t.Context(), someNode)
		})
		if r.Reason != test.want || !strings.Contains(r.Detail, test.detail) || r.Status() == probe.Stuck {
			t.Errorf("%s: %s (%s): %s; want %s, %q", name, r.Reason, r.Status(), r.Detail, test.want, test.detail)
		}
		if p := r.Processes; p == nil || len(p.Logins) > 0 {
			t.Errorf("%s: %+v: there is a connection that accuses its node", name, p)
		}
	}
}

func TestVerdictHasWordsThatAgreeWithTheirNumbers(t *testing.T) {
	for want, p := range map[string]probe.Processes{
		"1 connection hangs in its login with a message waiting":                                                             {StuckReaders: 1},
		"2 connections hang in their login with a message waiting":                                                           {StuckReaders: 2},
		"1 channel or queue hangs in a call with a message waiting; 1 of 9 processes is suspicious (0 when it is healthy)":   {StuckChannels: 1, Suspicious: 1, Total: 9},
		"2 channels or queues hang in a call with a message waiting; 2 of 9 processes are suspicious (no baseline yet)":      {StuckChannels: 2, Suspicious: 2, Total: 9, Baseline: -1},
		"30 of 90 processes are suspicious (0 when it is healthy); 1 waits for an authentication backend outside the broker": {Suspicious: 30, Total: 90, Waiting: probe.Waits{probe.AwaitsBackend: 1}},
		"30 of 90 processes are suspicious (0 when it is healthy); 2 wait for the metadata store of the cluster":             {Suspicious: 30, Total: 90, Waiting: probe.Waits{probe.AwaitsMetadata: 2}},
	} {
		if _, detail := verdict(p, DefaultLimits); !strings.HasPrefix(detail, want) {
			t.Errorf("got  %s\nwant %s", detail, want)
		}
	}
}

func TestDefaultLimitsAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	sentence := fmt.Sprintf("at least %d, and at least %g %% of all processes",
		DefaultLimits.AboveBaseline, DefaultLimits.Share*100)
	if !strings.Contains(strings.Join(strings.Fields(string(text)), " "), sentence) {
		t.Errorf("docs/verdicts.md lacks: %s", sentence)
	}
}

// A container that starts again in the same pod is another node: results from before its start must not count for
// it.
func TestMaybeStuckSaysWhichStartOfTheContainerItIsAbout(t *testing.T) {
	n := target.Node{Target: "b", Name: "x", UID: "x-uid", Started: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	r := New(fakeExec{func(context.Context, target.Node, []string, io.Writer, io.Writer) (int, error) {
		return 0, errors.New("broken")
	}}, Options{})(t.Context(), n)
	if r.Kind != probe.MaybeStuck || !r.NodeStarted.Equal(n.Started) {
		t.Errorf("%s says %s, want %s: %+v", r.Kind, r.NodeStarted, n.Started, r)
	}
}
