package release

import (
	"context"
	"strings"
	"sync/atomic"
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

// raised is a World whose frontend is a StatefulSet. Once that is changed somebody raises its partition.
type raised struct {
	World

	partition atomic.Int64
}

var (
	raisedSet = workload.Ref{StatefulSet: "frontend-deployment"}
	raisedAs  = workload.Ref{Deployment: "frontend-deployment"}
)

func (r *raised) stateful(w workload.Workload) workload.Workload {
	if w.Ref == raisedAs {
		w.Ref, w.Strategy, w.Partition = raisedSet, workload.RollingUpdate, int(r.partition.Load())
		w.Updated = min(w.Updated, w.Replicas-w.Partition)
	}
	return w
}

func (r *raised) State(ctx context.Context, _ plan.Environment) (plan.State, error) {
	s, err := r.World.State(ctx, testEnvironment())
	for i, w := range s.Workloads {
		s.Workloads[i] = r.stateful(w)
	}
	return s, err
}

func (r *raised) Workload(ctx context.Context, env plan.Environment, of workload.Ref) (workload.Workload, error) {
	if of == raisedSet {
		of = raisedAs
	}
	w, err := r.World.Workload(ctx, env, of)
	return r.stateful(w), err
}

func (r *raised) Patch(ctx context.Context, env plan.Environment, p Patch) error {
	if p.Workload == raisedSet {
		p.Workload = raisedAs
		r.partition.Store(2)
	}
	return r.World.Patch(ctx, env, p)
}

func TestRunnerSaysThatAPartitionWasRaisedMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		env := testEnvironment()
		env.Services[0].Ref = raisedSet
		p := start(t, c, env)
		defer p.stop()
		p.World = &raised{World: p.client}
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Failed,
			"its partition was raised from 0 to 2 meanwhile, and 1 of 3 pods are of the new template")
	})
}
