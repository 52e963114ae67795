package discover

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cjworkbench/unstuck/target"
)

var update = flag.Bool("update", false, "write the golden files anew")

// resource reads a file of testdata, as the operator or a person has written it.
func resource(t testing.TB, name string) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var o unstructured.Unstructured
	if err := yaml.Unmarshal(data, &o.Object); err != nil {
		t.Fatal(err)
	}
	return &o
}

// TestReadGivesEachResourceThisBrokerOrThisRefusal compares what is read of each resource with a golden file.
func TestReadGivesEachResourceThisBrokerOrThisRefusal(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d resources, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			f, refusal := Read(resource(t, name))
			var got any = f
			if refusal != nil {
				got = refusal
				if strings.Contains(refusal.Why, "\n") || len(refusal.Why) > 200 {
					t.Errorf("this is no line: %s", refusal.Why)
				}
			}
			data, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, '\n')
			golden := strings.TrimSuffix(file, ".yaml") + ".json"
			if *update {
				if err := os.WriteFile(golden, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, data) {
				t.Errorf("(-want +got):\n%s", cmp.Diff(string(want), string(data)))
			}
		})
	}
}

func TestReadGivesNamesThatDoForBrokersAndDiffer(t *testing.T) {
	seen := make(map[string]string)
	for _, c := range [][2]string{
		{"a", "b"},
		{"a", "b.c"},
		{"a", "b-c"},
		{strings.Repeat("n", 63), "x"},
		{strings.Repeat("n", 63), "y"},
		{"production", strings.Repeat("o", 63)},
		{"production", strings.Repeat("o", 52)},
		{"production", strings.Repeat("o", 53)},
	} {
		name := nameOf(c[0], c[1])
		if len(name) > longestName || strings.ContainsAny(name, "._/") || seen[name] != "" {
			t.Errorf("%v is called %q, as is %q", c, name, seen[name])
		}
		seen[name] = c[0] + "/" + c[1]
	}
	if got := nameOf("production", "orders"); got != "production-orders" {
		t.Error(got)
	}
}

// What is not a resource at all ends nothing, and gives nothing away.
func TestReadRefusesWhatIsNoResource(t *testing.T) {
	for _, o := range []map[string]any{
		{},
		{"kind": "RabbitmqCluster"},
		{"kind": "RabbitmqCluster", "apiVersion": "rabbitmq.com/v1beta1", "spec": "hunter2"},
		{"kind": "RabbitmqCluster", "apiVersion": "rabbitmq.com/v1beta1", "spec": map[string]any{"override": map[string]any{"statefulSet": map[string]any{"spec": map[string]any{"selector": map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "Near"}}}}}}}},
		{"kind": "StatefulSet", "apiVersion": "apps/v1", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"resources": map[string]any{"limits": map[string]any{"memory": "hunter2"}}}}}}}},
	} {
		f, refusal := Read(&unstructured.Unstructured{Object: o})
		if refusal == nil {
			t.Errorf("%v is %+v", o, f)
		} else if refusal.Ignored || strings.Contains(refusal.Error(), "hunter2") {
			t.Errorf("%v: %v", o, refusal)
		}
	}
}

func FuzzReadNeverPanicsAndSaysEachRefusalInOneLine(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, err := json.Marshal(resource(f, strings.TrimSuffix(filepath.Base(file), ".yaml")))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var o unstructured.Unstructured
		if json.Unmarshal(data, &o.Object) != nil {
			return
		}
		found, refusal := Read(&o)
		switch {
		case refusal != nil && (refusal.Why == "" || strings.Contains(refusal.Why, "\n")):
			t.Errorf("%q", refusal.Why)
		case refusal == nil && (found.Selector == "" || found.Container == "" || found.Replicas < 1 || found.Port == 0 ||
			(found.Secret.Name == "") == (found.NoSecret == "") || found.Source.Kind == target.FromConfiguration):
			t.Errorf("%+v", found)
		}
	})
}
