package deploy

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keeper is a tool that keeps objects as Git has them.
type keeper struct {
	name   string
	marks  []string            // the labels and annotations by which it knows those that are its own
	leaves map[string][]string // the annotations, and their values, with which it is told to leave one of them alone
}

// keepers are those that we know. Argo CD may also go by the label app.kubernetes.io/instance, which anybody sets: of
// that nothing follows.
var keepers = []keeper{
	{"Argo CD", []string{"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"}, nil},
	{
		"Flux",
		[]string{"kustomize.toolkit.fluxcd.io/name"},
		map[string][]string{
			"kustomize.toolkit.fluxcd.io/reconcile": {"disabled"},
			"kustomize.toolkit.fluxcd.io/ssa":       {"Ignore", "IfNotPresent"},
		},
	},
	{
		"Flux",
		[]string{"helm.toolkit.fluxcd.io/name"},
		map[string][]string{"helm.toolkit.fluxcd.io/driftDetection": {"disabled"}},
	},
	{
		"Config Sync",
		[]string{"configsync.gke.io/declared-fields"},
		map[string][]string{
			"configmanagement.gke.io/managed":         {"disabled"},
			"client.lifecycle.config.k8s.io/mutation": {"ignore"},
		},
	},
	{"Rancher's Fleet or k3s", []string{"objectset.rio.cattle.io/id"}, nil},
}

// unmarked gives the labels or annotations of a template without those by which such a tool would take what is made of
// it for its own, and delete it, for Git does not have it. Here the label that anybody sets counts, too.
func unmarked(m map[string]string) map[string]string {
	kept := maps.Clone(m)
	delete(kept, "app.kubernetes.io/instance")
	for _, k := range keepers {
		for _, mark := range k.marks {
			delete(kept, mark)
		}
	}
	return kept
}

// keptBy gives the tool that keeps an object as Git has it, and by what that is known; nothing if none is known, or it
// was told to leave the object alone.
func keptBy(o metav1.Object) string {
	for _, k := range keepers {
		if k.leavesAlone(o) {
			continue
		}
		for _, mark := range k.marks {
			if o.GetLabels()[mark] != "" {
				return fmt.Sprintf("%s (label %s)", k.name, mark)
			}
			if o.GetAnnotations()[mark] != "" {
				return fmt.Sprintf("%s (annotation %s)", k.name, mark)
			}
		}
	}
	return ""
}

func (k keeper) leavesAlone(o metav1.Object) bool {
	for note, values := range k.leaves {
		if slices.Contains(values, o.GetAnnotations()[note]) {
			return true
		}
	}
	return false
}
