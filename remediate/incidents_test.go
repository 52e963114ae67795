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
