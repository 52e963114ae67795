package lab

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// flows waits until messages have been published, confirmed and consumed that were not when it was called.
func flows(t *testing.T, d *Load, within time.Duration) {
	t.Helper()
	const enough = 20
	before := d.Stats()
	eventually(t, "messages flow", within, func() bool {
		now := d.Stats()
		return now.Published-before.Published > enough && now.Confirmed-before.Confirmed > enough && now.Consumed-before.Consumed > enough
	})
}

func TestLoadFlowsAndIsSpreadOverTheNodes(t *testing.T) {
	l := healthyLab(t)
	began := time.Now()
	d, err := l.Load(t.Context(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	t.Logf("at work after %v", time.Since(began))
	flows(t, d, 20*time.Second)

	places, err := d.places(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	leaders := map[string]int{}
	for _, q := range d.Queues() {
		n, err := l.node(q.Node)
		if err != nil {
			t.Fatal(err)
		}
		leaders[q.Type+" "+q.Node]++
		want[q.Name] = fmt.Sprint(place{n.erlang(), q.Members, q.Members})
		got[q.Name] = fmt.Sprint(places[q.Name])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("where the queues are (-want +got):\n%s", diff)
	}
	for _, n := range l.Names() {
		if leaders["classic "+n] == 0 || leaders["quorum "+n] < 2 {
			t.Errorf("leaders %v: too few on %s", leaders, n)
		}
	}
	if left := d.LeftOut(); len(left)+leaders["stream rabbit-1"] != 1 {
		t.Errorf("left out %v, leaders %v", left, leaders)
	}

	ready := d.Stats().Ready
	if names := slices.Sorted(maps.Keys(ready)); !slices.Equal(names, l.Names()) || slices.Min(slices.Collect(maps.Values(ready))) < 15 {
		t.Errorf("clients at work: %v", ready)
	}
	began = time.Now()
	if err := d.Close(); err != nil || time.Since(began) > time.Second {
		t.Errorf("close took %v: %v", time.Since(began), err)
	}
	if err := d.Settle(t.Context()); err == nil {
		t.Error("a closed load settled")
	}
}

func TestLoadGoesOnThroughTheOtherNodesAndComesBack(t *testing.T) {
	l := healthyLab(t)
	d, err := l.Load(t.Context(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"frozen", func() error { return l.Freeze(t.Context(), "rabbit-1") }},
		{"deleted", func() error { return replace(t.Context(), l, "rabbit-1", 0) }},
		{"its vhost deleted", func() error { return l.DeleteVhost(t.Context()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := d.Stats()
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			if c.name == "frozen" {
				eventually(t, "no client waits for the frozen node", time.Minute, func() bool {
					now := d.Stats()
					return now.Ready["rabbit-1"] == 0 && now.Ready["rabbit-2"] > before.Ready["rabbit-2"]
				})
				flows(t, d, time.Minute)
			}
			if err := l.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := d.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("settled after %v", time.Since(began))
			flows(t, d, 20*time.Second)
			after := d.Stats()
			if diff := cmp.Diff(before.Ready, after.Ready); diff != "" || after.Reconnects == before.Reconnects {
				t.Errorf("clients at work (-before +after), after %d reconnects:\n%s", after.Reconnects-before.Reconnects, diff)
			}
		})
	}
}

func TestLabLoadRefusesWhatMakesNoSense(t *testing.T) {
	l := healthyLab(t)
	for _, q := range []LoadQueue{
		{"nowhere", ClassicQueue, "rabbit-9", 1},
		{"twice", ClassicQueue, "rabbit-0", 2},
		{"more than there are", QuorumQueue, "rabbit-0", 4},
	} {
		if d, err := l.Load(t.Context(), LoadOptions{Queues: []LoadQueue{q}}); err == nil {
			t.Errorf("%s: no error, %v", q.Name, d.Close())
		}
	}
}
