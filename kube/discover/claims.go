package discover

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
)

// Claims says of each resource with which other it is at odds; empty: with none.
func Claims(all []Found) []string {
	said := make([]string, len(all))
	for i, a := range all {
		for j, b := range all {
			switch {
			case i == j || said[i] != "":
			case a.Name == b.Name:
				said[i] = fmt.Sprintf("%s would have the same name, %s", b.Source, b.Name)
			case a.Source.Namespace == b.Source.Namespace && (fits(a.Selector, b.Labels) || fits(b.Selector, a.Labels)):
				said[i] = fmt.Sprintf("%s claims the same pods", b.Source)
			}
		}
	}
	return said
}

func fits(selector string, pod map[string]string) bool {
	s, err := labels.Parse(selector)
	return err == nil && s.Matches(labels.Set(pod))
}
