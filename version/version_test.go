package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionIsWhatTheLinkerLeft(t *testing.T) {
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
		if got := of(info).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
