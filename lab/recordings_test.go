package lab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/stuck"
	"github.com/cjworkbench/unstuck/remediate"
)

var (
	recordings = flag.String("recordings", "", "ask real nodes anew what this directory keeps (see its README); `make recordings` does")
	only       = flag.String("only", "", "of them, ask in this situation alone")
)

// The node that is broken, and one that is not.
const (
	suspect = "rabbit-1"
	peer    = "rabbit-0"
)

// TestRecordings keeps what a RabbitMQ answers, in each situation, to each question that code depends on. Without its flag
// it only looks whether it would clean what it keeps.
func TestRecordings(t *testing.T) {
	if *recordings == "" {
		if got := hash.ReplaceAllString("hash: Xj3aEGSUxRVVjcKpmgxkEw==", "cookie hash"); got != "hash: cookie hash" {
			t.Errorf("a cookie's hash is kept: %s", got)
		}
		return
	}
	l, err := Start(t.Context(), Options{Root: *root})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := newRecorder(t, l)
	if r.wants("healthy-empty") {
		r.all("healthy-empty", everything)
	}
	r.declare()
	stop := r.work()
	defer stop()
	time.Sleep(10 * time.Second)
	if r.wants("healthy") {
		r.all("healthy", everything)
		r.quorum("healthy", l.Names())
	}

	for _, s := range []situation{
		{"login-wedged", l.WedgeLogin, r.twice},
		{"start-wedged", l.WedgeStart, r.twice},
		{"queues-wedged", l.WedgeQueues, r.once},
		{"frozen", l.Freeze, r.frozen},
		{"app-stopped", l.StopApp, r.thorough},
		{"drained", l.Drain, r.thorough},
		{"booting", r.startAlone, r.thorough},
		{"memory-alarm", l.AlarmMemory, r.thorough},
		{"disk-alarm", r.fillDisk, r.thorough},
		{"no-file-handles", r.fillFileHandles, r.twice},
		{"no-connections", r.fillListener, r.twice},
		{"metadata-locked", l.LockMetadata, r.once},
		{"metadata-without-majority", func(ctx context.Context, _ string) error { return l.MetadataWithoutMajority(ctx) }, r.once},
		{"wrong-cookie", func(context.Context, string) error { return nil }, r.wrongCookie},
	} {
		if !r.wants(s.name) {
			continue
		}
		err := s.set(t.Context(), suspect)
		if errors.Is(err, ErrUnsupported) {
			t.Log(err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s.record(s.name)
		if err := l.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *recorder) wants(situation string) bool { return *only == "" || *only == situation }

type situation struct {
	name   string
	set    func(ctx context.Context, node string) error
	record func(situation string)
}

type recorder struct {
	t        *testing.T
	l        *Lab
	versions Versions
	clean    []func(string) string
}

var (
	hash  = regexp.MustCompile(`[A-Za-z0-9+/]{22}==`)
	clock = regexp.MustCompile(`20\d\d-\d\d-\d\d([ T])\d\d:\d\d:\d\d`)
)

func newRecorder(t *testing.T, l *Lab) *recorder {
	v, err := l.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, l: l, versions: v}
	replace := func(re *regexp.Regexp, by string) {
		r.clean = append(r.clean, func(s string) string { return re.ReplaceAllString(s, by) })
	}
	for i, n := range l.nodes {
		host := strconv.Itoa(i + 1)
		replace(regexp.MustCompile(regexp.QuoteMeta(n.host)), "127.64.0."+host)
		replace(regexp.MustCompile(strings.ReplaceAll(n.host, ".", `,\s*`)), "127,64,0,"+host)
		for port, by := range map[int]string{n.amqp: "5672", n.dist: "25672"} {
			replace(regexp.MustCompile(`\b`+strconv.Itoa(port)+`\b`), by)
		}
	}
	replace(regexp.MustCompile(`\b`+strconv.Itoa(l.epmd)+`\b`), "4369")
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	replace(regexp.MustCompile(`@`+regexp.QuoteMeta(machine)+`\b`), "@machine")
	replace(regexp.MustCompile(regexp.QuoteMeta(l.dir)), "/lab")
	replace(regexp.MustCompile(regexp.QuoteMeta(l.inside(l.dir))), "/lab")
	replace(regexp.MustCompile(regexp.QuoteMeta(l.user)), "probe")
	replace(hash, "(the cookie's hash)")
	replace(clock, "2026-11-29${1}00:00:00")
	if err := os.MkdirAll(*recordings, 0o755); err != nil {
		t.Fatal(err)
	}
	old, err := filepath.Glob(filepath.Join(*recordings, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if *only != "" {
		old = nil // one situation is written over
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// ask keeps one answer, in the form of txtar (golang.org/x/tools/txtar).
func (r *recorder) ask(node, question, situation string, argv ...string) {
	n, err := r.l.Node(node)
	if err != nil {
		r.t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	began := time.Now()
	exit, err := r.l.Exec(ctx, n, argv, &stdout, &stderr)
	took := time.Since(began)
	command := strings.TrimPrefix(strings.Join(argv, " "), r.l.bin+"/")
	if text, _, is := strings.Cut(command, "\n"); is { // the Erlang text is in package remediate
		command = text + question
	}
	var b strings.Builder
	fmt.Fprintf(&b, "command: %s\nnode: %s\nexit: %d\n", command, node, exit)
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	fmt.Fprintf(&b, "took: %.1f s\nrabbitmq: %s\nerlang: %s\nday: %s\n",
		took.Seconds(), r.versions.RabbitMQ, r.versions.Erlang, began.UTC().Format(time.DateOnly))
	b.WriteString("-- stdout --\n" + whole(stdout.String()) + "-- stderr --\n" + whole(stderr.String()))
	text := b.String()
	for _, clean := range r.clean {
		text = clean(text)
	}
	path := filepath.Join(*recordings, question+"-"+situation+".txt")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Error(err)
	}
	r.t.Logf("%s %s: exit code %d after %.1f s", question, situation, exit, took.Seconds())
}

// whole ends the last line.
func whole(s string) string {
	if s != "" && !strings.HasSuffix(s, "\n") {
		return s + "\n"
	}
	return s
}

// questions are those that are asked in every situation.
func (r *recorder) questions(node string) map[string][]string {
	n, err := r.l.node(node)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string][]string{
		"maybe_stuck":                           {"rabbitmq-diagnostics", "-q", "-t", "30", "maybe_stuck"},
		"check_if_node_is_quorum_critical":      {"rabbitmq-queues", "-q", "-t", "10", "check_if_node_is_quorum_critical"},
		"check_if_node_is_mirror_sync_critical": {"rabbitmq-queues", "-q", "-t", "10", "check_if_node_is_mirror_sync_critical"},
		"check_local_alarms":                    {"rabbitmq-diagnostics", "-q", "-t", "15", "check_local_alarms"},
		"check_alarms":                          {"rabbitmq-diagnostics", "-q", "-t", "15", "check_alarms"},
		"listeners":                             {"rabbitmq-diagnostics", "-q", "-t", "15", "listeners"},
		"check_port_listener":                   {"rabbitmq-diagnostics", "-q", "-t", "15", "check_port_listener", strconv.Itoa(n.amqp)},
		"status":                                {"rabbitmq-diagnostics", "-q", "-t", "15", "status", "--formatter", "json"},
		"cluster_status":                        {"rabbitmqctl", "-q", "-t", "15", "cluster_status", "--formatter", "json"},
		"eval_handshake_timeout":                {"rabbitmqctl", "-q", "-t", "15", "eval", "application:get_env(rabbit, handshake_timeout)."},
		"eval_limits":                           {"rabbitmqctl", "-q", "-t", "15", "eval", remediate.LimitsQuestion},
	}
	if node != suspect { // of itself; of the suspect eval_quorum asks
		maps.DeleteFunc(all, func(name string, _ []string) bool { return !slices.Contains(askedOfPeer, name) })
	}
	return all
}

var (
	askedOfPeer = []string{"check_alarms", "cluster_status", "eval_limits"}
	everything  = []string{
		"maybe_stuck", "check_if_node_is_quorum_critical", "check_if_node_is_mirror_sync_critical", "check_local_alarms",
		"check_alarms", "listeners", "check_port_listener", "status", "cluster_status", "eval_handshake_timeout", "eval_limits",
	}
	// Where the listeners, the alarms and the cluster are as ever.
	ofProcesses = []string{"maybe_stuck", "check_if_node_is_quorum_critical", "check_local_alarms", "status", "eval_limits"}
	// Of a node that answers nothing each takes a quarter of a minute, to say the same.
	ofFrozen = []string{"maybe_stuck", "check_if_node_is_quorum_critical", "eval_limits", "cluster_status", "check_alarms"}
)

// all asks each question of the suspect, and of a peer what it knows of others. Two at a time: each is a program that
// starts, and runs into its own timeout where too many do.
func (r *recorder) all(situation string, questions []string) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for _, node := range []string{suspect, peer} {
		name := situation
		if node == peer {
			name += "-on-a-peer"
		}
		for question, argv := range r.questions(node) {
			if !slices.Contains(questions, question) {
				continue
			}
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				r.ask(node, question, name, argv...)
			})
		}
	}
	wg.Wait()
	r.about(peer, suspect, situation)
}

func (r *recorder) about(asked, node, situation string) {
	eval, err := remediate.EvalQuorum(node)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ask(asked, "eval_quorum", situation+"-on-"+asked+"-about-"+node, "rabbitmqctl", "-q", "-t", "15", "eval", eval)
}

// quorum asks each of some nodes what the cluster would be without each of all.
func (r *recorder) quorum(situation string, asked []string) {
	for _, node := range asked {
		r.ask(node, "check_if_node_is_quorum_critical", situation+"-on-"+node,
			"rabbitmq-queues", "-q", "-t", "10", "check_if_node_is_quorum_critical")
		for _, about := range r.l.Names() {
			r.about(node, about, situation)
		}
	}
}

func (r *recorder) once(situation string) {
	r.knock()
	r.all(situation, ofProcesses)
}

func (r *recorder) thorough(situation string) { r.all(situation, everything) }

// twice looks again 45 s later: what is stuck is still there then, and has not moved.
func (r *recorder) twice(situation string) {
	r.knock()
	argv := []string{"rabbitmq-diagnostics", "-q", "-t", "30", "maybe_stuck"}
	r.ask(suspect, "maybe_stuck", situation, argv...)
	first := time.Now()
	ids := r.stuck(situation)
	processes := []string{"rabbitmqctl", "-q", "-t", "15", "eval", remediate.EvalProcesses(ids)}
	r.ask(suspect, "eval_processes", situation, processes...)
	r.all(situation, ofProcesses[1:]) // maybe_stuck was just asked
	time.Sleep(time.Until(first.Add(45 * time.Second)))
	r.ask(suspect, "eval_processes", situation+"-later", processes...)
	r.ask(suspect, "maybe_stuck", situation+"-later", argv...)
}

// stuck gives the processes that the recording shows.
func (r *recorder) stuck(situation string) []probe.ProcessID {
	text, err := os.ReadFile(filepath.Join(*recordings, "maybe_stuck-"+situation+".txt"))
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := stuck.Parse(bytes.NewReader(text))
	if err != nil {
		r.t.Error(err)
	}
	var ids []probe.ProcessID
	for _, list := range [][]probe.Process{p.Logins, p.Work, p.Others} {
		for _, process := range list {
			ids = append(ids, process.ID)
		}
	}
	return ids
}

func (r *recorder) wrongCookie(situation string) {
	cookie := []string{"env", "RABBITMQ_ERLANG_COOKIE=another"}
	r.ask(suspect, "maybe_stuck", situation, append(cookie, r.l.bin+"/rabbitmq-diagnostics", "-q", "-t", "30", "maybe_stuck")...)
	r.ask(suspect, "eval_limits", situation, append(cookie, r.l.bin+"/rabbitmqctl", "-q", "-t", "15", "eval", remediate.LimitsQuestion)...)
}

func (r *recorder) frozen(situation string) {
	began := time.Now()
	r.quorum(situation, []string{"rabbit-0", "rabbit-2"})
	r.all(situation, ofFrozen)
	time.Sleep(time.Until(began.Add(90 * time.Second))) // net_ticktime is over
	r.quorum(situation+"-for-long", []string{"rabbit-0", "rabbit-2"})
	r.all(situation+"-for-long", []string{"maybe_stuck", "cluster_status", "check_alarms"})
}

// startAlone has a node boot that waits for the others, which are frozen.
func (r *recorder) startAlone(ctx context.Context, name string) error {
	for _, n := range r.l.nodes {
		if n.name == name {
			continue
		}
		if err := r.l.Freeze(ctx, n.name); err != nil {
			return err
		}
	}
	n, err := r.l.node(name)
	if err != nil {
		return err
	}
	p, err := n.process()
	if err != nil {
		return err
	}
	n.end(ctx, p, 0)
	time.Sleep(20 * time.Second)
	return nil
}

// fillDisk makes the node believe that its disk is full: there is less room than a petabyte.
func (r *recorder) fillDisk(ctx context.Context, name string) error {
	if err := r.change(ctx, name, "rabbit_disk_monitor:set_disk_free_limit(1000000000000000)."); err != nil {
		return err
	}
	n, err := r.l.node(name)
	if err != nil {
		return err
	}
	return r.l.until(ctx, "the alarm", func(ctx context.Context) error { // 4.3 looks a little later
		alarms, err := n.eval(ctx, "rabbit_alarm:get_alarms().")
		if err == nil && alarms == "[]" {
			err = errors.New("none yet")
		}
		return err
	})
}

// fillFileHandles takes all further file handles away from a node that has 30 clients, and connects 60 more.
func (r *recorder) fillFileHandles(ctx context.Context, name string) error {
	if r.l.release.atLeast(4, 0) {
		return fmt.Errorf("fill the file handles: %w: it does not count them", ErrUnsupported)
	}
	return r.fill(ctx, name, 30, 60, "file_handle_cache:set_limit(30), ok.")
}

// fillListener sets the number of connections that each listener takes to 12 when 12 clients are in, and connects 30 more.
func (r *recorder) fillListener(ctx context.Context, name string) error {
	return r.fill(ctx, name, 12, 30, `
		Infos = ranch:info(),
		Refs = if is_map(Infos) -> maps:keys(Infos); true -> [Ref || {Ref, _} <- Infos] end,
		[ranch:set_max_connections(Ref, 12) || Ref <- Refs], ok.`)
}

func (r *recorder) fill(ctx context.Context, name string, in, more int, limit string) error {
	for range in {
		r.dial(name)
	}
	if err := r.change(ctx, name, limit); err != nil {
		return err
	}
	n, err := r.l.node(name)
	if err != nil {
		return err
	}
	for range more {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.address())
		if err != nil {
			return err
		}
		r.t.Cleanup(func() { _ = conn.Close() })
		if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
			return err
		}
	}
	return nil
}

