package lab

import (
	"context"
	"io"
	"testing"
	"time"
)

// broken is one fault of rabbit-1: what a client sees there and on rabbit-2, and that its cure cures it.
type broken struct {
	name             string
	set              func(context.Context, string) error
	there, elsewhere string
	cure             func(context.Context, string) error
	also             func(*testing.T, *Lab) // what else holds meanwhile
}

func TestEachFaultDoesWhatItSaysAndItsCureCuresIt(t *testing.T) {
	l := wellLab(t)
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
	for _, b := range []broken{
		{"login wedged", l.WedgeLogin, noLogin, well, replaced, checksPass},
		{"start wedged", l.WedgeStart, noGreeting, well, replaced, nil},
		{"queues wedged", l.WedgeQueues, noDeclare, well, l.Restart, nil},
		{"frozen", l.Freeze, noGreeting, noDeclare, l.Thaw, toolsFail},
		{"frozen until the accept queue is full", frozenLong, noConnect, noDeclare, l.Thaw, nil},
		{"metadata locked", l.LockMetadata, noDeclare, noDeclare, all(l.UnlockMetadata), holderIsKnown},
		{"memory alarm", l.AlarmMemory, blocked, blocked, l.ClearAlarm, nil},
		{"drained", l.Drain, refused, well, l.Revive, nil},
		{"app stopped", l.StopApp, refused, well, l.StartApp, nil},
		{"wrong password", all(l.ChangePassword), badLogin, badLogin, all(l.RestorePassword), nil},
		{"vhost deleted", all(l.DeleteVhost), notAllowed, notAllowed, all(l.AddVhost), nil},
		{"vhost down", l.VhostDown, internal, well, l.VhostUp, nil},
		{"connections limited", all(l.LimitConnections), notAllowed, notAllowed, all(l.Unlimit), nil},
		{"log lost", l.LoseLog, well, well, l.RegainLog, nil},
		{"slow beyond the handshake timeout", slowerBy(handshake + 500*time.Millisecond), closed, well, l.RestoreLogin, nil},
		{"slow within the handshake timeout", slowerBy(500 * time.Millisecond), well, well, l.RestoreLogin, nil},
		{"cut off", l.CutOff, noConnect, well, l.Reconnect, nil},
	} {
		t.Run(b.name, func(t *testing.T) { b.run(t, l) })
	}
}

func (b broken) run(t *testing.T, l *Lab) {
	began := time.Now()
	if err := b.set(t.Context(), "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	set := time.Since(began)
	wait := patience
	if b.there == closed {
		wait = 2 * handshake
	}
	if got := look(t, l, "rabbit-1", wait); got != b.there {
		t.Errorf("broken node: %s, want %s", got, b.there)
	}
	if got := look(t, l, "rabbit-2", patience); got != b.elsewhere {
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
		eventually(t, name+" is well after the cure", time.Minute, func() bool { return look(t, l, name, patience) == well })
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
