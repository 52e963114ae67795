package probe

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// A container that starts again in the same pod is another node: results from before its start must not count for
// it.
func TestResultSaysWhichStartOfTheContainerItIsAbout(t *testing.T) {
	n := target.Node{Target: "b", Name: "x", UID: "x-uid", Started: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	broken := errors.New("broken")
	for kind, run := range map[Kind]Func{
		LogAge: NewLogAge(fakeLog{func(context.Context, target.Node, int) ([]target.LogLine, error) { return nil, broken }}, LogAgeOptions{}),
	} {
		if r := run(t.Context(), n); r.Kind != kind || !r.NodeStarted.Equal(n.Started) {
			t.Errorf("%s says %s, want %s: %+v", kind, r.NodeStarted, n.Started, r)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, []target.Node{n}, Probe{Kind: Login, Run: func(context.Context, target.Node) Result { panic("broken") }})
		again := n
		again.Started = again.Started.Add(time.Hour)
		for _, n := range []target.Node{n, again} {
			r.SetNodes([]target.Node{n})
			r.RunNow("x")
			synctest.Wait()
			if got := r.taken(); len(got) != 1 || !got[0].NodeStarted.Equal(n.Started) {
				t.Errorf("a probe that panics: %+v, want the start at %s", got, n.Started)
			}
		}
	})
}
