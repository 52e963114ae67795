package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/workload"
)

// at gives the workload that a reference names, if it is there.
func (s State) at(ref workload.Ref) (workload.Workload, bool) {
	i := slices.IndexFunc(s.Workloads, func(w workload.Workload) bool { return w.Ref == ref })
	if i < 0 {
		return workload.Workload{}, false
	}
	return s.Workloads[i], true
}

// workloadOf gives a service's workload, if it can be worked on.
func (s State) workloadOf(service Service) (workload.Workload, error) {
	w, there := s.at(service.Ref)
	if !there {
		return w, Refuse(NotReady, "create it first", "there is no %s of service %s", service.Title(), service.Name)
	}
	if w.Paused {
		return w, Refuse(NotReady, "resume it: kubectl rollout resume "+w.InKubectl(),
			"%s is paused and would never roll out", w.Title())
	}
	if service.Kind == Singleton && w.Replicas > 1 {
		return w, Refuse(NotReady, "scale it to 1, or call the service rolling",
			"%s is a singleton, and its %s asks for %d pods", service.Name, w.Title(), w.Replicas)
	}
	return w, nil
}

// canTake refuses a step that its workload would not carry out, or not without harm.
func canTake(w workload.Workload, s Step) error {
	wanted := max(w.Replicas, s.Replicas)
	switch {
	case (s.Do == Roll || s.Do == Replace) && !w.Rolls():
		return Refuse(NotReady, "have it replace them: kubectl patch "+w.InKubectl()+
			` -p '{"spec":{"updateStrategy":{"type":"RollingUpdate"}}}'`,
			"%s has the update strategy %s: it would not replace its pods", w.Title(), w.Strategy)
	case (s.Do == Roll || s.Do == Replace) && w.Partition > 0 && w.Partition >= wanted:
		return Refuse(NotReady, "lower spec.updateStrategy.rollingUpdate.partition",
			"%s has the partition %d and %d pods: all of them would stay as they are", w.Title(), w.Partition, wanted)
	case s.Do == Replace && w.DropsVolumes:
		return Refuse(NotReady, "set spec.persistentVolumeClaimRetentionPolicy.whenScaled: Retain; or call the service "+
			"rolling, for a StatefulSet never runs two pods of one name",
			"%s deletes the volumes of pods that are scaled away: the singleton would lose its data when it is stopped",
			w.Title())
	}
	return strayOf(w, s)
}

// strayOf refuses to stop a singleton while an orphan runs. The orphan would be waited for in vain, and the singleton
// left at 0 pods.
func strayOf(w workload.Workload, s Step) error {
	p, stray := w.Uncontrolled()
	if s.Do != Replace || !stray {
		return nil
	}
	return Refuse(NotReady, "delete that pod, or take the labels from it",
		"pod %s has the labels that %s selects, and no %s controls it: it may be an old pod of the singleton, and nothing "+
			"would stop it", p.Name, w.Title(), w.Controller())
}

// heldBack says which pods will keep the old template, or may hold up the others for good.
func heldBack(steps []Step, s State) string {
	var found []string
	for _, step := range steps {
		w, there := s.at(step.Ref)
		if !there || (step.Do != Roll && step.Do != Replace) {
			continue
		}
		if w.Partition > 0 {
			found = append(found, fmt.Sprintf("%s has the partition %d: only its pods from number %d on change", w.Title(),
				w.Partition, w.Partition))
		}
		if held := w.HeldUp(); held != "" && step.Do == Roll {
			found = append(found, held)
		}
	}
	return strings.Join(found, "; ")
}

// keptAsGitHasIt refuses to change images that another tool would put back, or where that is allowed says so.
func keptAsGitHasIt(steps []Step, env Environment, s State) (warning string, err error) {
	for _, step := range steps {
		w, there := s.at(step.Ref)
		if !there || len(step.Images) == 0 || w.KeptBy == "" {
			continue
		}
		found := fmt.Sprintf("%s is kept as Git has it by %s", w.Title(), w.KeptBy)
		if env.GitOps != AllowGitOps {
			const hint = "change the commit in Git; or have that tool leave the images alone, and set gitops: allow"
			return "", Refuse(NotReady, hint, "%s, which would put the old image back", found)
		}
		if warning == "" {
			warning = found + ": unless that was told to leave the images alone, it puts the old one back"
		}
	}
	return warning, nil
}

// scaledToNothing says which services will not show whether the commit starts.
func scaledToNothing(steps []Step, s State) string {
	var names []string
	for _, step := range steps {
		if w, there := s.at(step.Ref); there && w.Replicas == 0 && step.Replicas == 0 {
			names = append(names, step.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "nothing will show that the commit starts in what is scaled to 0: " + strings.Join(names, ", ")
}

// Rollout says how far the step's workload has rolled out, which was changed at that time; zero: it was not. By a
// partition that somebody raises meanwhile a StatefulSet is done before the pods are that the plan said would change.
func (s Step) Rollout(w workload.Workload, changed time.Time) workload.Rollout {
	rollout := workload.RolloutSince(w, changed)
	if rollout.Done && w.Partition > s.Partition && w.Updated < w.Replicas-s.Partition {
		return workload.Rollout{Detail: fmt.Sprintf("its partition was raised from %d to %d meanwhile, and %d of %d pods "+
			"are of the new template", s.Partition, w.Partition, w.Updated, w.Replicas)}
	}
	return rollout
}
