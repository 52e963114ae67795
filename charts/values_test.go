package charts_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestValuesSchemaRefusesWhatIsUnknownOrOfTheWrongKind(t *testing.T) {
	inBroker := func(line string) string {
		return strings.Replace(least, "      username", "      "+line+"\n      username", 1)
	}
	// One environment that says this of a key, or the least that it must say.
	inEnvironment := func(line string) string {
		lines := []string{"name: a", "namespace: a", "image: 'a/{image}:{commit}'", "services: [{name: a, deployment: a, image: a}]"}
		key, _, _ := strings.Cut(line, ":")
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") })
		return least + "  environments: [{" + strings.Join(append(lines, line), ", ") + "}]\n"
	}
	for _, c := range []struct{ values, want string }{
		{least + "replica: 2\n", "at '': additional properties 'replica' not allowed"},
		{least + "replicas: two\n", "at '/replicas': got string, want integer"},
		{least + "replicas: 0\n", "at '/replicas': minimum: got 0, want 1"},
		{"image: {repository: 'registry.example/unstuck:v1'}\n", "at '/image/repository': 'registry.example/unstuck:v1' does not match pattern"},
		{"image: {name: unstuck}\n", "at '/image': additional properties 'name' not allowed"},
		{"image: {pullPolicy: Sometimes}\n", "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"},
		{"image: {digest: abc}\n", "at '/image/digest': 'abc' does not match pattern"},
		{least + "api: {exposed: 'yes'}\n", "at '/api/exposed': got string, want boolean"},
		{least + "metrics: {port: 70000}\n", "at '/metrics/port': maximum: got 70,000, want 65,535"},
		{least + "metrics: {serviceMonitor: {every: 1m}}\n", "at '/metrics/serviceMonitor': additional properties 'every' not allowed"},
		{least + "rbac: {delete: true}\n", "at '/rbac': additional properties 'delete' not allowed"},
		{least + "networkPolicy: {apiServer: {ports: [https]}}\n", "at '/networkPolicy/apiServer/ports/0': got string, want integer"},
		{least + "networkPolicy: {apiServer: {ports: []}}\n", "at '/networkPolicy/apiServer/ports': minItems: got 0, want 1"}, // in a policy, none are all
		{least + "networkPolicy: {apiServer: {cidrs: []}}\n", "at '/networkPolicy/apiServer/cidrs': minItems: got 0, want 1"},
		{least + "    - {name: listed, nodes: [{name: a, address: 10.0.0.1}]}\n", "at '/config/brokers/1/nodes/0/address': '10.0.0.1' does not match pattern"},
		{least + "resources: {limits: {gpu: 1}}\n", "at '/resources/limits': additional properties 'gpu' not allowed"},
		{least + "podLabels: {a: 1}\n", "at '/podLabels/a': got number, want string"},
		{least + "tolerations: [{keys: a}]\n", "at '/tolerations/0': additional properties 'keys' not allowed"},
		{least + "mounts: [{secret: a, configMap: b, path: /c}]\n", "at '/mounts/0': 'oneOf' failed, subschemas 0, 1 matched"},
		{least + "mounts: [{secret: a, path: c}]\n", "at '/mounts/0/path': 'c' does not match pattern"},

		{inBroker("mode: act"), "at '/config/brokers/0/mode': value must be one of 'observe', 'remediate'"},
		{inBroker("password: x"), "at '/config/brokers/0': additional properties 'password' not allowed"},
		{inBroker("handshake_timeout: 10"), "at '/config/brokers/0/handshake_timeout': got number, want string"},
		{inBroker("policy: {failure_threshold: '3'}"), "at '/config/brokers/0/policy/failure_threshold': got string, want integer"},
		{inBroker("policy: {graces: 3s}"), "at '/config/brokers/0/policy': additional properties 'graces' not allowed"},
		{inBroker("probes: {login: {timeout: soon}}"), "at '/config/brokers/0/probes/login/timeout': 'soon' does not match pattern"},
		{strings.Replace(least, "selector: app=rabbitmq, ", "", 1), "at '/config/brokers/0/pods': missing property 'selector'"},
		{strings.Replace(least, "{name: jobs-user}", "{}", 1), "at '/config/brokers/0/secret': missing property 'name'"},
		{least + "  apps: [{name: web, probes: {}, pods: {namespace: a, selector: b, container: c}}]\n", "at '/config/apps/0': additional properties 'probes' not allowed"},
		{inEnvironment("kind: rolling"), "at '/config/environments/0': additional properties 'kind' not allowed"},
		{inEnvironment("services: []"), "at '/config/environments/0/services': minItems: got 0, want 1"},
		{inEnvironment("services: [{name: a, deployment: a, image: a, kind: fast}]"), "at '/config/environments/0/services/0/kind': value must be one of 'rolling', 'singleton'"},
		{inEnvironment("services: [{name: a, deployment: a, image: 'a:latest'}]"), "at '/config/environments/0/services/0/image': 'a:latest' does not match pattern"},
		{inEnvironment("image: 'a/{image}:latest'"), "at '/config/environments/0/image': 'a/{image}:latest' does not match pattern"},
		{inEnvironment("jobs: [{name: a, from: {}}]"), "at '/config/environments/0/jobs/0/from': 'oneOf' failed, none matched"},
		{inEnvironment("jobs: [{name: a, from: {cronjob: a, podtemplate: a}}]"), "at '/config/environments/0/jobs/0/from': 'oneOf' failed, subschemas 0, 1 matched"},
		{inEnvironment("tasks: [{name: a, job: {cronjob: a}, exec: {service: a, command: [a]}}]"), "at '/config/environments/0/tasks/0': 'oneOf' failed, subschemas 0, 1 matched"},
		{inEnvironment("tasks: [{name: a, exec: {service: a, command: 'a b'}}]"), "at '/config/environments/0/tasks/0/exec/command': got string, want array"},
		{inEnvironment("cluster: {context: a}"), "at '/config/environments/0/cluster': missing property 'kubeconfig'"},
		{inEnvironment("deadlines: {rollout: 10}"), "at '/config/environments/0/deadlines/rollout': got number, want string"},
		{least + "  api: {tls: {cert_file: /a}}\n", "at '/config/api/tls': missing property 'key_file'"},
		{least + "  api: {tokens_file: tokens.yaml}\n", "at '/config/api/tokens_file': 'tokens.yaml' does not match pattern"},
		{least + "  api: {rate_limit: {per_second: 0}}\n", "at '/config/api/rate_limit/per_second': minimum: got 0, want 1"},
		{least + "rbac: {reviews: maybe}\n", "at '/rbac/reviews': got string, want boolean"},
		{least + "  listen: {api: ':80'}\n", "at '/config': additional properties 'listen' not allowed"},
		{least + "  kubernetes: {namespace: other}\n", "at '/config/kubernetes': additional properties 'namespace' not allowed"},
	} {
		if out, err := helm(t, c.values, "template"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q, for these values:\n%s%s", err, c.want, c.values, out)
		}
	}
}

