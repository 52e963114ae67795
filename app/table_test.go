package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// tableRow is a row of the table of faults: how to bring it about on a real broker, what the probes must say, and
// whether the node must be deleted.
type tableRow struct {
	name    string
	spoil   func(ctx context.Context, l *lab.Lab, node string) error
	kind    probe.Kind   // the probe that tells
	reason  probe.Reason // what it must say
	stage   probe.Stage
	nodes   int // on how many nodes it shows: 1 (rabbit-1), or all of them
	deleted bool
	check   func(t *testing.T, w *tableWatch) // more to look at, if not nil
	look    probe.Reason                      // what a look at the processes of rabbit-1 must say besides; "": nothing
}

const everywhere = 3

// on makes a fault of every node from a fault of one.
func on(nodes []string, f func(context.Context, *lab.Lab, string) error) func(context.Context, *lab.Lab, string) error {
	return func(ctx context.Context, l *lab.Lab, _ string) error {
		for _, n := range nodes {
			if err := f(ctx, l, n); err != nil {
				return err
			}
		}
		return nil
	}
}

// one adapts a fault of one node, whole a fault of the whole broker.
func one(f func(*lab.Lab, context.Context, string) error) func(context.Context, *lab.Lab, string) error {
	return func(ctx context.Context, l *lab.Lab, node string) error { return f(l, ctx, node) }
}

func whole(f func(*lab.Lab, context.Context) error) func(context.Context, *lab.Lab, string) error {
	return func(ctx context.Context, l *lab.Lab, _ string) error { return f(l, ctx) }
}

func slow(by time.Duration) func(context.Context, *lab.Lab, string) error {
	return func(ctx context.Context, l *lab.Lab, node string) error { return l.SlowLogin(ctx, node, by) }
}

func frozenFull(ctx context.Context, l *lab.Lab, node string) error {
	if err := l.Freeze(ctx, node); err != nil {
		return err
	}
	return l.FillAcceptQueue(ctx, node)
}

var (
	all = []string{"rabbit-0", "rabbit-1", "rabbit-2"}
	two = []string{"rabbit-1", "rabbit-2"}

	wedgeLogin, wedgeStart  = one((*lab.Lab).WedgeLogin), one((*lab.Lab).WedgeStart)
	wedgeQueues, freeze     = one((*lab.Lab).WedgeQueues), one((*lab.Lab).Freeze)
	stopApp, drain, restart = one((*lab.Lab).StopApp), one((*lab.Lab).Drain), one((*lab.Lab).Restart)
	alarm, vhostDown        = one((*lab.Lab).AlarmMemory), one((*lab.Lab).VhostDown)
	loseLog, cutOff         = one((*lab.Lab).LoseLog), one((*lab.Lab).CutOff)
)

