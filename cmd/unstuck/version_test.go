package main

import (
	"encoding/json"
	"regexp"
	"runtime"
	"testing"

	"github.com/cjworkbench/unstuck/version"
)

func TestVersionIsPrintedAsTextOrJSON(t *testing.T) {
	code, stdout, _ := try(t, nil, "version")
	if code != 0 || !regexp.MustCompile(`^unstuck \S+, .*, go1\.\S+, \w+/\w+\n$`).MatchString(stdout) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	code, stdout, _ = try(t, nil, "version", "--json")
	var v version.Info
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 0 || v.Go != runtime.Version() || v.Version == "" {
		t.Errorf("exit code %d, %v, %s", code, err, stdout)
	}
}
