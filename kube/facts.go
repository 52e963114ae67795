package kube

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// The answers to the questions of the guards. Each is a function of what was read of the cluster, whether from the
// watches or afresh, and says why, so that a person can be told.

// verdict is an Answer and what it rests on.
type verdict struct {
	target.Answer

	why string
}

func yes(format string, args ...any) verdict {
	return verdict{target.Yes, fmt.Sprintf(format, args...)}
}

func no(format string, args ...any) verdict { return verdict{target.No, fmt.Sprintf(format, args...)} }

func cannotTell(format string, args ...any) verdict {
	return verdict{target.CannotTell, fmt.Sprintf(format, args...)}
}

// lineage is what stands above a pod. What is nil is unknown.
type lineage struct {
	set        *workload // its StatefulSet
	replicaSet *workload
	deployment *workload // of the replicaSet
}

// top gives what stands highest: the StatefulSet or the Deployment; kind is empty if neither is known.
func (l lineage) top() (kind string, w workload) {
	switch {
	case l.set != nil:
		return "StatefulSet", *l.set
	case l.deployment != nil:
		return "Deployment", *l.deployment
	}
	return "", workload{}
}

// owned says whether something would recreate p.
func owned(p pod, l lineage) verdict {
	switch {
	case p.owner == (owner{}):
		return no("it has no controller")
	case p.owner.kind == "StatefulSet":
		if l.set == nil {
			return cannotTell("StatefulSet %s is not known", p.owner.name)
		}
		v := keeps(p.owner, *l.set)
		if i, ok := ordinal(l.set.name, p.name); v.Answer == target.Yes &&
			(!ok || i < l.set.start || i >= l.set.start+l.set.replicas) {
			return no("StatefulSet %s wants %d from number %d on", l.set.name, l.set.replicas, l.set.start)
		}
		return v
	case p.owner.kind != "ReplicaSet":
		return cannotTell("its controller is a %s", p.owner.kind)
	case l.replicaSet == nil:
		return cannotTell("ReplicaSet %s is not known", p.owner.name)
	}
	if v := keeps(p.owner, *l.replicaSet); v.Answer != target.Yes {
		return v
	}
	switch {
	case l.replicaSet.owner.kind != "Deployment":
		return cannotTell("ReplicaSet %s belongs to no Deployment", l.replicaSet.name)
	case l.deployment == nil:
		return cannotTell("Deployment %s is not known", l.replicaSet.owner.name)
	}
	return keeps(l.replicaSet.owner, *l.deployment)
}

// keeps says whether w is the o that was meant, and here to stay.
func keeps(o owner, w workload) verdict {
	switch {
	case w.uid != o.uid:
		return no("%s %s is another than its own", o.kind, o.name)
	case w.terminating:
		return no("%s %s is being deleted", o.kind, o.name)
	case w.replicas < 1:
		return no("%s %s wants no pods", o.kind, o.name)
	}
	return yes("%s %s would recreate it", o.kind, o.name)
}

// rollingOut says whether the pods of p's set are changing, or would with p: a pod that comes back at another revision
// is an update, and that is not ours to make.
func rollingOut(p pod, l lineage) verdict {
	kind, w := l.top()
	switch {
	case kind == "":
		return cannotTell("what it belongs to is not known")
	case !w.observed:
		return yes("%s %s has just been changed", kind, w.name)
	case w.current != w.replicas:
		return yes("%s %s has %d pods and wants %d", kind, w.name, w.current, w.replicas)
	case kind == "Deployment" && w.updated < w.replicas:
		return yes("%s %s has updated %d of %d pods", kind, w.name, w.updated, w.replicas)
	case kind == "Deployment":
		return no("%s %s is not rolling out", kind, w.name)
	}
	return setRollingOut(p, w)
}

// setRollingOut is the rest of it for a StatefulSet.
//
// A partition that has been reached is not a rollout under way: the pods below it keep the current revision and come
// back with it, those above have the update revision already. With the strategy OnDelete, currentRevision never follows
// (completeRollingUpdate in pkg/controller/statefulset is for rolling updates alone); there the number of updated pods
// tells.
func setRollingOut(p pod, w workload) verdict {
	wanted, revision := w.replicas, w.updateRev
	if w.currentRev != w.updateRev && !w.updatesOnDelete {
		if w.partition == 0 {
			return yes("StatefulSet %s is being updated", w.name)
		}
		wanted = max(0, w.replicas-w.partition)
		if i, ok := ordinal(w.name, p.name); ok && i < w.start+w.partition {
			revision = w.currentRev
		}
	}
	switch {
	case w.updateRev == "":
		return cannotTell("StatefulSet %s names no revision", w.name)
	case w.updated < wanted:
		return yes("StatefulSet %s has updated %d of %d pods", w.name, w.updated, wanted)
	case p.labels[appsv1.ControllerRevisionHashLabelKey] != revision:
		return yes("StatefulSet %s would bring it back at another revision", w.name)
	}
	return no("StatefulSet %s is not rolling out", w.name)
}

// disruptable says whether the disruption budgets allow that p goes. It follows the eviction API, which does not guard
// what is down already (pkg/registry/core/pod/storage/eviction.go): a pod that is not ready may go while enough others
// are healthy, or always, if the budget says so. Where that API refuses several budgets for one pod, here each of them
// must allow it.
func disruptable(p pod, budgets map[string]budget) verdict {
	for _, name := range slices.Sorted(maps.Keys(budgets)) {
		b := budgets[name]
		switch {
		case b.selector == nil:
			return cannotTell("the selector of budget %s cannot be read", name)
		case !b.selector.Matches(labels.Set(p.labels)), !p.ready && b.unhealthyAlways:
		case !b.observed:
			return cannotTell("budget %s has just been changed", name)
		case !p.ready && b.desired > 0 && b.healthy >= b.desired:
		case b.allowed < 1:
			return no("budget %s allows no disruption: %d pods are healthy, %d must be", name, b.healthy, b.desired)
		}
	}
	return yes("no disruption budget forbids it")
}

// operating says whether somebody holds the lock on the namespace, and who. Its times are those of who holds it.
func operating(l apiserver.Lock, found bool, now time.Time) (verdict, string) {
	switch {
	case !found || l.Holder == "":
		return no("nobody holds the lock"), ""
	case l.Renewed.IsZero() || l.Lasts <= 0:
		return cannotTell("the lock of %s has no end", l.Holder), ""
	case now.Before(l.Renewed.Add(l.Lasts)):
		return yes("the lock is held: %s", l.Holder), l.Holder
	}
	return no("the lock of %s has expired", l.Holder), ""
}

// expected is how many pods there should be: the sum over the sets and Deployments whose pods s selects. It is 0, which
// is cannot tell, if there are none, one of them is going, or a kind of them is nil: not known.
func expected(s labels.Selector, workloads ...map[string]workload) int {
	sum := 0
	for _, of := range workloads {
		if of == nil {
			return 0
		}
		for _, w := range of {
			switch {
			case !s.Matches(labels.Set(w.template)):
			case w.terminating:
				return 0
			default:
				sum += w.replicas
			}
		}
	}
	return sum
}
