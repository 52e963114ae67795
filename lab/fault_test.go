package lab

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/stuck"
)

// broken is one fault of rabbit-1: what a client sees there and on rabbit-2, and that its cure cures it.
type broken struct {
	name             string
	set              func(context.Context, string) error
	there, elsewhere string // "": whatever
	cure             func(context.Context, string) error
	also             func(*testing.T, *Lab) // what else holds meanwhile
	impossible       bool                   // with this RabbitMQ
}

func TestFaultDoesWhatItSaysAndItsCureCuresIt(t *testing.T) {
	l := healthyLab(t)
	all := func(f func(context.Context) error) func(context.Context, string) error {
		return func(ctx context.Context, _ string) error { return f(ctx) }
	}
	frozenLong := func(ctx context.Context, name string) error {
		if err := l.Freeze(ctx, name); err != nil {
			return err
		}
		return l.FillAcceptQueue(ctx, name)
	}
	slowerBy := func(delay time.Duration) func(context.Context, string) error {
		return func(ctx context.Context, name string) error { return l.SlowLogin(ctx, name, delay) }
	}
	replaced := func(ctx context.Context, name string) error { return replace(ctx, l, name, 2*time.Second) }
	// Mnesia asks every node, Khepri a majority: but if the leader is frozen, it has to elect another first.
	onPeers := noDeclare
	if l.release.khepri() {
		onPeers = ""
	}
	for _, b := range []broken{
		{"login wedged", l.WedgeLogin, noLogin, healthy, replaced, checksPass, false},
		{"start wedged", l.WedgeStart, noGreeting, healthy, replaced, nil, false},
		{"queues wedged", l.WedgeQueues, noDeclare, healthy, l.Restart, nil, false},
		{"frozen", l.Freeze, noGreeting, onPeers, l.Thaw, toolsFail, false},
		{"frozen until the accept queue is full", frozenLong, noConnect, onPeers, l.Thaw, nil, false},
		{"metadata locked", l.LockMetadata, noDeclare, noDeclare, all(l.UnlockMetadata), holderIsKnown, l.release.khepri()},
		{"metadata without majority", all(l.MetadataWithoutMajority), noDeclare, noDeclare, all(l.RegainMajority), nil, !l.release.khepri()},
		{"memory alarm", l.AlarmMemory, blocked, blocked, l.ClearAlarm, nil, false},
		{"drained", l.Drain, refused, healthy, l.Revive, nil, false},
		{"app stopped", l.StopApp, refused, healthy, l.StartApp, nil, false},
		{"wrong password", all(l.ChangePassword), badLogin, badLogin, all(l.RestorePassword), nil, false},
		{"vhost deleted", all(l.DeleteVhost), notAllowed, notAllowed, all(l.AddVhost), nil, false},
		{"vhost down", l.VhostDown, internal, healthy, l.VhostUp, nil, false},
		{"connections limited", all(l.LimitConnections), notAllowed, notAllowed, all(l.Unlimit), nil, false},
		{"log lost", l.LoseLog, healthy, healthy, l.RegainLog, nil, !l.release.atLeast(3, 9)},
		{"slow beyond the handshake timeout", slowerBy(handshake + 500*time.Millisecond), closed, healthy, l.RestoreLogin, nil, false},
		{"slow within the handshake timeout", slowerBy(500 * time.Millisecond), healthy, healthy, l.RestoreLogin, nil, false},
		{"cut off", l.CutOff, noConnect, healthy, l.Reconnect, nil, false},
		{"out of file descriptors", l.FillDescriptors, noGreeting, healthy, l.FreeDescriptors, waitsIn("rabbit_networking:setup_socket", others), l.release.atLeast(4, 0)},
		{"out of file descriptors, restarted", l.FillDescriptors, noGreeting, healthy, l.RestartContainer, nil, l.release.atLeast(4, 0)},
		{"full of connections", l.FillConnections, noGreeting, healthy, l.FreeConnections, waitsIn("ranch_conns_sup:start_protocol", others), false},
		{"not listening", l.CloseListener, refused, healthy, l.OpenListener, nil, false},
		{"user limited", all(l.LimitUserConnections), notAllowed, notAllowed, all(l.UnlimitUser), nil, !l.release.atLeast(3, 9)},
		{"disk alarm", l.AlarmDisk, blocked, blocked, l.ClearDiskAlarm, nil, false},
		{"a queue wedged", l.WedgeQueue, healthy, healthy, l.ReleaseQueue, waitsIn("rabbit_amqqueue_process:", channels), false},
		{"a queue wedged, restarted", l.WedgeQueue, healthy, healthy, l.Restart, nil, false},
		{"a channel wedged", l.WedgeChannel, healthy, healthy, l.ReleaseChannel, waitsIn("rabbit_channel:", channels), false},
		{"the only member of a queue", l.HoldOnlyMember, healthy, healthy, l.DropOnlyMember, isCritical, false},
		{"a channel wedged, restarted", l.WedgeChannel, healthy, healthy, l.Restart, nil, false},
	} {
		t.Run(b.name, func(t *testing.T) { b.run(t, l) })
	}
}

