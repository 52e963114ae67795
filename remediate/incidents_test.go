package remediate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// The kubelet started the container anew, in the same pod.
func TestLoopEndsAnIncidentWhenItsContainerStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.pauses = []decide.Pause{{Target: "rabbit", By: "ada", Reason: "r", Until: time.Now().Add(time.Hour)}}
		w.play(t, 10*time.Minute, func(since time.Duration) {
			if since == 4*time.Minute {
				w.nodes[1].Started = time.Now()
				w.reason["uid-of-rabbit-1"], w.looks["uid-of-rabbit-1"] = probe.OK, probe.OK
			}
		})
		c := w.onlyIncident(t)
		if c.Outcome == store.BySelf {
			t.Errorf("the container was started anew, and the incident says %q", c.Outcome)
		}
	})
}

// A node that stays stuck is one line of the timeline for each thing that holds it back, however often the numbers in the
// sentence change; and that it was deleted is told once.
func TestIncidentsTellWhatIsNewAndNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.pauses = []decide.Pause{{Target: "rabbit", By: "ada", Reason: "r", Until: time.Now().Add(20 * time.Minute)}}
		w.play(t, time.Hour, nil)
		c := w.onlyIncident(t)
		seen := make(map[string]int)
		for _, e := range c.Events {
			seen[e.Text]++
		}
		if n := seen["confirmed stuck; held back by paused"]; n != 1 {
			t.Errorf("held back by the pause %d times", n)
		}
		if n := seen["deleted; waiting until the new node accepts logins"]; n != 1 {
			t.Errorf("deleted %d times", n)
		}
		if len(c.Events) > 12 || t.Failed() {
			t.Errorf("%d lines: %s", len(c.Events), text(c.Events))
		}
	})
}
