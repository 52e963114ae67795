package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// What `make soak` sets.
var (
	soakRounds  = flag.Int("rounds", 1, "how many rounds TestSoak runs")
	soakFrom    = flag.Int("from", 1, "the number of its first round")
	soakSeed    = flag.Uint64("seed", 1, "what its rounds are drawn from: the same seed and number give the same round")
	soakWorkers = flag.Int("workers", 1, "how many rounds run at once")
	soakSuspend = flag.Bool("suspend", false, "suspend the process where a round has it: other tests would stop too")
)

// soakEnd is how a round ends.
type soakEnd string

const (
	soakCured     soakEnd = "cured"     // the node that only a restart cures was deleted, once, and accepts logins again
	soakUntouched soakEnd = "untouched" // nothing was deleted
	soakEither    soakEnd = "either"    // one of them: it is right to hold back, and not wrong to cure
)

// soakFault is a fault of one node, or of all.
type soakFault struct {
	name    string
	set     func(ctx context.Context, l *lab.Lab, node string) error
	curable bool    // by a restart, and by nothing else
	shared  bool    // it is everywhere
	beside  soakEnd // what a curable fault on another node comes to meanwhile
}

func soakFaults() []soakFault {
	return []soakFault{
		{"a wedged login", wedgeLogin, true, false, ""},
		{"wedged before it greets", wedgeStart, true, false, ""},
		{"frozen", freeze, true, false, ""},
		{"frozen, accept queue full", frozenFull, true, false, ""},
		{"wedged queues", wedgeQueues, true, false, ""},

		{"a stopped app", stopApp, false, false, soakUntouched},
		{"drained", drain, false, false, soakUntouched},
		{"a memory alarm", alarm, false, false, soakCured},
		{"a disk alarm", one((*lab.Lab).AlarmDisk), false, false, soakCured},
		{"a vhost that is down", vhostDown, false, false, soakEither},
		{"slow logins", slow(2400 * time.Millisecond), false, false, soakEither},
		{"very slow logins", slow(7 * time.Second), false, false, soakEither},
		{"a lost log", loseLog, false, false, soakEither},
		{"cut off", cutOff, false, false, soakUntouched},
		{"descriptors used up", one((*lab.Lab).FillDescriptors), false, false, soakUntouched},
		{"connection_max", one((*lab.Lab).FillConnections), false, false, soakUntouched},
		{"a closed listener", one((*lab.Lab).CloseListener), false, false, soakUntouched},
		{"a stuck channel", one((*lab.Lab).WedgeChannel), false, false, soakCured},
		{"a stuck queue", one((*lab.Lab).WedgeQueue), false, false, soakCured},
		{"a slow disk", slowDisk, false, false, soakEither},
		{"three of four logins hang", one((*lab.Lab).IntermittentLogin), false, false, soakEither},
		{"its backend out of reach", backend(false, lab.AuthBackend.Hang), false, false, soakUntouched},

		{"a wrong password", whole((*lab.Lab).ChangePassword), false, true, soakEither},
		{"no vhost", whole((*lab.Lab).DeleteVhost), false, true, soakEither},
		{"a limit of the vhost", whole((*lab.Lab).LimitConnections), false, true, soakEither},
		{"a limit of the user", whole((*lab.Lab).LimitUserConnections), false, true, soakEither},
		{"a backend that hangs", backend(true, lab.AuthBackend.Hang), false, true, soakUntouched},
		{"a slow backend", backend(true, slowBackend), false, true, soakUntouched},
		{"locked metadata", one((*lab.Lab).LockMetadata), false, true, soakEither},
		{"metadata without majority", whole((*lab.Lab).MetadataWithoutMajority), false, true, soakEither},

		// What passes by itself, before it can be proved.
		{"frozen for a moment", aMoment(freeze, (*lab.Lab).Thaw), false, false, soakEither},
		{"wedged, then its container restarts", aMoment(wedgeLogin, (*lab.Lab).RestartContainer), false, false, soakEither},
	}
}