// tableRows is the table. The brokers' handshake_timeout is two seconds, so that of our own deadlines is three.
func tableRows() []tableRow {
	return []tableRow{
		// Only a restart cures these.
		{"a wedged login", wedgeLogin, probe.Login, probe.AwaitTune, probe.StageTune, 1, true, nil, probe.ProcessesStuck},
		{"wedged before it greets", wedgeStart, probe.Login, probe.AwaitStart, probe.StageStart, 1, true, nil, ""},
		{"a frozen process", freeze, probe.Login, probe.AwaitStart, probe.StageStart, 1, true, nil, probe.ToolsUnresponsive},
		{"a frozen process with a full accept queue", frozenFull, probe.Login, probe.Unreachable, probe.StageTCP, 1, true, nil, ""},
		{"wedged queues", wedgeQueues, probe.Roundtrip, probe.AwaitDeclare, probe.StageDeclare, 1, true, nil, ""},

		// A restart would not cure these, or nobody can tell.
		{"locked metadata", one((*lab.Lab).LockMetadata), probe.Roundtrip, probe.AwaitDeclare, probe.StageDeclare, everywhere, false, blamesTheHolder, probe.MetadataAwaited},
		{"metadata without majority", whole((*lab.Lab).MetadataWithoutMajority), probe.Roundtrip, probe.AwaitDeclare, probe.StageDeclare, everywhere, false, nil, probe.MetadataAwaited},
		{"a stopped app", stopApp, probe.Login, probe.Refused, probe.StageTCP, 1, false, nil, ""},
		{"a drained node", drain, probe.Login, probe.Refused, probe.StageTCP, 1, false, nil, ""},
		{"a node that boots", restart, probe.Login, probe.OK, probe.StageClose, 1, false, nil, ""},
		{"a wrong password", whole((*lab.Lab).ChangePassword), probe.Login, probe.AccessRefused, probe.StageTune, everywhere, false, nil, ""},
		{"a missing vhost", whole((*lab.Lab).DeleteVhost), probe.Login, probe.NotAllowed, probe.StageOpen, everywhere, false, nil, ""},
		{"a vhost that is down", vhostDown, probe.Login, probe.VhostDown, probe.StageOpen, 1, false, nil, ""},
		{"a connection limit", whole((*lab.Lab).LimitConnections), probe.Login, probe.NotAllowed, probe.StageOpen, everywhere, false, nil, ""},
		{"a memory alarm", alarm, probe.Roundtrip, probe.Blocked, probe.StagePublish, everywhere, false, nil, ""},
		{"a slow node", slow(2400 * time.Millisecond), probe.Login, probe.Slow, probe.StageOpen, 1, false, nil, ""},
		{"a node slower than our deadline", slow(7 * time.Second), probe.Login, probe.AwaitTune, probe.StageTune, 1, false, nil, ""},
		{"a log that is not read any more", loseLog, probe.LogAge, probe.LogSilent, probe.StageNone, 1, false, nil, ""},
		{"a network that is cut", cutOff, probe.Login, probe.Unreachable, probe.StageTCP, 1, false, nil, ""},
		{"a network that is cut to all", on(all, cutOff), probe.Login, probe.Unreachable, probe.StageTCP, everywhere, false, nil, ""},

		// What a restart would cure on one node is not to be done to several.
		{"two wedged logins", on(two, wedgeLogin), probe.Login, probe.AwaitTune, probe.StageTune, 2, false, nil, ""},
		{"all logins wedged", on(all, wedgeLogin), probe.Login, probe.AwaitTune, probe.StageTune, everywhere, false, nil, ""},
		{"all wedged before they greet", on(all, wedgeStart), probe.Login, probe.AwaitStart, probe.StageStart, everywhere, false, nil, ""},
		{"all frozen", on(all, freeze), probe.Login, probe.AwaitStart, probe.StageStart, everywhere, false, nil, ""},
		{"all queues wedged", on(all, wedgeQueues), probe.Roundtrip, probe.AwaitDeclare, probe.StageDeclare, everywhere, false, nil, ""},
	}
}

// tableHandshake is the brokers' handshake_timeout.
const tableHandshake = 2 * time.Second

func tableBroker() config.Broker {
	b := config.DefaultBroker()
	b.Name, b.HandshakeTimeout = "lab", tableHandshake
	p := &b.Probes
	p.Login.Every, p.Login.Timeout = config.Every(time.Second), 3*time.Second
	p.Login.WhileSuspect, p.Login.WhileConfirmed = time.Second, 2*time.Second
	p.Roundtrip.Every, p.Roundtrip.Timeout = config.Every(3*time.Second), 5*time.Second
	p.Log.Every, p.Log.MaxAge = config.Every(2*time.Second), 3*time.Second
	b.Policy.Mode = decide.Remediate
	b.Policy.MinDuration, b.Policy.RecheckAfter = 6*time.Second, 6*time.Second
	b.Policy.ResultTTL, b.Policy.EvidenceTTL = 40*time.Second, 2*time.Minute
	b.Policy.StartupGracePeriod, b.Policy.Cooldown, b.Policy.StormCooldown = time.Second, time.Second, time.Second
	b.Policy.RecoveryTimeout, b.Policy.GracePeriod = 2*time.Minute, 3*time.Second
	return b
}

// tableLabs are real brokers that the rows share, each row having one for itself.
type tableLabs chan *lab.Lab

func startLabs(t testing.TB, count int, o lab.Options) tableLabs {
	t.Helper()
	labs := make(tableLabs, count)
	for range count {
		l, err := lab.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		labs <- l
	}
	return labs
}

// loadedLab is a lab with a load, which is light: there are three of them on two cores.
type loadedLab struct {
	*lab.Lab
	load *lab.Load
}

func startLoadedLabs(t testing.TB, count int, o lab.Options) chan loadedLab {
	t.Helper()
	labs := startLabs(t, count, o)
	loaded := make(chan loadedLab, count)
	for range count {
		l := <-labs
		// rabbit-1, which the rows break, has no queue of one or two members: while its tools answer, the guard quorum-critical
		// would hold its deletion back for those, and rightly.
		queues := slices.DeleteFunc(lab.DefaultQueues(l.Names()), func(q lab.LoadQueue) bool {
			return q.Type == lab.QuorumQueue && q.Members < 3 && (q.Node == "rabbit-1" || q.Members == 2)
		})
		load, err := l.Load(t.Context(), lab.LoadOptions{Idle: 15, Rate: 20, Queues: queues})
		if err != nil {
			t.Fatal(err)
		}
		if left := load.LeftOut(); len(left) > 0 {
			t.Logf("this RabbitMQ cannot have %v", left)
		}
		loaded <- loadedLab{l, load} // which ends with the lab
	}
	return loaded
}

