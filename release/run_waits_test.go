package release

import (
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// What a step waits for, and why, is said while it waits, and no longer.
func TestRunnerSaysWhyARolloutWaitsWhileItWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		p.submit(t, deployOf(commitB))
		seen := false
		for !seen {
			pause(t.Context(), time.Second)
			for _, o := range p.Running() {
				for _, s := range o.Steps {
					if s.Do != plan.Roll || s.Phase != plan.Running || s.Diagnosis == nil {
						continue
					}
					seen = true
					if s.Diagnosis.Why != workload.ProbeFails || !strings.HasSuffix(s.Detail, ": "+s.Diagnosis.String()) || s.Diagnosis.Log != nil {
						t.Errorf("%s waits so: %q, %+v", s.ID, s.Detail, s.Diagnosis)
					}
				}
			}
			select {
			case o := <-p.over:
				t.Fatalf("it is over, and never said why it waited: %+v", o)
			default:
			}
		}
		o := <-p.over
		wantPhase(t, o, plan.Succeeded)
		for _, s := range o.Steps {
			if s.Diagnosis != nil {
				t.Errorf("%s has succeeded, and says why it waited: %v", s.ID, s.Diagnosis)
			}
		}
	})
}