// aMoment brings a fault about for four seconds.
func aMoment(set func(context.Context, *lab.Lab, string) error, end func(*lab.Lab, context.Context, string) error) func(context.Context, *lab.Lab, string) error {
	return func(ctx context.Context, l *lab.Lab, node string) error {
		if err := set(ctx, l, node); err != nil {
			return err
		}
		rest(ctx, 4*time.Second)
		return end(l, ctx, node)
	}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// soakPart is one fault of a round.
type soakPart struct {
	soakFault

	after time.Duration // the part before it
	node  string
}

// soakRound is one round, drawn from its number and the seed.
type soakRound struct {
	number int
	root   string // of the RabbitMQ, "" is the machine's own
	load   lab.LoadOptions
	parts  []soakPart
	want   soakEnd

	kill    time.Duration // after the last fault the daemon is killed, and another takes its place; 0: never
	jump    time.Duration // by which the clock of that one is ahead
	suspend time.Duration // for so long the daemon's host is suspended, a moment after the last fault; 0: it is not
	skew    time.Duration // by which Kubernetes' clock is ahead of the daemon's
}

// drawRound draws a round.
func drawRound(seed uint64, number int, roots []string) soakRound {
	random := rand.New(rand.NewPCG(seed, uint64(number))) //nolint:gosec // it must be repeatable
	pick := func(ok func(soakFault) bool) soakFault {
		some := slices.DeleteFunc(soakFaults(), func(f soakFault) bool { return !ok(f) })
		return some[random.IntN(len(some))]
	}
	seconds := func(least, most float64) time.Duration {
		return time.Duration((least + random.Float64()*(most-least)) * float64(time.Second))
	}
	names := slices.Clone(all)
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })

	r := soakRound{number: number, root: roots[random.IntN(len(roots))], want: soakUntouched}
	curable, other := func(f soakFault) bool { return f.curable }, func(f soakFault) bool { return !f.curable }
	first := soakPart{soakFault: pick(curable), after: seconds(0, 5), node: names[0]}
	switch kind := random.IntN(100); {
	case kind < 40: // what only a restart cures, alone
		r.parts, r.want = []soakPart{first}, soakCured
	case kind < 65: // what a restart does not cure
		first.soakFault = pick(other)
		r.parts = []soakPart{first}
	case kind < 85: // both, on two nodes, in either order
		second := soakPart{soakFault: pick(other), after: seconds(0, 5), node: names[1]}
		r.parts, r.want = []soakPart{first, second}, second.beside
		if random.IntN(2) == 0 || strings.HasPrefix(first.name, "frozen") { // some faults need the whole cluster's answer
			slices.Reverse(r.parts)
		}
	case kind < 95: // two nodes that each only a restart would cure, in the same way
		second := first
		second.node, second.after = names[1], seconds(0, 3)
		r.parts = []soakPart{first, second}
	default: // frozen on top of something else
		first.soakFault = pick(func(f soakFault) bool { return f.curable && !strings.HasPrefix(f.name, "frozen") })
		second := soakPart{soakFault: pick(func(f soakFault) bool { return f.name == "frozen" }), after: seconds(0, 10), node: names[0]}
		r.parts, r.want = []soakPart{first, second}, soakCured
	}

	r.load = lab.LoadOptions{Idle: 1 + random.IntN(40), Rate: 1 + 60*random.Float64()}
	for _, q := range lab.DefaultQueues(all) {
		// A queue that needs a node holds back the deletion of that node, and rightly: the table has that row.
		if random.IntN(3) > 0 && (q.Type != lab.QuorumQueue || q.Members == 3) {
			r.load.Queues = append(r.load.Queues, q)
		}
	}
	if r.load.Queues == nil {
		r.load.Queues = []lab.LoadQueue{}
	}
	if random.IntN(4) == 0 {
		r.kill = seconds(1, 25)
		r.jump = [...]time.Duration{0, -time.Hour, time.Hour}[random.IntN(3)]
	}
	if random.IntN(4) == 0 {
		r.suspend = seconds(3, 20).Truncate(100 * time.Millisecond)
	}
	r.skew = [...]time.Duration{0, 0, 0, -3 * time.Minute, 3 * time.Minute}[random.IntN(5)]
	return r
}

