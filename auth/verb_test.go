package auth

import "testing"

func TestVerbsAreEachDoneToSomethingAndListedOnce(t *testing.T) {
	seen := make(map[Verb]bool)
	for _, r := range verbs {
		if r.verb == "" || seen[r.verb] || (r.ofEnvironment == nil && r.ofTarget == nil) {
			t.Errorf("the row of %q: want a verb of its own, and what kubectl would need for it", r.verb)
		}
		seen[r.verb] = true
	}
}
