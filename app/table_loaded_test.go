package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// loadedRow is a row of the table whose broker may be configured in another way.
type loadedRow struct {
	tableRow
	broker func(*config.Broker) // nil: as tableBroker has it
}

// sweepOften has the processes of nodes looked at that accept every login: the hourly look, every ten seconds.
func sweepOften(b *config.Broker) { b.Probes.MaybeStuck.Every = config.Every(10 * time.Second) }

// also brings about two things at once: one on another node, then one on the row's.
func also(other string, first, second func(context.Context, *lab.Lab, string) error) func(context.Context, *lab.Lab, string) error {
	return func(ctx context.Context, l *lab.Lab, node string) error {
		return errors.Join(first(ctx, l, other), second(ctx, l, node))
	}
}

// backend does something to the authentication backend, as one node reaches it or as all do.
func backend(everybody bool, do func(lab.AuthBackend) error) func(context.Context, *lab.Lab, string) error {
	return func(_ context.Context, l *lab.Lab, node string) error {
		if everybody {
			node = ""
		}
		return do(l.AuthBackend(node))
	}
}

func slowDisk(ctx context.Context, l *lab.Lab, node string) error {
	return l.SlowDisk(ctx, node, 3*time.Second, time.Second)
}

// slowBackend takes longer than our deadline, and answers: a node asks it for one login after the other.
func slowBackend(b lab.AuthBackend) error { return b.SetDelay(7 * time.Second) }

// loadedRows are the rows that an empty broker of ours could not tell apart from a stuck one. Each says what the prober
// sees; what else the explanation has to be is in its check.
func loadedRows() []loadedRow {
	rows := []loadedRow{
		// A node that refuses on purpose, or waits for somebody else: a restart cures nothing.
		{tableRow{"descriptors used up", one((*lab.Lab).FillDescriptors), probe.Login, probe.AwaitStart, probe.StageStart, 1, false, nil, probe.Full}, nil},
		// Nobody accepts there any more, so that soon the accept queue is full, too, and connecting times out.
		{tableRow{"connection_max reached", one((*lab.Lab).FillConnections), probe.MaybeStuck, probe.Full, probe.StageNone, 1, false, nil, ""}, nil},
		{tableRow{"a limit of the user's connections", whole((*lab.Lab).LimitUserConnections), probe.Login, probe.NotAllowed, probe.StageOpen, everywhere, false, nil, ""}, nil},
		{tableRow{"a disk alarm", one((*lab.Lab).AlarmDisk), probe.Roundtrip, probe.Blocked, probe.StagePublish, everywhere, false, nil, ""}, nil},
		{tableRow{"a closed listener", one((*lab.Lab).CloseListener), probe.Login, probe.Refused, probe.StageTCP, 1, false, nil, ""}, nil},
		{tableRow{"a slow backend", backend(true, slowBackend), probe.Login, probe.AwaitTune, probe.StageTune, everywhere, false, nil, probe.BackendAwaited}, nil},
		{tableRow{"a backend that hangs", backend(true, lab.AuthBackend.Hang), probe.Login, probe.AwaitTune, probe.StageTune, everywhere, false, nil, probe.BackendAwaited}, nil},
		{tableRow{"a backend that one node cannot reach", backend(false, lab.AuthBackend.Hang), probe.Login, probe.AwaitTune, probe.StageTune, 1, false, nil, probe.BackendAwaited}, nil},

		// A part of a node, or some of the time.
		{tableRow{"a channel stuck alone", one((*lab.Lab).WedgeChannel), probe.MaybeStuck, probe.WorkWaits, probe.StageNone, 1, false, nil, ""}, sweepOften},
		{tableRow{"a queue stuck alone", one((*lab.Lab).WedgeQueue), probe.MaybeStuck, probe.WorkWaits, probe.StageNone, 1, false, nil, ""}, sweepOften},
		{tableRow{"a slow disk", slowDisk, probe.Login, probe.OK, probe.StageClose, everywhere, false, nil, ""}, sweepOften},
		{tableRow{"three of four logins hang", one((*lab.Lab).IntermittentLogin), probe.Login, probe.AwaitTune, probe.StageTune, 1, false, nil, ""}, nil},

		// What a peer has says nothing of a node that only a restart cures.
		{tableRow{"a wedged login beside a memory alarm", also("rabbit-2", alarm, wedgeLogin), probe.Login, probe.AwaitTune, probe.StageTune, 1, true, nil, ""}, nil},
		{tableRow{"a wedged login beside a stuck channel", also("rabbit-2", one((*lab.Lab).WedgeChannel), wedgeLogin), probe.Login, probe.AwaitTune, probe.StageTune, 1, true, nil, ""}, sweepOften},
		{tableRow{"a wedged login beside a drained node", also("rabbit-2", drain, wedgeLogin), probe.Login, probe.AwaitTune, probe.StageTune, 1, false, heldBy(decide.GuardPeers), ""}, nil},
	}
	rows = append(rows, loadedRow{tableRow{
		"a wedged login where a queue has its only member", also("rabbit-1", one((*lab.Lab).HoldOnlyMember), wedgeLogin),
		probe.Login, probe.AwaitTune, probe.StageTune, 1, false, heldBy(decide.GuardQuorumCritical), probe.ProcessesStuck,
	}, nil})
	restart := &restartInBetween{}
	return append(rows, loadedRow{tableRow{
		"a container restart in mid-confirmation", restart.spoil, probe.Login, probe.AwaitTune, probe.StageTune, 1, true, restart.later, "",
	}, nil})
}

// looksSay wants a look at the processes of rabbit-1 that gives this reason.
func (w *tableWatch) looksSay(t *testing.T, reason probe.Reason) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // two looks, on a busy machine
	defer cancel()
	w.until(ctx, "a look at its processes says "+string(reason), func() bool {
		return slices.ContainsFunc(w.results, func(r probe.Result) bool {
			return r.Kind == probe.MaybeStuck && r.Node == "rabbit-1" && r.Reason == reason
		})
	})
}

// heldBy wants rabbit-1 to be held back by this guard.
func heldBy(guard decide.Guard) func(t *testing.T, w *tableWatch) {
	return func(t *testing.T, w *tableWatch) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.until(ctx, "rabbit-1 is held back by "+string(guard), func() bool {
			for _, n := range w.snap.Nodes {
				if n.Name == "rabbit-1" && slices.Contains(n.Decision.Closed(), guard) {
					return true
				}
			}
			return false
		})
	}
}

// restartInBetween wedges a node, restarts its container while that is not proved yet, and wedges it again: what was seen
// of the first container is no evidence against the second.
type restartInBetween struct{ restarted time.Time }

func (r *restartInBetween) spoil(ctx context.Context, l *lab.Lab, node string) error {
	if err := l.WedgeLogin(ctx, node); err != nil {
		return err
	}
	timer := time.NewTimer(4 * time.Second) // a login or two have hung, which do not suffice
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.RestartContainer(ctx, node); err != nil {
		return err
	}
	r.restarted = time.Now()
	if err := l.WaitLogin(ctx, node); err != nil {
		return err
	}
	return l.WedgeLogin(ctx, node)
}

func (r *restartInBetween) later(t *testing.T, w *tableWatch) {
	t.Helper()
	all := w.lab.Deletions()
	least := r.restarted.Add(tableBroker().Policy.MinDuration)
	if len(all) == 0 || all[len(all)-1].At.Before(least) {
		t.Errorf("deletions %+v, the container was restarted at %v: none must come before %v", all, r.restarted, least)
	}
}