func (r soakRound) String() string {
	var b strings.Builder
	for i, p := range r.parts {
		if i > 0 {
			fmt.Fprintf(&b, ", %.1f s later ", p.after.Seconds())
		}
		b.WriteString(p.name)
		if !p.shared {
			b.WriteString(" on " + p.node)
		}
	}
	fmt.Fprintf(&b, "; load: %d idle, %d queues, %.0f/s", r.load.Idle, len(r.load.Queues), r.load.Rate)
	if r.kill > 0 {
		fmt.Fprintf(&b, "; killed after %.1f s", r.kill.Seconds())
	}
	if r.jump != 0 {
		fmt.Fprintf(&b, ", its clock jumps by %v", r.jump)
	}
	if r.suspend > 0 {
		fmt.Fprintf(&b, "; suspended for %.1f s", r.suspend.Seconds())
	}
	if r.skew != 0 {
		fmt.Fprintf(&b, "; Kubernetes' clock %v ahead", r.skew)
	}
	return b.String()
}

// broken says whether the round does to a node what only a restart cures.
func (r soakRound) broken(node string) bool {
	return slices.ContainsFunc(r.parts, func(p soakPart) bool { return p.curable && p.node == node })
}

// soakWorld is a lab as a daemon that can be killed sees it, whose clock is not Kubernetes' own.
type soakWorld struct {
	*lab.Lab

	skew time.Duration
	dead atomic.Bool
}

var errKilled = errors.New("the daemon was killed")

// View has what Kubernetes says at its own time.
func (w *soakWorld) View(ctx context.Context, broker string) (target.View, error) {
	v, err := w.Lab.View(ctx, broker)
	v.Nodes = slices.Clone(v.Nodes)
	for i, n := range v.Nodes {
		if !n.Started.IsZero() {
			v.Nodes[i].Started = n.Started.Add(w.skew)
		}
	}
	return v, err
}

// Delete does nothing for a daemon that is dead.
func (w *soakWorld) Delete(ctx context.Context, n target.Node, grace time.Duration) error {
	if w.dead.Load() {
		return errKilled
	}
	return w.Lab.Delete(ctx, n, grace)
}

// soakResult is what a round came to.
type soakResult struct {
	round       soakRound
	version     string
	impossible  string // why this RabbitMQ cannot have it
	end         soakEnd
	took        time.Duration // from the last fault until the cure was verified
	wrong, lost string        // a wrong deletion, a lost cure
	untrue      []string      // explanations
}

func (s soakResult) fault() string {
	return strings.Join(slices.DeleteFunc(append([]string{s.wrong, s.lost}, s.untrue...), func(s string) bool { return s == "" }), "; ")
}

// TestSoak runs rounds of random faults on random versions under random loads, at random times, while the daemon is killed,
// suspended and misled about the time; each has to end as it must. `make soak` runs many; beside other tests nothing is suspended.
//
//promise:15
func TestSoak(t *testing.T) {
	t.Parallel()
	roots := soakRoots(t)
	results := make([]soakResult, *soakRounds)
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range *soakWorkers {
		wg.Go(func() {
			for i := range numbers {
				number := *soakFrom + i
				t.Run(fmt.Sprintf("seed %d round %d", *soakSeed, number), func(t *testing.T) {
					results[i] = runSoakRound(t, drawRound(*soakSeed, number, roots))
				})
			}
		})
	}
	for i := range *soakRounds {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	t.Logf("\n%s", soakTable(results))
}

// soakRoots gives the trees of the RabbitMQs, "" for the machine's own, and in place of one that is not there: which of them a
// round draws does not depend on that.
func soakRoots(t *testing.T) []string {
	t.Helper()
	if root := os.Getenv("UNSTUCK_RABBITMQ_ROOT"); root != "" {
		return []string{root}
	}
	roots := []string{""}
	for _, series := range []string{"3.8", "4.0", "4.3"} { // the machine's own is 3.10
		root, err := filepath.Abs(filepath.Join(projectRoot, ".cache", "rabbitmq-"+series))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(root); err != nil {
			root = ""
		}
		roots = append(roots, root)
	}
	return roots
}

func runSoakRound(t *testing.T, r soakRound) soakResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	res := soakResult{round: r}
	l, err := lab.Start(ctx, lab.Options{HandshakeTimeout: tableHandshake, HTTPBackend: true, Root: r.root})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	v, err := l.Versions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	res.version = v.RabbitMQ
	t.Logf("RabbitMQ %s: %s", v.RabbitMQ, r)
	if _, err := l.Load(ctx, r.load); err != nil { // which ends with the lab
		t.Fatal(err)
	}
	s := &soak{t: t, round: r, lab: l, dir: t.TempDir()}
	s.start(ctx)
	defer func() { s.watch.stop() }()
	s.watch.until(ctx, "every node is healthy", func() bool { return s.watch.phases(decide.PhaseHealthy) == len(all) })

	before := l.Nodes()
	var broken time.Time
	for _, p := range r.parts {
		rest(ctx, p.after)
		err := p.set(ctx, l, p.node)
		if errors.Is(err, lab.ErrUnsupported) {
			res.impossible = err.Error()
			return res
		}
		if err != nil {
			t.Fatalf("bring about %s: %v", p.name, err)
		}
		broken = time.Now()
	}
	s.disturb(ctx)
	s.judge(ctx, &res, broken, before)
	s.watch.noSecrets()
	if fault := res.fault(); fault != "" {
		s.watch.explain()
		t.Errorf("round %d of seed %d, RabbitMQ %s, %s: %s", r.number, *soakSeed, v.RabbitMQ, r, fault)
	}
	return res
}