func (b broken) run(t *testing.T, l *Lab) {
	began := time.Now()
	err := b.set(t.Context(), "rabbit-1")
	if errors.Is(err, ErrUnsupported) && b.impossible {
		if left := l.faults(); len(left) > 0 {
			t.Errorf("faults noted that cannot be: %v", left)
		}
		return
	}
	if err != nil || b.impossible {
		t.Fatalf("error %v; impossible with this RabbitMQ: %v", err, b.impossible)
	}
	set := time.Since(began)
	wait := patience
	if b.there == closed {
		wait = 2 * handshake
	}
	if got := look(t, l, "rabbit-1", wait); got != b.there {
		t.Errorf("broken node: %s, want %s", got, b.there)
	}
	if got := look(t, l, "rabbit-2", patience); got != b.elsewhere && b.elsewhere != "" {
		t.Errorf("other node: %s, want %s", got, b.elsewhere)
	}
	if b.also != nil {
		b.also(t, l)
	}
	began = time.Now()
	if err := b.cure(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("set in %v, cured in %v", set, time.Since(began))
	for _, name := range l.Names() { // the others hear of an alarm's end a little later, on a busy machine much later
		eventually(t, name+" is healthy after the cure", time.Minute, func() bool { return look(t, l, name, patience) == healthy })
	}
	if left := l.faults(); len(left) > 0 {
		t.Errorf("faults noted after the cure: %v", left)
	}
}

// checksPass holds the reason why there is a daemon at all: nothing official notices a wedged login.
func checksPass(t *testing.T, l *Lab) {
	n, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	checks := l.Checks(t.Context(), n)
	if len(checks) != 5 {
		t.Errorf("%d checks", len(checks))
	}
	for _, c := range checks {
		if c.Exit != 0 || c.Err != nil || c.Took <= 0 {
			t.Errorf("%+v", c)
		}
	}
}

// isCritical holds that RabbitMQ's own tool says of rabbit-1 that a queue needs it.
func isCritical(t *testing.T, l *Lab) {
	n, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	exit, err := l.Exec(t.Context(), n, []string{"rabbitmq-diagnostics", "check_if_node_is_quorum_critical"}, io.Discard, io.Discard)
	if exit != 69 || err != nil {
		t.Errorf("check_if_node_is_quorum_critical: exit code %d, %v", exit, err)
	}
}

func toolsFail(t *testing.T, l *Lab) {
	n, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	exit, err := l.Exec(t.Context(), n, []string{"rabbitmq-diagnostics", "ping"}, io.Discard, io.Discard)
	if exit != 69 || err != nil {
		t.Errorf("ping: exit code %d, %v", exit, err)
	}
}

func holderIsKnown(t *testing.T, l *Lab) {
	if holder, err := l.MetadataLockHolder(t.Context()); holder != "rabbit-1" || err != nil {
		t.Errorf("lock held by %q, %v", holder, err)
	}
}

// What maybe_stuck takes a process for.
const (
	channels = "a channel or a queue"
	others   = "none of these"
)

// waitsIn wants processes whose stack has the frame among those that maybe_stuck shows of rabbit-1.
func waitsIn(frame, kind string) func(*testing.T, *Lab) {
	return func(t *testing.T, l *Lab) {
		t.Helper()
		p := maybeStuck(t, l, "rabbit-1")
		found := slices.ContainsFunc(p.Top, func(s probe.Stack) bool { return strings.Contains(strings.Join(s.Frames, " "), frame) })
		if !found || p.StuckChannels > 0 != (kind == channels) {
			t.Errorf("no process waits in %s, or %d channels are stuck: %+v", frame, p.StuckChannels, p.Top)
		}
	}
}

// maybeStuck asks a node which of its processes seem stuck.
func maybeStuck(t *testing.T, l *Lab, name string) *probe.Processes {
	t.Helper()
	n, err := l.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	var base stuck.Baselines
	r := stuck.New(l, stuck.Options{Baselines: &base})(t.Context(), n)
	if r.Processes == nil {
		t.Fatalf("maybe_stuck: %s: %s", r.Reason, r.Detail)
	}
	for _, s := range r.Processes.Top {
		t.Logf("%s: %d wait in %s", name, s.Count, strings.Join(s.Frames, " < "))
	}
	return r.Processes
}

func TestLabIntermittentLoginHangsThreeOfFourLogins(t *testing.T) {
	l := healthyLab(t)
	if err := l.IntermittentLogin(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 8 {
		seen[look(t, l, "rabbit-1", patience)]++
	}
	if seen[healthy] != 2 || seen[noLogin] != 6 {
		t.Errorf("of eight logins: %v", seen)
	}
	if got := look(t, l, "rabbit-2", patience); got != healthy {
		t.Errorf("other node: %s", got)
	}
	if err := l.Restart(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got := look(t, l, "rabbit-1", patience); got != healthy {
			t.Errorf("after the restart: %s", got)
		}
	}
}

// took is how long a node needs to be found healthy; what else it is found is an error.
func took(t *testing.T, l *Lab, name string) time.Duration {
	t.Helper()
	began := time.Now()
	if got := look(t, l, name, 10*time.Second); got != healthy {
		t.Errorf("%s: %s", name, got)
	}
	return time.Since(began)
}

func TestLabSlowDiskStallsAndNothingHangsForGood(t *testing.T) {
	l := healthyLab(t)
	const stalled, between = 2 * time.Second, time.Second
	if err := l.SlowDisk(t.Context(), "rabbit-1", stalled, between); err != nil {
		t.Fatal(err)
	}
	confirmed := func(queue LoadQueue) (slowest time.Duration) {
		t.Helper()
		d, err := l.Load(t.Context(), LoadOptions{Idle: -1, Rate: 10, Queues: []LoadQueue{queue}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		last, at := time.Now(), d.Stats().Confirmed
		for enough := at + 50; at < enough; { // five seconds' worth
			eventually(t, "a confirm", time.Minute, func() bool { return d.Stats().Confirmed > at })
			slowest, last, at = max(slowest, time.Since(last)), time.Now(), d.Stats().Confirmed
		}
		return slowest
	}
	for _, q := range []LoadQueue{{"slow-classic", ClassicQueue, "rabbit-1", 1}, {"slow-quorum", QuorumQueue, "rabbit-1", 1}} {
		if slowest := confirmed(q); slowest < time.Second {
			t.Errorf("%s: the slowest confirm came after %v", q.Name, slowest)
		}
	}
	if d := took(t, l, "rabbit-2"); d > stalled {
		t.Errorf("the other node took %v", d)
	}
	for range 3 {
		took(t, l, "rabbit-1") // slow or not, it is healthy
	}
	if err := l.RestoreDisk(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	if slowest := confirmed(LoadQueue{"slow-quorum", QuorumQueue, "rabbit-1", 1}); slowest > time.Second {
		t.Errorf("restored: the slowest confirm came after %v", slowest)
	}
}

func TestLabRestartContainerKeepsThePod(t *testing.T) {
	l := healthyLab(t)
	if err := l.WedgeLogin(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	old, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	deletions := len(l.Deletions())
	if err := l.RestartContainer(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	n, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	if n.UID != old.UID || !n.Started.After(old.Started) || len(l.Deletions()) != deletions {
		t.Errorf("node %+v was %+v; %d deletions", n, old, len(l.Deletions())-deletions)
	}
	if err := l.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}
