package main

import (
	"encoding/json"
	"regexp"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheVersionIsWhatTheLinkerLeft(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	for want, info := range map[string]*debug.BuildInfo{
		"unstuck (devel), an unknown commit, , " + platform: {},
		"unstuck v1.2.3, commit 0123456789ab, go1.26.8, " + platform: {
			GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "false"}},
		},
		"unstuck (devel), commit abc with changes, go1.26.8, " + platform: {
			GoVersion: "go1.26.8",
			Settings:  []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
		},
	} {
		if got := versionOf(info).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTheVersionIsPrintedAsTextOrJSON(t *testing.T) {
	code, stdout, _ := try(t, nil, "version")
	if code != 0 || !regexp.MustCompile(`^unstuck \S+, .*, go1\.\S+, \w+/\w+\n$`).MatchString(stdout) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	code, stdout, _ = try(t, nil, "version", "--json")
	var v version
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 0 || v.Go != runtime.Version() || v.Version == "" {
		t.Errorf("exit code %d, %v, %s", code, err, stdout)
	}
}
