package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/target"
)

// running is a Runner under test, inside a synctest bubble.
type running struct {
	*Runner
	stop func() error // ends Run and gives its error; later calls give the same

	mu      sync.Mutex
	results []Result
	log     bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

// taken gives the results since the last call, once nothing moves any more.
func (r *running) taken() []Result {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	results := r.results
	r.results = nil
	return results
}

func (r *running) logged(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.log.String(), text)
}

func runRunner(t *testing.T, nodes []target.Node, probes ...Probe) *running {
	t.Helper()
	r := &running{}
	r.Runner = NewRunner(RunnerOptions{Probes: probes, Log: slog.New(slog.NewTextHandler(r, nil)), Sink: func(result Result) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.results = append(r.results, result)
	}})
	r.SetNodes(nodes)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { r.stop() })
	synctest.Wait()
	return r
}

func nodesNamed(names ...string) []target.Node {
	var nodes []target.Node
	for _, name := range names {
		nodes = append(nodes, target.Node{Target: "b", Name: name, UID: name + "-uid", Address: "127.0.0.1:5672"})
	}
	return nodes
}

func healthy(context.Context, target.Node) Result { return Result{Reason: OK} }

// taking is a Func that takes d, or less if its context ends.
func taking(d time.Duration) Func {
	return func(ctx context.Context, _ target.Node) Result {
		select {
		case <-time.After(d):
			return Result{Reason: OK}
		case <-ctx.Done():
			return Result{Reason: Cancelled}
		}
	}
}

// gaps gives the times between the starts of results of one node and kind.
func gaps(results []Result) []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(results); i++ {
		gaps = append(gaps, results[i].Started.Sub(results[i-1].Started))
	}
	return gaps
}

func TestRunnerSpreadsStartsOf10000NodesEvenlyAtTheSameTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 10_000 {
			names = append(names, fmt.Sprintf("rabbitmq-%d", i))
		}
		began := time.Now()
		r := runRunner(t, nodesNamed(names...), Probe{Kind: Login, Run: healthy, Schedule: cron.Every(15 * time.Second)})
		var rounds [2]map[string]time.Duration
		for i := range rounds {
			rounds[i] = make(map[string]time.Duration)
			time.Sleep(15 * time.Second)
			for _, result := range r.taken() {
				rounds[i][result.Node] = result.Started.Sub(began.Add(time.Duration(i) * 15 * time.Second))
			}
		}
		if len(rounds[0]) != len(names) {
			t.Fatalf("%d of %d nodes were probed in the first period", len(rounds[0]), len(names))
		}
		buckets := make(map[int]int)
		for name, at := range rounds[0] {
			buckets[int(at/(100*time.Millisecond))]++
			if rounds[1][name] != at {
				t.Fatalf("%s began %s into the first period and %s into the second", name, at, rounds[1][name])
			}
		}
		// Each should have 66.7; 110 is more than five standard deviations above.
		for bucket, n := range buckets {
			if n > 110 {
				t.Errorf("%d starts in the 100 ms after %s", n, time.Duration(bucket)*100*time.Millisecond)
			}
		}
		if len(buckets) != 150 {
			t.Errorf("starts fall into %d of 150 buckets", len(buckets))
		}
	})
}

func TestPhaseDependsOnBrokerNodeAndKindAndNothingElse(t *testing.T) {
	if phase("b", "n", Login) != phase("b", "n", Login) {
		t.Error("the same probe has two phases")
	}
	// A phase must not change between our releases, or each upgrade would shuffle the probes of a large fleet.
	if got, want := phase("b", "n", Login), 0.8010410; got < want || got > want+1e-7 {
		t.Errorf("phase %.9f, want %.7f", got, want)
	}
	seen := make(map[float64]string)
	for _, broker := range []string{"b", "bn"} {
		for _, node := range []string{"n", "nn", ""} {
			for _, kind := range Kinds() {
				p := phase(broker, node, kind)
				if p < 0 || p >= 1 {
					t.Errorf("phase %v", p)
				}
				if other, ok := seen[p]; ok {
					t.Errorf("%s/%s/%s has the phase of %s", broker, node, kind, other)
				}
				seen[p] = broker + "/" + node + "/" + string(kind)
			}
		}
	}
}

func TestRunnerBeginsSoonAndThenKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("rabbitmq-%d", i))
		}
		r := runRunner(t, nodesNamed(names...), Probe{Kind: MaybeStuck, Run: taking(6 * time.Second), Schedule: cron.Every(time.Hour), First: 2 * time.Minute})
		time.Sleep(4 * time.Hour)
		byNode := make(map[string][]Result)
		for _, result := range r.taken() {
			byNode[result.Node] = append(byNode[result.Node], result)
		}
		latest := time.Duration(0)
		for _, name := range names {
			results := byNode[name]
			if len(results) < 4 {
				t.Fatalf("%s was probed %d times in four hours", name, len(results))
			}
			latest = max(latest, results[0].Started.Sub(began))
			between := gaps(results)
			if between[0] < 30*time.Minute || between[0] > 90*time.Minute {
				t.Errorf("%s: second run %s after the first", name, between[0])
			}
			for _, gap := range between[1:] {
				if gap != time.Hour {
					t.Errorf("%s: later runs %s apart", name, gap)
				}
			}
		}
		if latest > 2*time.Minute || latest < time.Minute {
			t.Errorf("the last first run came after %s, want some time before two minutes", latest)
		}
	})
}

func TestRunnerRunsCronSpecsAtTheirTimeAndALittleSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec, err := cron.ParseStandard("30 3 * * *")
		if err != nil {
			t.Fatal(err)
		}
		r := runRunner(t, nodesNamed("x", "y"), Probe{Kind: Roundtrip, Run: healthy, Schedule: spec})
		time.Sleep(20 * time.Second)
		if got := len(r.taken()); got != 2 {
			t.Fatalf("%d first runs, want 2", got)
		}
		time.Sleep(48 * time.Hour)
		offsets := make(map[string][]time.Duration)
		for _, result := range r.taken() {
			day := result.Started.UTC().Truncate(24 * time.Hour)
			offsets[result.Node] = append(offsets[result.Node], result.Started.Sub(day)-3*time.Hour-30*time.Minute)
		}
		x, y := offsets["x"], offsets["y"]
		if len(x) != 2 || len(y) != 2 || x[0] != x[1] || y[0] != y[1] || x[0] == y[0] {
			t.Errorf("x began %v after 3:30, y %v: want two starts each, the same on both days, and apart", x, y)
		}
		for _, d := range append(x, y...) {
			if d < 0 || d > specSpread {
				t.Errorf("began %s after 3:30", d)
			}
		}
	})
}

func TestRunnerDoesNotRunASpecAgainThatNeverComesTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec, err := cron.ParseStandard("0 0 30 2 *")
		if err != nil {
			t.Fatal(err)
		}
		r := runRunner(t, nodesNamed("x"), Probe{Kind: Login, Run: healthy, Schedule: spec},
			Probe{Kind: Roundtrip, Run: healthy, Schedule: cron.ConstantDelaySchedule{}})
		time.Sleep(time.Hour)
		if got := len(r.taken()); got != 1 {
			t.Errorf("%d runs in an hour, want the first alone", got)
		}
	})
}

//promise:3
func TestRunnerLetsASlowProbeHoldUpNoOtherNorRunTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, most atomic.Int64
		r := runRunner(t, nodesNamed("x"),
			Probe{Kind: Login, Run: healthy, Schedule: cron.Every(5 * time.Second)},
			Probe{Kind: MaybeStuck, Schedule: cron.Every(5 * time.Second), Run: func(ctx context.Context, n target.Node) Result {
				most.Store(max(most.Load(), slow.Add(1)))
				defer slow.Add(-1)
				return taking(18*time.Second)(ctx, n)
			}})
		for range 90 { // as impatient as can be, too
			time.Sleep(time.Second)
			r.RunNow("x", MaybeStuck)
			r.SetPace("x", PaceSuspect)
		}
		kinds := make(map[Kind]int)
		for _, result := range r.taken() {
			kinds[result.Kind]++
		}
		if most.Load() != 1 {
			t.Errorf("%d runs at once", most.Load())
		}
		if kinds[Login] != 18 || kinds[MaybeStuck] < 4 {
			t.Errorf("got %v, want 18 logins and the slow ones end to end", kinds)
		}
	})
}

