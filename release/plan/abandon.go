package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/text"
)

// WorkedOn gives when somebody last worked on the operation, as far as it is written down.
func (o Operation) WorkedOn() time.Time {
	last := o.Created
	note := func(at time.Time) {
		if at.After(last) {
			last = at
		}
	}
	note(o.Renewed)
	for _, s := range slices.Concat(o.Steps, o.Rollback) {
		note(s.Started)
		note(s.Ended)
	}
	return last
}

// Abandon gives the operation as it ends if nobody has worked on it for longer than it is gone on with: failed, with
// what is done, half done and not begun in its words. Whatever people have done meanwhile is left as it is.
func (o Operation) Abandon(now time.Time, most time.Duration) Operation {
	o = o.Clone()
	idle := now.Sub(o.WorkedOn()).Round(time.Second)
	why, before := "abandoned", ""
	if o.Phase == RollingBack {
		why, before = "abandoned while the old images were put back", o.Outcome
	}
	why += fmt.Sprintf(", for nobody worked on it for %s, which is more than %s", idle, most)
	var done, half, left []string
	for _, steps := range [][]StepRun{o.Steps, o.Rollback} {
		for i := range steps {
			s := &steps[i]
			if s.Phase == Succeeded {
				done = append(done, s.ID)
			}
			if s.Phase == Pending {
				left = append(left, s.ID)
			}
			if s.Phase == Running { // any other says itself how it ended
				s.Phase, s.Ended, s.Detail = Failed, now, "abandoned: "+s.halfDone()
				half = append(half, s.ID+": "+s.halfDone())
			}
		}
	}
	for _, part := range []struct {
		what  string
		names []string
	}{{"half done", half}, {"done", done}, {"not begun", left}} {
		if len(part.names) > 0 {
			why += "; " + part.what + ": " + strings.Join(part.names, ", ")
		}
	}
	if before != "" {
		why += "; before that: " + before
	}
	o.Phase, o.Ended, o.Outcome = Failed, now, text.Tidy(why)
	return o
}

// halfDone says what a step may leave that nobody brings to its end.
func (s StepRun) halfDone() string {
	stopped := fmt.Sprintf("%s may be scaled to 0 and is to have %d pods", s.Title(), s.Replicas)
	switch {
	case s.Do == StartJob && s.Mark != "" && s.Job != nil:
		return fmt.Sprintf("job %s may still run", s.Job.Name)
	case s.Do == RunCommand && s.Mark != "":
		return "the command may have been done, and may still run"
	case s.Do == Replace && s.Mark == MarkStopping:
		return stopped
	case s.Do == Replace && s.Mark == MarkStarting:
		return stopped + ", or be changed"
	case s.Do == Roll, s.Do == Replace && s.Mark == MarkRestored:
		return fmt.Sprintf("%s may be changed, and not be rolled out", s.Title())
	}
	return "nothing was changed"
}
