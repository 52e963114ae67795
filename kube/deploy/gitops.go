package deploy

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// marks are the labels and annotations by which tools that keep objects as Git has them know those that are theirs.
// Argo CD may also go by the label app.kubernetes.io/instance, which anybody sets: of that nothing follows.
var marks = map[string]string{
	"argocd.argoproj.io/tracking-id":    "Argo CD",
	"argocd.argoproj.io/instance":       "Argo CD",
	"kustomize.toolkit.fluxcd.io/name":  "Flux",
	"helm.toolkit.fluxcd.io/name":       "Flux",
	"configsync.gke.io/declared-fields": "Config Sync",
	"objectset.rio.cattle.io/id":        "Rancher Fleet",
}

// leaves are the annotations, and their values, with which such a tool is told to leave an object alone.
var leaves = map[string]string{
	"kustomize.toolkit.fluxcd.io/reconcile":   "disabled",
	"kustomize.toolkit.fluxcd.io/ssa":         "Ignore",
	"helm.toolkit.fluxcd.io/driftDetection":   "disabled",
	"configmanagement.gke.io/managed":         "disabled",
	"client.lifecycle.config.k8s.io/mutation": "ignore",
}

// unmarked gives the labels or annotations of a template without those by which such a tool would take what is made of
// it for its own, and delete it, for Git does not have it. Here the label that anybody sets counts, too.
func unmarked(m map[string]string) map[string]string {
	kept := maps.Clone(m)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		_, marked := marks[key]
		return marked || key == "app.kubernetes.io/instance"
	})
	return kept
}

// keptBy gives the tool that keeps an object as Git has it, and by what that is known; nothing if none is known.
func keptBy(o metav1.Object) string {
	for note, value := range leaves {
		if o.GetAnnotations()[note] == value {
			return ""
		}
	}
	for _, mark := range slices.Sorted(maps.Keys(marks)) {
		for kind, has := range map[string]map[string]string{"label": o.GetLabels(), "annotation": o.GetAnnotations()} {
			if has[mark] != "" {
				return fmt.Sprintf("%s (%s %s)", marks[mark], kind, mark)
			}
		}
	}
	return ""
}
