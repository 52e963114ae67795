package config

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/web"
)

func TestTheVerbsAreThoseOfTheAPI(t *testing.T) {
	var ours, its []string
	for _, v := range Verbs() {
		ours = append(ours, string(v))
	}
	for _, v := range web.Verbs() {
		its = append(its, string(v))
	}
	slices.Sort(ours)
	slices.Sort(its)
	if diff := cmp.Diff(its, ours); diff != "" {
		t.Errorf("(-web +config):\n%s", diff)
	}
}
