package plan

import (
	"fmt"
	"slices"
)

// RollbackSteps gives the steps that put the old images back, or says why there are none.
func (o Operation) RollbackSteps() (steps []StepRun, why string) {
	if o.OnFailure != Rollback || !o.touched() {
		return nil, ""
	}
	if crossed, _ := crossings([]Operation{o}, o.Before); len(crossed) > 0 {
		return nil, fmt.Sprintf("the old images are not put back, for that would cross a migration (migrated: %s)",
			crossed[0].Migrated)
	}
	for _, s := range o.Steps {
		if s.Phase == Pending || len(s.Images) == 0 || (s.Do != Roll && s.Do != Replace) {
			continue
		}
		if s.Do == Replace && s.Mark == "" { // it was never touched, and is not stopped for nothing
			continue
		}
		u := Step{
			ID: "roll back " + s.ID, Stage: s.Stage, Do: s.Do, Name: s.Name, Ref: s.Ref, Replicas: s.Replicas,
			Partition: s.Partition,
		}
		for _, c := range s.Images {
			u.Images = append(u.Images, ImageChange{Container: c.Container, Init: c.Init, From: c.To, To: c.From})
		}
		steps = append(steps, StepRun{Step: u})
	}
	return steps, ""
}

// touched says whether the operation may have changed a workload.
func (o Operation) touched() bool {
	return slices.ContainsFunc(o.Steps, func(s StepRun) bool {
		return (s.Do == Roll || s.Do == Replace) && s.Phase != Pending
	})
}