// soak is a round under way.
type soak struct {
	t     *testing.T
	round soakRound
	lab   *lab.Lab
	dir   string // the daemon's
	world *soakWorld
	watch *tableWatch
	past  []*tableWatch // daemons that were killed
}

func (s *soak) start(ctx context.Context) {
	s.world = &soakWorld{Lab: s.lab, skew: s.round.skew}
	s.watch = watchDir(ctx, s.t, s.lab, s.world, tableBroker(), s.dir, func(*App) {})
}

// disturb does to the daemon what the round has for it.
func (s *soak) disturb(ctx context.Context) {
	if s.round.suspend > 0 && *soakSuspend {
		rest(ctx, 2*time.Second)
		s.suspend()
	}
	if s.round.kill > 0 {
		rest(ctx, s.round.kill)
		s.kill(ctx)
	}
}

// suspend stops this whole process for a while, as when the host of a virtual machine does: the brokers go on.
func (s *soak) suspend() {
	began := time.Now()
	script := fmt.Sprintf("kill -STOP %d; sleep %.1f; kill -CONT %[1]d", os.Getpid(), s.round.suspend.Seconds())
	attr := &os.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}}
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, attr)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		s.t.Error(err)
	}
	if took := time.Since(began); took < s.round.suspend {
		s.t.Errorf("suspended for %v only", took)
	}
}

// kill ends the daemon between two instructions, and starts another with what was on its disk at that moment; by whose clock
// all of that may have been written in the future, or long ago.
func (s *soak) kill(ctx context.Context) {
	s.world.dead.Store(true)
	next := s.t.TempDir()
	if err := copyShifted(s.dir, next, -s.round.jump); err != nil {
		s.t.Fatal(err)
	}
	s.watch.stop()
	s.past = append(s.past, s.watch)
	s.dir = next
	s.start(ctx)
}

var stamp = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"`)

// copyShifted copies a daemon's directory with every time in it moved.
func copyShifted(from, to string, by time.Duration) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // a file that was there for a moment
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		moved := stamp.ReplaceAllFunc(text, func(old []byte) []byte {
			at, err := time.Parse(time.RFC3339Nano, strings.Trim(string(old), `"`))
			if err != nil || at.IsZero() {
				return old
			}
			return []byte(`"` + at.Add(by).Format(time.RFC3339Nano) + `"`)
		})
		return os.WriteFile(filepath.Join(to, name), moved, 0o600)
	})
}

// soakPatience is how long a cure may take, and what a round waits that must end without one: three times what a
// deletion takes.
const (
	soakPatience = 4 * time.Minute
	soakHolding  = 45 * time.Second
)