func TestRunnerRunNowRunsAtOnceOrOnceMoreHoweverOftenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nodesNamed("x", "y"), Probe{Kind: Login, Run: healthy}, Probe{Kind: MaybeStuck, Run: taking(6 * time.Second)})
		time.Sleep(time.Hour)
		if got := r.taken(); len(got) != 0 {
			t.Fatalf("without schedule and demand there were runs: %v", got)
		}
		began := time.Now()
		r.RunNow("x", MaybeStuck)
		time.Sleep(time.Second)
		for range 5 {
			r.RunNow("x", MaybeStuck)
		}
		time.Sleep(time.Minute)
		got := r.taken()
		if len(got) != 2 || got[0].Started != began || got[1].Started != began.Add(6*time.Second) {
			t.Errorf("want one run at once and one six seconds later, got %v", got)
		}
		r.RunNow("y")
		if got := r.taken(); len(got) != 1 || got[0].Kind != Login || got[0].Node != "y" {
			t.Errorf("want a login of y at once, got %v", got)
		}
		time.Sleep(time.Minute)
		if got := r.taken(); len(got) != 1 || got[0].Kind != MaybeStuck || got[0].Node != "y" {
			t.Errorf("want its other kind to follow, got %v", got)
		}
		r.RunNow("nobody")
		r.RunNow("x", LogAge)
		time.Sleep(time.Minute)
		if got := r.taken(); len(got) != 0 {
			t.Errorf("for a name or kind that is not there it ran %v", got)
		}
	})
}

func TestRunnerSetPaceReplacesTheScheduleWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nodesNamed("x"), Probe{
			Kind: Login, Run: taking(12 * time.Second), Schedule: cron.Every(15 * time.Second),
			Suspect: 3 * time.Second, Confirmed: time.Minute,
		})
		steps := []struct {
			pace Pace
			gap  time.Duration // from start to start: interval and 12 s
		}{
			{PaceNormal, 15 * time.Second}, {PaceSuspect, 15 * time.Second}, {PaceConfirmed, 72 * time.Second}, {PaceNormal, 15 * time.Second},
		}
		for i, step := range steps {
			r.SetPace("x", step.pace)
			time.Sleep(2 * time.Minute) // what was under way or due
			r.taken()
			time.Sleep(10 * time.Minute)
			for _, gap := range gaps(r.taken()) {
				if gap != step.gap {
					t.Errorf("step %d: runs %s apart, want %s", i, gap, step.gap)
				}
			}
		}
	})
}

func TestRunnerSetPaceIsTakenUpBetweenTwoRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nodesNamed("x"),
			Probe{Kind: Login, Run: healthy, Schedule: cron.Every(time.Hour), Suspect: 5 * time.Second},
			Probe{Kind: MaybeStuck, Run: healthy, Suspect: 20 * time.Second},
			Probe{Kind: Roundtrip, Run: healthy, Schedule: cron.Every(time.Hour)})
		time.Sleep(time.Minute)
		first := r.taken()
		if len(first) != 2 {
			t.Fatalf("want the two first runs, got %v", first)
		}
		began := time.Now()
		r.SetPace("x", PaceSuspect)
		now := r.taken()
		if len(now) != 2 || now[0].Started != began || now[1].Started != began || slices.ContainsFunc(now, func(r Result) bool { return r.Kind == Roundtrip }) {
			t.Errorf("want a login, and the probe on demand, at once, got %v", now)
		}
		if late := r.Late(); late != 0 {
			t.Errorf("they count as %s late", late)
		}
		time.Sleep(2 * time.Second)
		r.SetPace("x", PaceSuspect) // changes nothing
		time.Sleep(4 * time.Second)
		if got := r.taken(); len(got) != 1 || got[0].Started != began.Add(5*time.Second) {
			t.Errorf("want one login after five seconds, got %v", got)
		}
		r.SetPace("x", PaceNormal)
		time.Sleep(20 * time.Minute)
		if got := r.taken(); len(got) != 0 {
			t.Errorf("back at the schedule it ran within 20 minutes: %v", got)
		}
		time.Sleep(80 * time.Minute)
		kinds := make(map[Kind]int)
		for _, result := range r.taken() {
			kinds[result.Kind]++
		}
		if kinds[Login] == 0 || kinds[Roundtrip] == 0 || kinds[MaybeStuck] != 0 {
			t.Errorf("back at the schedule it ran %v", kinds)
		}
	})
}