// change breaks a node in a way that the lab has no method for. Like all of them a new process cures it, by Reset.
func (r *recorder) change(ctx context.Context, name, erlang string) error {
	return r.l.breakBy(ctx, wedged, name, erlang)
}

// knock has clients try in vain, where they do, and leaves what that leaves in the broker.
func (r *recorder) knock() {
	var wg sync.WaitGroup
	for _, n := range r.l.nodes {
		for range 4 {
			wg.Go(func() { _ = n.login(r.t.Context(), true) })
		}
	}
	wg.Wait()
}

// declare makes queues: of each kind, and quorum queues with three members, with two and with one.
func (r *recorder) declare() {
	for _, q := range []struct {
		node, name, kind string
		members          int
	}{
		{"rabbit-0", "three", "quorum", 3},
		{"rabbit-1", "three led there", "quorum", 3},
		{"rabbit-1", "two", "quorum", 2},
		{"rabbit-0", "one on 0", "quorum", 1},
		{"rabbit-1", "one on 1", "quorum", 1},
		{"rabbit-0", "classic on 0", "classic", 1},
		{"rabbit-1", "classic on 1", "classic", 1},
		{"rabbit-1", "mirrored", "classic", 1},
		{"rabbit-1", "stream", "stream", 3},
		{"rabbit-2", "stream on 2", "stream", 1},
	} {
		if q.kind == "stream" && !r.l.release.atLeast(3, 9) {
			continue
		}
		conn, ch := r.dial(q.node)
		args := amqp.Table{"x-queue-type": q.kind}
		switch q.kind {
		case "quorum":
			args["x-quorum-initial-group-size"] = q.members
		case "stream":
			args["x-initial-cluster-size"] = q.members
		}
		if _, err := ch.QueueDeclare(q.name, true, false, false, false, args); err != nil {
			r.t.Fatal(q.name, err)
		}
		err := ch.PublishWithContext(r.t.Context(), "", q.name, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
		if err != nil {
			r.t.Fatal(err)
		}
		conn.Close()
	}
	if r.l.release.atLeast(4, 0) {
		return
	}
	// The copies are made now, and lack the message that is there already.
	_, err := r.l.nodes[0].ctl(r.t.Context(), "", "rabbitmqctl", "set_policy", "mirrored", "^mirrored$",
		`{"ha-mode": "all", "ha-sync-mode": "manual"}`)
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *recorder) dial(node string) (*amqp.Connection, *amqp.Channel) {
	n, err := r.l.node(node)
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := amqp.Dial(fmt.Sprintf("amqp://%s:%s@%s/", r.l.user, r.l.pass, n.address()))
	if err != nil {
		r.t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		r.t.Fatal(err)
	}
	return conn, ch
}

// work has three clients on each node publish to queues and consume from them, ten times a second, until it is stopped.
func (r *recorder) work() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	for i, n := range r.l.nodes {
		for _, queue := range []string{"three", "classic on " + strconv.Itoa(i%2), "three led there"} {
			wg.Go(func() {
				for ctx.Err() == nil {
					_ = n.pass(ctx, queue) // it may be broken on purpose
					select {
					case <-ctx.Done():
					case <-time.After(time.Second):
					}
				}
			})
		}
	}
	return func() { cancel(); wg.Wait() }
}

func (n *node) pass(ctx context.Context, queue string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := amqp.DialConfig(fmt.Sprintf("amqp://%s:%s@%s/", n.lab.user, n.lab.pass, n.address()), amqp.Config{
		Dial: func(network, addr string) (c net.Conn, err error) {
			if c, err = amqp.DefaultDial(5*time.Second)(network, addr); err == nil {
				context.AfterFunc(ctx, func() { _ = c.Close() })
			}
			return c, err
		},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	deliveries, err := ch.ConsumeWithContext(ctx, queue, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	ended := conn.NotifyClose(make(chan *amqp.Error, 1))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case _, ok := <-deliveries:
			if !ok {
				return nil
			}
		case <-tick.C:
			if err := ch.PublishWithContext(ctx, "", queue, false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
				return err
			}
		}
	}
}