// judge waits for the end of a round and says what is wrong with it.
func (s *soak) judge(ctx context.Context, res *soakResult, broken time.Time, before []target.Node) {
	uids := func() (changed []string) {
		for i, n := range s.lab.Nodes() {
			if n.UID != before[i].UID {
				changed = append(changed, n.Name)
			}
		}
		return changed
	}
	wait := soakHolding
	if s.round.want == soakCured {
		wait = soakPatience
	}
	s.watch.during(ctx, wait, s.recovered)
	deleted := s.lab.Deletions()
	res.end = soakUntouched
	if len(deleted) > 0 {
		res.end = soakCured
		s.watch.during(ctx, soakPatience, s.recovered)
		res.took = time.Since(broken)
		if !s.watch.holds(s.recovered) {
			res.lost = fmt.Sprintf("deleted %v, and it did not recover: %+v", deleted, s.watch.snap.Deletions)
		}
	}
	for _, d := range deleted {
		switch {
		case s.round.want == soakUntouched:
			res.wrong = fmt.Sprintf("deleted %s, and nothing was to be deleted", d.Node)
		case !s.round.broken(d.Node):
			res.wrong = fmt.Sprintf("deleted %s, which a restart does not cure", d.Node)
		case len(deleted) > 1:
			res.wrong = fmt.Sprintf("deleted %d times: %v", len(deleted), deleted)
		}
	}
	if got := uids(); len(got) > len(deleted) {
		res.wrong = fmt.Sprintf("%v are new, and %d were deleted", got, len(deleted))
	}
	if s.round.want == soakCured && len(deleted) == 0 {
		res.lost = "nothing was deleted"
	}
	res.untrue = s.untrue(len(deleted) > 0)
}

// recovered says whether the latest deletion has helped, as the present daemon knows it.
func (s *soak) recovered() bool {
	deletions := s.watch.snap.Deletions
	return len(deletions) > 0 && deletions[len(deletions)-1].Outcome == decide.Recovered
}

// untrue gives what the daemon says that is not so.
func (s *soak) untrue(deleted bool) (wrong []string) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	for _, w := range append(slices.Clone(s.past), s.watch) {
		for node, why := range w.confirmed {
			if !s.round.broken(node) {
				wrong = append(wrong, fmt.Sprintf("it confirmed %s, which is not stuck: %s", node, why))
			}
		}
	}
	for _, n := range s.watch.snap.Nodes {
		d := n.Decision
		if d.Reason == "" {
			wrong = append(wrong, n.Name+" is "+string(d.Phase)+" without a reason")
		}
		if d.Phase == decide.PhaseConfirmed && !deleted && len(d.Closed()) == 0 {
			wrong = append(wrong, n.Name+" is confirmed and not deleted, and no guard says why: "+d.Reason)
		}
	}
	return wrong
}

// soakTable is the end of it, for docs/performance.md.
func soakTable(results []soakResult) string {
	var ran, cured, untouched, wrong, lost, untrue, impossible int
	var took []time.Duration
	versions := map[string]int{}
	for _, r := range results {
		if r.end == "" {
			impossible++
			continue
		}
		ran++
		versions[r.version]++
		if r.wrong != "" {
			wrong++
		}
		if r.lost != "" {
			lost++
		}
		untrue += len(r.untrue)
		if r.end == soakCured {
			cured++
			if r.round.kill == 0 && r.round.suspend == 0 { // else it has to begin anew
				took = append(took, r.took)
			}
		} else {
			untouched++
		}
	}
	slices.Sort(took)
	quantile := func(q float64) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return took[min(int(q*float64(len(took))), len(took)-1)].Round(100 * time.Millisecond)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, rounds %d to %d, on %v\n\n", *soakSeed, *soakFrom, *soakFrom+len(results)-1, versions)
	fmt.Fprintf(&b, "| rounds | not possible | cured | untouched | wrong deletions | lost cures | false explanations | time to cure, median | p95 |\n|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %d | %d | %v | %v |\n", ran, impossible, cured, untouched, wrong, lost, untrue, quantile(0.5), quantile(0.95))
	fmt.Fprintf(&b, "\ntimes to cure, of rounds without a kill or a suspension: %v\n", took) // pieces add up
	return b.String()
}
