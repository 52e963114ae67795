package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// comparedFaults are the rows of the table of faults in which other people's checks are asked too: each fault of the
// lab that lasts, on one node or on the whole broker. promisedFaults are those of which more is said than the table says.
var (
	comparedFaults = []string{
		"a wedged login", "wedged before it greets", "a frozen process", "a frozen process with a full accept queue",
		"wedged queues", "locked metadata",
		"a stopped app", "a drained node", "a vhost that is down", "a missing vhost", "a wrong password", "a connection limit",
		"a memory alarm", "a slow node", "a network that is cut",
	}
	promisedFaults = []string{"a wedged login", "a wrong password", "wedged queues"}
)

const (
	nothing    = "nothing" // is wrong
	comparedOn = "rabbit-1"
)

// seen is what everybody sees of one node in one condition.
type seen struct {
	row           tableRow
	official      []lab.Check
	blackbox      map[string]bool // module to probe_success
	finding       probe.Result    // of Unstuck's login or round trip
	corroboration probe.Result    // of its maybe_stuck, which is asked only if the finding is not clear; Reason "" if it was not
}

// TestChecksOfOthersAndUnstuckSeeOfEachFaultWhatThePagesSay brings about one fault after the other on a real broker, and asks
// three parties about the node: RabbitMQ's own health checks, a real blackbox_exporter, and Unstuck's probes as the daemon
// has them. What they say stands in docs/checks.md and, shorter, in the README; -update writes both. Each fault takes the
// tools half a minute: without -update or -matrix only a few are looked at.
//
//promise:46
func TestChecksOfOthersAndUnstuckSeeOfEachFaultWhatThePagesSay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	began := time.Now()
	root := os.Getenv("UNSTUCK_RABBITMQ_ROOT")
	c := newComparison(t, <-startLabs(t, 1, lab.Options{HandshakeTimeout: tableHandshake, Root: root}))
	all := []seen{c.measure(ctx, tableRow{
		name: nothing, spoil: func(context.Context, *lab.Lab, string) error { return nil },
		kind: probe.Roundtrip, reason: probe.OK, nodes: everywhere,
	})}
	faults, every := promisedFaults, *update || *matrix
	if every {
		faults = comparedFaults
	}
	for _, fault := range faults {
		rows := tableRows()
		i := slices.IndexFunc(rows, func(r tableRow) bool { return r.name == fault })
		if i < 0 {
			t.Fatalf("the table of faults has no row %q", fault)
		}
		all = append(all, c.measure(ctx, rows[i]))
		t.Logf("%5.1f s: %s", time.Since(began).Seconds(), fault)
	}
	t.Logf("\n%s", wholeTable(all))
	holdPromises(t, all)
	if every && root == "" {
		generated(t, checksDoc, wholeTable(all))
		generated(t, projectRoot+"/README.md", shortTable(all))
		return
	}
	for _, s := range all { // not all rows, or another release, of which the page has the rows that differ
		if !strings.Contains(c.documented, s.line()) {
			t.Errorf("%s does not have: %s", checksDoc, s.line())
		}
	}
}

// holdPromises looks at what is said of these tables in words, which -update would not notice.
func holdPromises(t *testing.T, all []seen) {
	t.Helper()
	for _, want := range []struct {
		fault    string
		blackbox map[string]bool
		status   probe.Status
	}{
		{nothing, map[string]bool{"tcp": true, "amqp_greeting": true, "amqp_login": true}, probe.Healthy},
		{"a wedged login", map[string]bool{"tcp": true, "amqp_greeting": true, "amqp_login": false}, probe.Stuck},
		{"a wrong password", map[string]bool{"tcp": true, "amqp_greeting": true, "amqp_login": false}, probe.Faulty},
		{"wedged queues", map[string]bool{"tcp": true, "amqp_greeting": true, "amqp_login": true}, probe.Stuck},
	} {
		i := slices.IndexFunc(all, func(s seen) bool { return s.row.name == want.fault })
		if i < 0 {
			t.Errorf("%s was not measured", want.fault)
			continue
		}
		s := all[i]
		if red := s.red(); len(red) > 0 {
			t.Errorf("%s: the official checks %q are red", want.fault, red)
		}
		if diff := cmp.Diff(want.blackbox, s.blackbox); diff != "" {
			t.Errorf("%s: blackbox_exporter (-want +got):\n%s", want.fault, diff)
		}
		if s.status() != want.status {
			t.Errorf("%s: Unstuck says %s, want %s", want.fault, s.status(), want.status)
		}
	}
}

// comparison asks everybody about the nodes of one lab.
type comparison struct {
	t          *testing.T
	lab        *lab.Lab
	exporter   string // the URL of blackbox_exporter
	probes     map[probe.Kind]func(context.Context, target.Node) probe.Result
	documented string
}

