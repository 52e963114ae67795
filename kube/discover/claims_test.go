package discover

import (
	"slices"
	"testing"

	"github.com/cjworkbench/unstuck/target"
)

func TestClaimsAreRefusedToBothWhoShareANameOrPods(t *testing.T) {
	one := func(namespace, name, selector string, pod map[string]string) Found {
		return Found{
			Source: target.Source{Kind: target.FromStatefulSet, Namespace: namespace, Name: name}, Name: nameOf(namespace, name),
			Selector: selector, Labels: pod,
		}
	}
	both := map[string]string{"app": "rabbit", "tier": "broker"}
	for _, c := range []struct {
		name string
		all  []Found
		want []string
	}{
		{"nothing in common", []Found{one("a", "x", "app=x", map[string]string{"app": "x"}), one("a", "y", "app=y", map[string]string{"app": "y"})}, []string{"", ""}},
		{"the same labels elsewhere", []Found{one("a", "x", "app=rabbit", both), one("b", "x", "app=rabbit", both)}, []string{"", ""}},
		{
			"one's selector fits the other's pods",
			[]Found{one("a", "x", "app=rabbit", map[string]string{"app": "rabbit"}), one("a", "y", "tier=broker", both)},
			[]string{"StatefulSet a/y claims the same pods", "StatefulSet a/x claims the same pods"},
		},
		{
			"the same name",
			[]Found{one("a-b", "c", "app=x", nil), one("a", "b-c", "app=x", nil)},
			[]string{"StatefulSet a/b-c would have the same name, a-b-c", "StatefulSet a-b/c would have the same name, a-b-c"},
		},
	} {
		if got := Claims(c.all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
