// Package version tells what this program was built from.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Info is what this program was built from.
type Info struct {
	Version  string `json:"version"` // of the module: a tag, a pseudo-version, or (devel)
	Commit   string `json:"commit"`  // empty: not built from a checkout
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Told by who builds without a checkout, in an image for instance, with -ldflags '-X PATH.builtVersion=... -X
// PATH.builtCommit=...', where PATH is this package's. Empty: nobody said.
var builtVersion, builtCommit string

// Current reads what the Go linker left in the program.
func Current() Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	v := of(info)
	v.Version, v.Commit = cmp.Or(builtVersion, v.Version), cmp.Or(builtCommit, v.Commit)
	return v
}

func of(info *debug.BuildInfo) Info {
	v := Info{Version: info.Main.Version, Go: info.GoVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is one line: version, commit, Go, platform.
func (v Info) String() string {
	commit := "an unknown commit"
	if v.Commit != "" {
		commit = "commit " + v.Commit[:min(len(v.Commit), 12)]
	}
	if v.Modified {
		commit += " with changes"
	}
	return fmt.Sprintf("unstuck %s, %s, %s, %s", v.Version, commit, v.Go, v.Platform)
}
