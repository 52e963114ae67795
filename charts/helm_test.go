package charts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

const chart = "unstuck"

// The least that must be said: an image, and something to watch.
const least = `
image: {repository: registry.example/unstuck}
config:
  brokers:
    - name: jobs
      username: unstuck
      secret: {name: jobs-user}
      pods: {namespace: jobs, selector: app=rabbitmq, container: rabbitmq}
`

// withEnvironment is that, and an environment with these lines besides the least that one must say.
func withEnvironment(lines string) string {
	return least + `  environments:
    - name: production
      namespace: prod
      image: 'registry.example/{image}:{commit}'
      services: [{name: web, deployment: web, image: web}]
      ` + lines + "\n"
}

// helmPath builds helm, once: the first time on a machine that takes minutes.
var helmPath = sync.OnceValues(func() (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "tool", "-modfile=../tools/helm/go.mod", "-n", "helm").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("build helm: %w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
})

// helm runs helm on the chart, without the user's own settings, without a cluster, and with values (YAML) over those
// of the chart.
func helm(t *testing.T, values, command string, args ...string) (string, error) {
	t.Helper()
	return helmOn(t, chart, values, command, args...)
}

// helmOn is helm with another chart.
func helmOn(t *testing.T, chart, values, command string, args ...string) (string, error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{command, "--namespace", "tools", "--values", file}, args...)
	cmd := exec.CommandContext(t.Context(), path, append(args, chart)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null",
		"HELM_CONFIG_HOME="+dir, "HELM_CACHE_HOME="+dir, "HELM_DATA_HOME="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// object is one that the chart renders.
type object map[string]any

func (o object) kind() string { return o["kind"].(string) }

// at gives what stands at a path of keys; nil where there is nothing.
func at[T any](o any, keys ...string) T {
	for _, key := range keys {
		switch m := o.(type) {
		case object:
			o = m[key]
		case map[string]any:
			o = m[key]
		default:
			o = nil
		}
	}
	v, _ := o.(T)
	return v
}

// render gives the objects that the chart makes of values.
func render(t *testing.T, values string) []object {
	t.Helper()
	out, err := helm(t, values, "template", "watcher")
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, out)
}

// objects reads what helm rendered. A key that comes twice is an error.
func objects(t *testing.T, out string) (all []object) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(out)); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, out)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// only gives the one object of a kind.
func only(t *testing.T, all []object, kind string) object {
	t.Helper()
	of := ofKind(all, kind)
	if len(of) != 1 {
		t.Fatalf("there are %d objects of kind %s, want 1", len(of), kind)
	}
	return of[0]
}

func ofKind(all []object, kind string) (of []object) {
	for _, o := range all {
		if o.kind() == kind {
			of = append(of, o)
		}
	}
	return of
}

// example gives the values of one of the chart's examples, with others on top of it as helm puts them there.
func example(t *testing.T, names ...string) string {
	t.Helper()
	values := make(map[string]any)
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(chart, "examples", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 1 {
			return string(data)
		}
		var more map[string]any
		if err := yaml.Unmarshal(data, &more); err != nil {
			t.Fatal(err)
		}
		overlay(values, more)
	}
	data, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// overlay puts values on top of others: maps are merged, anything else is replaced.
func overlay(values, more map[string]any) {
	for key, v := range more {
		below, isMap := values[key].(map[string]any)
		if above, both := v.(map[string]any); both && isMap {
			overlay(below, above)
			continue
		}
		values[key] = v
	}
}