// restore makes the broker healthy again, and its load what it was.
func (l loadedLab) restore(t testing.TB) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := errors.Join(l.Reset(ctx), l.load.Settle(ctx)); err != nil {
		t.Errorf("make the broker healthy again: %v", err)
	}
}

//promise:10
//promise:14
func TestTableHoldsInEveryRow(t *testing.T) {
	t.Parallel()
	labs := startLoadedLabs(t, 3, lab.Options{
		HandshakeTimeout: tableHandshake, HTTPBackend: true, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT"),
	})
	first := <-labs
	column := newSupportedColumn(t, first.Lab)
	labs <- first
	ok := t.Run("rows", func(t *testing.T) {
		for _, row := range everyRow() {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				l := <-labs
				defer func() { labs <- l }()
				defer l.restore(t)
				b := tableBroker()
				if row.broker != nil {
					row.broker(&b)
				}
				if err := row.run(t, l.Lab, b); err != nil {
					t.Log(err)
					column.cannot(row.tableRow, err)
				} else if !t.Failed() {
					column.held(row.tableRow)
				}
			})
		}
	})
	if ok {
		column.compare(t, rowNames())
	}
}

// everyRow gives all rows of the table: the first ones were the table of empty brokers.
func everyRow() []loadedRow {
	var rows []loadedRow
	for _, row := range tableRows() {
		rows = append(rows, loadedRow{row, nil})
	}
	return append(rows, loadedRows()...)
}

func rowNames() []string {
	var names []string
	for _, row := range everyRow() {
		names = append(names, row.name)
	}
	return names
}

