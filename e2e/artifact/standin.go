package artifact

import (
	"context"
	"maps"
	"slices"
)

// StandinRegistry is where the images of the application's stand-in are said to be: in the cluster itself.
const StandinRegistry = "registry.registry.svc:5000"

// StandinImages lists the short names of those images, as production's are called.
func StandinImages() []string { return []string{"frontend", "cron", "migrate", "upload-assets"} }

// StandinImage names one of them at a commit.
func StandinImage(name, commit string) string {
	return StandinRegistry + "/workbench/" + name + ":" + commit
}

// Standin gives the path of a tar file with the images of the application's stand-in at a commit, which are all the
// same. The environment's variables say how that commit behaves: see cmd/tool.
func (m *Maker) Standin(ctx context.Context, commit string, environment map[string]string) (string, error) {
	program, err := m.Own(ctx, "tool")
	if err != nil {
		return "", err
	}
	var names []string
	for _, name := range StandinImages() {
		names = append(names, StandinImage(name, commit))
	}
	env := []string{"COMMIT=" + commit}
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		env = append(env, name+"="+environment[name])
	}
	return m.programImage("standin-"+commit[:7], names, program, env)
}