func newComparison(t *testing.T, l *lab.Lab) *comparison {
	t.Helper()
	c := &comparison{
		t: t, lab: l, exporter: startBlackbox(t, l), documented: readText(t, checksDoc),
		probes: make(map[probe.Kind]func(context.Context, target.Node) probe.Result),
	}
	credentials := func(context.Context) (target.Credentials, error) {
		user, password := l.Credentials()
		return target.Credentials{Username: user, Password: password}, nil
	}
	w := &watched{logins: make(map[string]goodLogin), hinted: make(map[string]time.Time), runner: probe.NewRunner(probe.RunnerOptions{})}
	probes := w.probes(tableBroker(), Supplier{World: l, Exec: l, Logs: l, Credentials: credentials}, slog.New(slog.DiscardHandler))
	for _, p := range probes {
		c.probes[p.Kind] = p.Run
	}
	return c
}

// measure brings a fault about, asks everybody, and cures it. Where the answers are not those of the page it does so again,
// twice: a machine that is busy makes checks time out that are green otherwise, and some faults pass while it is.
func (c *comparison) measure(ctx context.Context, row tableRow) seen {
	c.t.Helper()
	const attempts = 3
	for attempt := 1; ; attempt++ {
		s := c.once(ctx, row)
		s.explain(c.t)
		if strings.Contains(c.documented, s.line()) || attempt == attempts || *update {
			return s
		}
		c.t.Logf("once more, for %s does not say: %s", checksDoc, s.line())
	}
}

func (c *comparison) once(ctx context.Context, row tableRow) seen {
	c.t.Helper()
	defer func() {
		if err := c.lab.Reset(context.WithoutCancel(ctx)); err != nil {
			c.t.Fatalf("%s: make the broker healthy again: %v", row.name, err)
		}
	}()
	if err := row.spoil(ctx, c.lab, comparedOn); err != nil {
		c.t.Fatalf("bring about %s: %v", row.name, err)
	}
	return c.look(ctx, row)
}

// look asks everybody once, as soon as Unstuck sees what it must see.
func (c *comparison) look(ctx context.Context, row tableRow) seen {
	s := seen{row: row, finding: c.await(ctx, row)}
	node, err := c.lab.Node(comparedOn)
	if err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.official = c.official(ctx, node) })
	wg.Go(func() { s.blackbox = c.blackbox(ctx, node) })
	if is := s.finding.Status(); is == probe.Stuck || is == probe.Unknown {
		wg.Go(func() { s.corroboration = c.probes[probe.MaybeStuck](ctx, node) })
	}
	wg.Wait()
	return s
}

// await gives what Unstuck finds on the node, once it finds on as many nodes what the row says. It looks again and again
// meanwhile: some faults take a moment to come about, and a busy machine may be too slow for a login.
func (c *comparison) await(ctx context.Context, row tableRow) (found probe.Result) {
	c.t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		nodes := c.lab.Nodes()
		results := make([]probe.Result, len(nodes))
		var wg sync.WaitGroup
		for i, n := range nodes {
			wg.Go(func() { results[i] = c.find(ctx, row.kind, n) })
		}
		wg.Wait()
		count := 0
		for _, r := range results {
			if r.Reason == row.reason && r.Kind == row.kind {
				count++
			}
			if r.Node == comparedOn {
				found = r
			}
		}
		if count >= row.nodes && found.Reason == row.reason {
			return found
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: waited in vain until %d nodes show %s; the last looks: %+v", row.name, row.nodes, row.reason, results)
		}
	}
}

// find logs in to a node and, if that goes well and the fault shows only then, sends a message through it.
func (c *comparison) find(ctx context.Context, kind probe.Kind, n target.Node) probe.Result {
	r := c.probes[probe.Login](ctx, n)
	if r.Reason == probe.OK && kind == probe.Roundtrip {
		return c.probes[kind](ctx, n)
	}
	return r
}

// official asks RabbitMQ's own checks: those that the demo asks, and the rest that 3.10 and 4.0 both know. Each has 30 s:
// of a frozen node they know after 15, and one that waits for locked metadata would wait for ever.
func (c *comparison) official(ctx context.Context, n target.Node) []lab.Check {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(n.Address)
	if err != nil {
		c.t.Errorf("the address of %s: %v", n.Name, err)
	}
	more := [][]string{{"status"}, {"check_port_listener", port}, {"check_if_node_is_quorum_critical"}}
	checks := make([]lab.Check, len(more))
	var wg sync.WaitGroup
	for i, args := range more {
		wg.Go(func() {
			exit, err := c.lab.Exec(ctx, n, append([]string{"rabbitmq-diagnostics", "--quiet"}, args...), io.Discard, io.Discard)
			checks[i] = lab.Check{Name: args[0], Exit: exit, Err: err}
		})
	}
	demo := c.lab.Checks(ctx, n)
	wg.Wait()
	return append(demo, checks...)
}