// TestTableTellsAWedgedNodeFromASlowOneByTheDefaults takes no short cuts but one: the nodes need not be five minutes old.
//
//promise:2
//promise:16
func TestTableTellsAWedgedNodeFromASlowOneByTheDefaults(t *testing.T) {
	t.Parallel()
	l := <-startLabs(t, 1, lab.Options{Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	for _, row := range []tableRow{
		{"a slow node", slow(11 * time.Second), probe.Login, probe.Slow, probe.StageOpen, 1, false, nil, ""},
		{"a wedged login", wedgeLogin, probe.Login, probe.AwaitTune, probe.StageTune, 1, true, nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := errors.Join(row.run(t, l, defaultsBroker()), l.Reset(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

func defaultsBroker() config.Broker {
	b := config.DefaultBroker()
	b.Name, b.Policy.Mode, b.Policy.StartupGracePeriod = "lab", decide.Remediate, time.Second
	return b
}

// run brings the row about and holds what follows against it. It gives lab.ErrUnsupported if this RabbitMQ cannot have it.
func (row tableRow) run(t *testing.T, l *lab.Lab, b config.Broker) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	w := watchLab(ctx, t, l, b)
	defer w.stop()
	w.until(ctx, "every node is healthy", func() bool { return w.phases(decide.PhaseHealthy) == len(all) })
	before, deletions := l.Nodes(), len(l.Deletions())

	const node = "rabbit-1"
	err := row.spoil(ctx, l, node)
	if errors.Is(err, lab.ErrUnsupported) {
		return err
	}
	if err != nil {
		t.Fatal(err)
	}
	broken := time.Now()
	w.until(ctx, fmt.Sprintf("%s says %s on %d nodes", row.kind, row.reason, row.nodes), func() bool {
		return w.seen(row.kind, row.reason, row.stage, broken, 1) >= row.nodes
	})
	if !row.deleted {
		// Long enough for it to be deleted, were it to be: more results than are needed, and more than the time.
		w.until(ctx, "it has been seen often and long enough to be deleted", func() bool {
			return w.seen(row.kind, row.reason, row.stage, broken, b.Policy.FailureThreshold+1) >= row.nodes &&
				time.Since(broken) > max(b.Policy.MinDuration*2, b.Policy.RecheckAfter+12*time.Second) // two looks of 6 s each
		})
	} else {
		w.until(ctx, "the deletion has helped", func() bool { return w.outcome() == decide.Recovered })
	}
	if row.look != "" {
		w.looksSay(t, row.look)
	}
	if row.check != nil {
		row.check(t, w)
	}
	got := l.Deletions()[deletions:]
	switch {
	case !row.deleted && len(got) > 0:
		t.Errorf("deleted %+v: a restart would not have cured that", got)
	case row.deleted && (len(got) != 1 || got[0].Node != node || got[0].UID != before[1].UID):
		t.Errorf("deleted %+v, want %s (%s) once", got, node, before[1].UID)
	}
	w.noSecrets()
	for i, n := range l.Nodes() {
		if changed := n.UID != before[i].UID; changed != (row.deleted && n.Name == node) {
			t.Errorf("the UID of %s was %s and is %s", n.Name, before[i].UID, n.UID)
		}
	}
	return nil
}

// blamesTheHolder wants an incident that names the node that holds the lock.
func blamesTheHolder(t *testing.T, w *tableWatch) {
	t.Helper()
	var incidents []store.Incident
	w.until(t.Context(), "there is an incident", func() (there bool) {
		var err error
		incidents, err = w.daemon.store.Incidents(t.Context())
		return err == nil && len(incidents) > 0
	})
	for _, c := range incidents {
		if !strings.HasPrefix(c.LockHolder, "rabbit-1@") || strings.ContainsAny(c.LockHolder, "\n ,") {
			t.Errorf("the incident of %s blames %q, and misses %q; want rabbit-1, which holds the lock, and no other", c.Node, c.LockHolder, c.Missing)
		}
	}
}

// tableWatch is a daemon that watches a lab, and all that it has found.
type tableWatch struct {
	t      testing.TB
	lab    *lab.Lab
	daemon *App
	stop   func()
	api    listeners
	log    safeBuffer // everything, at level debug

	mu        sync.Mutex
	changed   chan struct{}
	results   []probe.Result
	snap      remediate.Snapshot
	deletions []decide.Deletion // as they are settled
	// confirmed are the nodes that were ever confirmed as stuck, and the reason that was given.
	confirmed map[string]string
	acted     []time.Time
}

func watchLab(ctx context.Context, t testing.TB, l *lab.Lab, b config.Broker) *tableWatch {
	t.Helper()
	return watchWorld(ctx, t, l, l, b, func(*App) {})
}

// watchWorld has the daemon see the lab as world shows it. Before it runs it is prepared.
func watchWorld(ctx context.Context, t testing.TB, l *lab.Lab, world remediate.World, b config.Broker, prepare func(*App)) *tableWatch {
	t.Helper()
	return watchDir(ctx, t, l, world, b, t.TempDir(), prepare)
}

// watchDir has it keep its files in a directory.
func watchDir(ctx context.Context, t testing.TB, l *lab.Lab, world remediate.World, b config.Broker, files string, prepare func(*App)) *tableWatch {
	t.Helper()
	dir, err := store.NewDir(files)
	if err != nil {
		t.Fatal(err)
	}
	w := &tableWatch{t: t, lab: l, changed: make(chan struct{}), confirmed: make(map[string]string)}
	w.daemon = newApp(store.New(dir), slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	w.daemon.observer = w
	credentials := func(context.Context) (target.Credentials, error) {
		user, password := l.Credentials()
		return target.Credentials{Username: user, Password: password}, nil
	}
	w.daemon.watch(b, Supplier{World: world, Exec: askedOnce{l}, Logs: l, Credentials: credentials})
	prepare(w.daemon)
	where, err := listen(ctx, config.Listen{Metrics: "127.0.0.1:0", API: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	w.daemon.listeners = where
	w.api = where
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.daemon.run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

// askedOnce is an Execer of a lab that asks each node for its handshake_timeout once, though many daemons ask one after
// the other: a question takes a second of CPU, and it is always the same answer.
type askedOnce struct{ *lab.Lab }

var handshakes sync.Map // by UID of a node: what it said

func (x askedOnce) Exec(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	if !strings.Contains(strings.Join(argv, " "), "get_env(rabbit, handshake_timeout)") {
		return x.Lab.Exec(ctx, n, argv, stdout, stderr)
	}
	if said, ok := handshakes.Load(n.UID); ok {
		_, err := io.WriteString(stdout, said.(string))
		return 0, err
	}
	var said strings.Builder
	exit, err := x.Lab.Exec(ctx, n, argv, io.MultiWriter(stdout, &said), stderr)
	if err == nil && exit == 0 {
		handshakes.Store(n.UID, said.String())
	}
	return exit, err
}

// noSecrets renders all that the daemon shows of this row, and looks for the password in it.
func (w *tableWatch) noSecrets() {
	w.t.Helper()
	incidents, err := w.daemon.store.Incidents(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	shown := map[string]string{"the log": w.log.String(), "the snapshots": fmt.Sprintf("%+v", w.daemon.snapshots())}
	pages := map[string]net.Listener{"/metrics": w.api.metrics, "/readyz": w.api.metrics, "/api/v1/targets": w.api.api, "/api/v1/targets/lab": w.api.api, "/api/v1/incidents": w.api.api}
	for _, n := range all {
		pages["/api/v1/targets/lab/nodes/"+n] = w.api.api
	}
	for _, c := range incidents {
		pages["/api/v1/incidents/"+c.ID] = w.api.api
	}
	for path, l := range pages {
		res, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK || len(body) == 0 {
			w.t.Errorf("%s: %s with %d bytes: %v", path, res.Status, len(body), err)
		}
		shown[path] = string(body)
	}
	_, password := w.lab.Credentials()
	for what, text := range shown {
		if strings.Contains(text, password) {
			w.t.Errorf("the password is in %s", what)
		}
	}
}

// safeBuffer is a buffer that may be written and read by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (w *tableWatch) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *tableWatch) ProbeDone(r probe.Result) { w.note(func() { w.results = append(w.results, r) }) }

func (w *tableWatch) Reconciled(s remediate.Snapshot) {
	w.note(func() {
		w.snap = s
		for _, n := range s.Nodes {
			if n.Decision.Phase == decide.PhaseConfirmed {
				w.confirmed[n.Name] = n.Decision.Reason
			}
		}
	})
}

func (w *tableWatch) Deleted(decide.Deletion) {
	w.note(func() { w.acted = append(w.acted, time.Now()) })
}

func (w *tableWatch) Settled(a decide.Deletion) {
	w.note(func() { w.deletions = append(w.deletions, a) })
}

// until waits until done says so, and fails the test with all that is known if it does not before ctx ends.
func (w *tableWatch) until(ctx context.Context, what string, done func() bool) {
	w.t.Helper()
	if !w.wait(ctx, done) {
		w.explain()
		w.t.Fatalf("waited in vain until %s", what)
	}
}

// during waits until done says so, but no longer than d.
func (w *tableWatch) during(ctx context.Context, d time.Duration, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	w.wait(ctx, done)
}

// wait waits until done says so; it is false if ctx ended before.
func (w *tableWatch) wait(ctx context.Context, done func() bool) bool {
	for {
		w.mu.Lock()
		ok, changed := done(), w.changed
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// holds says whether something is so of what has been found.
func (w *tableWatch) holds(so func() bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return so()
}

// explain logs all that is known.
func (w *tableWatch) explain() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.snap.Nodes {
		w.t.Logf("%s is %s: %s", n.Name, n.Decision.Phase, n.Decision.Reason)
		for _, g := range n.Decision.Guards {
			if !g.Open {
				w.t.Logf("%s: %s is closed: %s", n.Name, g.Guard, g.Why)
			}
		}
	}
	for i, r := range w.results {
		if r.Kind != probe.MaybeStuck && i < len(w.results)-40 { // the looks are few, and tell the most
			continue
		}
		w.t.Logf("%s %s %s: %s in stage %s after %s: %s", r.Started.Format("05.000"), r.Node, r.Kind, r.Reason, r.Stage, r.Took, r.Detail)
	}
	for _, n := range w.lab.Nodes() {
		lines, err := w.lab.LastLines(context.WithoutCancel(w.t.Context()), n, 15)
		if err != nil {
			w.t.Log(err)
		}
		for _, l := range lines {
			w.t.Logf("%s | %s %s", n.Name, l.At.Format("05.000"), l.Text)
		}
	}
}

func (w *tableWatch) phases(p decide.Phase) int {
	count := 0
	for _, n := range w.snap.Nodes {
		if n.Decision.Phase == p {
			count++
		}
	}
	return count
}

// seen counts the nodes of which a probe has said so at least so often since.
func (w *tableWatch) seen(kind probe.Kind, reason probe.Reason, stage probe.Stage, since time.Time, often int) int {
	times := map[string]int{}
	for _, r := range w.results {
		if r.Kind == kind && r.Reason == reason && r.Stage == stage && r.Started.After(since) {
			times[r.Node]++
		}
	}
	nodes := 0
	for _, n := range times {
		if n >= often {
			nodes++
		}
	}
	return nodes
}

func (w *tableWatch) outcome() decide.Outcome {
	if len(w.deletions) == 0 {
		return decide.Pending
	}
	return slices.MaxFunc(w.deletions, func(a, b decide.Deletion) int { return a.Settled.Compare(b.Settled) }).Outcome
}