// schema is as much of JSON Schema as the chart's uses.
type schema struct {
	Ref         string             `json:"$ref"`
	Type        any                `json:"type"`
	Description string             `json:"description"`
	Additional  json.RawMessage    `json:"additionalProperties"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
	Defs        map[string]*schema `json:"$defs"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	data, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// resolve follows a reference.
func (s *schema) resolve(t *testing.T, ref *schema) *schema {
	t.Helper()
	if ref.Ref == "" {
		return ref
	}
	target := s.Defs[strings.TrimPrefix(ref.Ref, "#/$defs/")]
	if target == nil {
		t.Fatalf("%s refers to nothing", ref.Ref)
	}
	return target
}

// walk calls visit for each place of the schema below s.
func (s *schema) walk(t *testing.T, path string, at *schema, visit func(path string, at *schema)) {
	at = s.resolve(t, at)
	visit(path, at)
	for name, p := range at.Properties {
		s.walk(t, strings.TrimPrefix(path+"."+name, "."), p, visit)
	}
	if at.Items != nil {
		s.walk(t, path+"[]", at.Items, visit)
	}
}

func TestValuesSchemaIsStrictAtEveryLevel(t *testing.T) {
	root := readSchema(t)
	seen := 0
	root.walk(t, "", root, func(path string, at *schema) {
		if at.Type != "object" || path == "global" { // that is Helm's own
			return
		}
		seen++
		switch {
		case at.Properties != nil && string(at.Additional) == "false":
		case at.Properties == nil && strings.Contains(string(at.Additional), `"type": "string"`): // labels
		case at.Description == "As the API of Kubernetes has it.":
		case strings.HasPrefix(path, "extraEnv[]"): // likewise, but that a name is required
		default:
			t.Errorf("%q takes anything else, too", path)
		}
	})
	if seen < 30 {
		t.Errorf("only %d objects were looked at", seen)
	}
}

// definitions are what `@schema` lines refer to.
var definitions = map[string]any{
	"text":       object{"type": "string", "minLength": 1},
	"labels":     object{"type": "object", "additionalProperties": object{"type": "string"}},
	"port":       object{"type": "integer", "minimum": 1, "maximum": 65535},
	"time":       object{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`},
	"kubernetes": object{"type": "object", "description": "As the API of Kubernetes has it."},
	"resources": object{"type": "object", "additionalProperties": false, "properties": object{
		"cpu":               object{"type": []string{"string", "number"}},
		"memory":            object{"type": []string{"string", "number"}},
		"ephemeral-storage": object{"type": []string{"string", "number"}},
	}},
}

// valueRow is a value of values.yaml: its row in the README's table.
type valueRow struct{ path, byDefault, meaning string }

// readValues gives every value with its row, and the schema of them all, except of what is below config.
func readValues(t *testing.T) (rows []valueRow, root object) {
	t.Helper()
	data, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var walk func(path, comment string, n *yaml.Node) object
	walk = func(path, comment string, n *yaml.Node) object {
		meaning, said := explained(t, path, comment)
		if n.Kind != yaml.MappingNode || n.Style == yaml.FlowStyle {
			if meaning == "" {
				t.Errorf("values.yaml says nothing of %s", path)
			}
			rows = append(rows, valueRow{path, text(t, n), meaning})
			if said["$ref"] == nil && said["type"] == nil && said["enum"] == nil {
				maps.Copy(said, inferred(t, path, n))
			}
			said["description"] = meaning
			return said
		}
		properties := object{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			properties[key.Value] = walk(strings.TrimPrefix(path+"."+key.Value, "."), key.HeadComment, n.Content[i+1])
		}
		return object{"type": "object", "additionalProperties": false, "properties": properties}
	}
	root = walk("", "", file.Content[0])
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Values of the chart unstuck"
	root["$defs"] = definitions
	root["properties"].(object)["global"] = object{
		"type": "object", "description": "What Helm itself hands to every chart of a parent; not used.",
	}
	return rows, root
}

// explained takes a comment of values.yaml apart: what it says in words, and in its line @schema.
func explained(t *testing.T, path, comment string) (meaning string, said object) {
	t.Helper()
	said = object{}
	var words []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		switch in, ok := strings.CutPrefix(line, "@schema "); {
		case line == "": // of the file, or of a part of it
			words = nil
		case !ok:
			words = append(words, line)
		default:
			if err := yaml.Unmarshal([]byte(in), &said); err != nil {
				t.Fatalf("values.yaml: @schema of %s: %v", path, err)
			}
		}
	}
	return strings.Join(words, " "), said
}

// inferred is what the default of a value says of its kind.
func inferred(t *testing.T, path string, n *yaml.Node) object {
	t.Helper()
	if n.Kind == yaml.MappingNode {
		return object{"$ref": "#/$defs/labels"}
	}
	if n.Kind == yaml.SequenceNode {
		return object{"type": "array"}
	}
	kind := map[string]string{"!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean"}[n.Tag]
	if kind == "" {
		t.Fatalf("values.yaml: the default of %s has the kind %s, want another, or @schema with a type", path, n.Tag)
	}
	return object{"type": kind}
}

// TestValuesAreExplainedInTheReadmeAndTheSchema compares both with values.yaml. With -update it writes them.
func TestValuesAreExplainedInTheReadmeAndTheSchema(t *testing.T) {
	rows, root := readValues(t)
	table := "| value | default | meaning |\n|---|---|---|\n"
	for _, r := range rows {
		table += "| `" + r.path + "` | `" + r.byDefault + "` | " + strings.ReplaceAll(r.meaning, "|", "\\|") + " |\n"
	}
	compareFile(t, chart+"/README.md", func(was string) string {
		before, rest, found := strings.Cut(was, "| value | default | meaning |\n")
		_, after, ended := strings.Cut(rest, "|\n\n")
		if !found {
			t.Fatal("the README has no table of values")
		}
		if !ended {
			return before + table
		}
		return before + table + "\n" + after
	})
	compareFile(t, chart+"/values.schema.json", func(was string) string {
		var file struct {
			Properties map[string]any `json:"properties"`
		}
		if err := json.Unmarshal([]byte(was), &file); err != nil {
			t.Fatal(err)
		}
		root["properties"].(object)["config"] = file.Properties["config"] // which package config writes
		data, err := json.MarshalIndent(root, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return string(data) + "\n"
	})
}

// compareFile compares a file with what it should be, which made gives. With -update it writes it.
func compareFile(t *testing.T, path string, made func(was string) string) {
	t.Helper()
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := made(string(was))
	switch {
	case want == string(was):
	case *update:
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what values.yaml says: go test ./charts -run Values -update writes it:\n%s", path,
			cmp.Diff(string(was), want))
	}
}

// text gives a value as it stands in values.yaml, on one line.
func text(t *testing.T, n *yaml.Node) string {
	t.Helper()
	bare := *n
	bare.HeadComment, bare.LineComment, bare.FootComment = "", "", ""
	out, err := yaml.Marshal(&bare)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestValuesThatTheSchemaKnowsHaveDefaults(t *testing.T) {
	data, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values object
	if err := yaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	root := readSchema(t)
	root.walk(t, "", root, func(path string, _ *schema) {
		inside := strings.HasPrefix(path, "config.") || strings.HasPrefix(path, "resources.") || strings.Contains(path, "[]")
		if path != "" && path != "global" && !inside && at[any](values, strings.Split(path, ".")...) == nil {
			t.Errorf("values.yaml does not have %s", path)
		}
	})
}