// red gives the names of the official checks that say that something is wrong.
func (s seen) red() (names []string) {
	for _, check := range s.official {
		if check.Exit != 0 || check.Err != nil {
			names = append(names, check.Name)
		}
	}
	return names
}

// status is what Unstuck makes of the node, with the corroboration.
func (s seen) status() probe.Status {
	if s.corroboration.Reason == "" {
		return s.finding.Status()
	}
	return probe.Worse(s.finding.Status(), s.corroboration.Status())
}

// explain logs what does not stand in the table.
func (s seen) explain(t *testing.T) {
	t.Helper()
	for _, check := range s.official {
		if check.Exit != 0 || check.Err != nil {
			t.Logf("%s: exit code %d, %v", check.Name, check.Exit, check.Err) // its words may hold a hash of the cookie
		}
	}
	t.Logf("Unstuck: %s (%s), %s (%s)", s.finding.Reason, s.finding.Detail, s.corroboration.Reason, s.corroboration.Detail)
}

const checksDoc = projectRoot + "/docs/checks.md"

// line is a row of docs/checks.md.
func (s seen) line() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", s.row.name, s.colours(),
		upOrDown(s.blackbox["tcp"]), upOrDown(s.blackbox["amqp_greeting"]), upOrDown(s.blackbox["amqp_login"]), s.verdict(), yesOrNo(s.row.deleted))
}

// colours says how many of the official checks are green, and names those that are not; or those that are, if they are
// fewer.
func (s seen) colours() string {
	red, green := s.red(), []string(nil)
	for _, check := range s.official {
		if !slices.Contains(red, check.Name) {
			green = append(green, check.Name)
		}
	}
	switch n := len(s.official); {
	case len(red) == 0:
		return fmt.Sprintf("all %d green", n)
	case len(green) == 0:
		return fmt.Sprintf("all %d red", n)
	case len(green) < len(red):
		return fmt.Sprintf("%d of %d red; green: %s", len(red), n, quoted(green))
	default:
		return fmt.Sprintf("%d of %d green; red: %s", len(green), n, quoted(red))
	}
}

func quoted(names []string) string {
	each := make([]string, len(names))
	for i, name := range names {
		each[i] = fmt.Sprintf("%#q", name)
	}
	return strings.Join(each, ", ")
}

// verdict is what Unstuck says: the status, then what showed it.
func (s seen) verdict() string {
	text := fmt.Sprintf("%s: %#q", s.status(), s.finding.Reason)
	if s.finding.Kind == probe.Roundtrip {
		text += " in the round trip"
	}
	if s.row.nodes == everywhere && s.finding.Reason != probe.OK {
		text += ", on every node"
	}
	if w := s.corroboration.Reason; w != "" {
		text += fmt.Sprintf("; %#q: %#q", probe.MaybeStuck, w)
	}
	return text
}

func upOrDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func yesOrNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func wholeTable(all []seen) string {
	var b strings.Builder
	b.WriteString("| what is wrong | RabbitMQ's own checks | `tcp` | `amqp_greeting` | `amqp_login` | Unstuck | deleted |\n|---|---|---|---|---|---|---|\n")
	for _, s := range all {
		b.WriteString(s.line())
	}
	return b.String()
}

// shortTable is the one of the README: the faults that tell the most, in one word each.
func shortTable(all []seen) string {
	var b strings.Builder
	b.WriteString("| what is wrong | its own checks | blackbox, TCP | blackbox, greeting | Unstuck |\n|---|---|---|---|---|\n")
	for _, s := range all {
		official := "some red"
		switch len(s.red()) {
		case 0:
			official = "all green"
		case len(s.official):
			official = "all red"
		}
		switch s.row.name {
		case nothing, "a wedged login", "wedged before it greets", "wedged queues", "a frozen process", "a wrong password", "a memory alarm":
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.row.name, official,
				upOrDown(s.blackbox["tcp"]), upOrDown(s.blackbox["amqp_greeting"]), s.status())
		}
	}
	return b.String()
}

// generated compares a table with its place in a page, or writes it there.
func generated(t *testing.T, file, table string) {
	t.Helper()
	page := readText(t, file)
	before, rest, found := strings.Cut(page, "TestChecksOfOthers -update` -->\n")
	_, after, ends := strings.Cut(rest, "<!-- end -->")
	if !found || !ends {
		t.Fatalf("%s has no place for the table", file)
	}
	want := before + "TestChecksOfOthers -update` -->\n\n" + table + "\n<!-- end -->" + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(page, want); diff != "" {
		t.Errorf("%s does not say what was measured (go test ./app -run TestChecksOfOthers -update writes it; - page, + measured):\n%s", file, diff)
	}
}
