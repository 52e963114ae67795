package app

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// toldOnce is an Execer of a lab that counts the evals.
type toldOnce struct {
	*lab.Lab

	mu    sync.Mutex
	evals int
}

func (x *toldOnce) Exec(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	if slices.Contains(argv, "eval") {
		x.mu.Lock()
		x.evals++
		x.mu.Unlock()
	}
	return x.Lab.Exec(ctx, n, argv, stdout, stderr)
}

func TestWatchedAskHandshakeIsToldOnceByARealNodeAndLogsADifference(t *testing.T) {
	t.Parallel()
	l := <-startLabs(t, 1, lab.Options{Nodes: 1, HandshakeTimeout: tableHandshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	view, err := l.View(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	n := view.Nodes[0]
	b := config.DefaultBroker() // which says 10 s
	for attempt := 1; ; attempt++ {
		w := &watched{logins: make(map[string]goodLogin), hinted: make(map[string]time.Time), runner: probe.NewRunner(probe.RunnerOptions{})}
		var said safeBuffer
		x := &toldOnce{Lab: l}
		probes := w.probes(b, Supplier{World: l, Exec: x, Logs: l}, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})))
		i := slices.IndexFunc(probes, func(p probe.Probe) bool { return p.Kind == probe.MaybeStuck })
		for range 2 {
			if r := probes[i].Run(t.Context(), n); r.Reason != probe.OK {
				t.Fatalf("maybe_stuck: %s (%s)", r.Reason, r.Detail)
			}
		}
		got := said.String()
		if attempt < 5 && strings.Contains(got, "does not tell its handshake_timeout") {
			t.Logf("the machine is too busy for an answer in time: %s", got)
			continue
		}
		if own := w.handshakes.For(n, b.HandshakeTimeout); own != tableHandshake || x.evals != 1 {
			t.Errorf("it is %s after %d questions, want %s after one", own, x.evals, tableHandshake)
		}
		if strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "own_seconds=2 configured_seconds=10") {
			t.Errorf("the log says %q", got)
		}
		return
	}
}
