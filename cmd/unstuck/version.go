package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what this program was built from.
type version struct {
	Version  string `json:"version"` // of the module: a tag, a pseudo-version, or (devel)
	Commit   string `json:"commit"`  // empty: not built from a checkout
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Told by whoever builds without a checkout, in an image for instance, with -ldflags '-X main.builtVersion=... -X
// main.builtCommit=...'. Empty: nobody said.
var builtVersion, builtCommit string

// currentVersion reads what the Go linker left in the program.
func currentVersion() version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	v := versionOf(info)
	v.Version, v.Commit = cmp.Or(builtVersion, v.Version), cmp.Or(builtCommit, v.Commit)
	return v
}

func versionOf(info *debug.BuildInfo) version {
	v := version{Version: info.Main.Version, Go: info.GoVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

func (v version) String() string {
	commit := "an unknown commit"
	if v.Commit != "" {
		commit = "commit " + v.Commit[:min(len(v.Commit), 12)]
	}
	if v.Modified {
		commit += " with changes"
	}
	return fmt.Sprintf("unstuck %s, %s, %s, %s", v.Version, commit, v.Go, v.Platform)
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit and the Go version",
		Long:    "Print the version, the commit that it was built from, the Go version and the platform.",
		Example: "  unstuck version --json | jq -r .commit",
		Args:    exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(currentVersion())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), currentVersion())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
