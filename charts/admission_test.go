package charts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/labels"
)

// admission evaluates the chart's policy as the API server does (k8s.io/apiserver/pkg/admission/plugin/cel): first
// whether it is asked of the account, then the variables, then each validation.
type admission struct {
	t           *testing.T
	applies     cel.Program
	labels      cel.Program
	validations []cel.Program
}

func newAdmission(t *testing.T, values string) admission {
	t.Helper()
	all := render(t, values+"admissionPolicy: {enabled: true"+admissionMore(values)+"}\n")
	spec := at[any](only(t, all, "ValidatingAdmissionPolicy"), "spec")
	binding := only(t, all, "ValidatingAdmissionPolicyBinding")
	if at[string](binding, "spec", "policyName") != at[string](only(t, all, "ValidatingAdmissionPolicy"), "metadata", "name") {
		t.Error("the binding names another policy")
	}
	a := admission{t: t}
	a.applies = a.program(at[string](at[[]any](spec, "matchConditions")[0], "expression"))
	a.labels = a.program(at[string](at[[]any](spec, "variables")[0], "expression"))
	for _, v := range at[[]any](spec, "validations") {
		a.validations = append(a.validations, a.program(at[string](v, "expression")))
		a.program(at[string](v, "messageExpression"))
	}
	return a
}

// admissionMore takes the rest of the policy's values out of a comment of the test's values: `# admission: TEXT`.
func admissionMore(values string) string {
	_, more, found := strings.Cut(values, "# admission:")
	if !found {
		return ""
	}
	line, _, _ := strings.Cut(more, "\n")
	return ", " + strings.TrimSpace(line)
}

func (a admission) program(expression string) cel.Program {
	a.t.Helper()
	var options []cel.EnvOption
	for _, name := range []string{"request", "object", "oldObject", "variables"} {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		a.t.Fatal(err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		a.t.Fatalf("%v in:\n%s", issues.Err(), expression)
	}
	program, err := env.Program(ast)
	if err != nil {
		a.t.Fatal(err)
	}
	return program
}

// request is what somebody asks of the API server about a pod.
type request struct {
	user, operation, namespace, name, container string
	labels                                      map[string]string
}

const unstuckAccount = "system:serviceaccount:tools:watcher"

// admits says whether the policy lets a request pass.
func (a admission) admits(r request) bool {
	a.t.Helper()
	if r.user == "" {
		r.user = unstuckAccount
	}
	facts := map[string]any{
		"request": map[string]any{
			"operation": r.operation, "namespace": r.namespace, "name": r.name, "userInfo": map[string]any{"username": r.user},
		},
		"object": nil, "oldObject": nil,
	}
	if r.operation == "CONNECT" {
		options := map[string]any{"command": []string{"rabbitmqctl"}}
		if r.container != "" {
			options["container"] = r.container
		}
		facts["object"] = options
	} else {
		metadata := map[string]any{"name": r.name}
		if r.labels != nil {
			metadata["labels"] = r.labels
		}
		facts["oldObject"] = map[string]any{"metadata": metadata}
	}
	if !a.ask(a.applies, facts).(bool) {
		return true
	}
	if r.operation != "CONNECT" { // a variable is lazy
		facts["variables"] = map[string]any{"labels": a.ask(a.labels, facts)}
	} else {
		facts["variables"] = map[string]any{}
	}
	for _, v := range a.validations {
		if !a.ask(v, facts).(bool) {
			return false
		}
	}
	return true
}

func (a admission) ask(p cel.Program, facts map[string]any) any {
	a.t.Helper()
	out, _, err := p.Eval(facts)
	if err != nil {
		a.t.Fatalf("%v with %v", err, facts)
	}
	return out.Value()
}

//promise:26
func TestAdmissionRefusesUnstuckEveryPodThatIsNotConfigured(t *testing.T) {
	const values = `
image: {repository: r}
config:
  defaults: {mode: remediate}
  brokers:
    - {name: one, username: u, password_file: /p, pods: {namespace: a, selector: "app=rabbitmq,tier in (x, y)", container: rabbitmq}}
    - {name: two, username: u, password_file: /p, mode: observe, pods: {namespace: b, selector: app=rabbitmq, container: rabbitmq}}
  apps: [{name: web, mode: remediate, pods: {namespace: c, selector: app=web, container: web}}]
  environments:
    - name: production
      namespace: prod
      image: 'registry.example/{image}:{commit}'
      services: [{name: web, deployment: web-deployment, image: web}, {name: cron, deployment: cron, image: web}]
      tasks: [{name: clear, exec: {service: web, command: [clear]}}]
`
	broker := map[string]string{"app": "rabbitmq", "tier": "x"}
	a := newAdmission(t, values)
	for _, c := range []struct {
		name  string
		asked request
		want  bool
	}{
		{"delete a broker's pod", request{operation: "DELETE", namespace: "a", name: "r-0", labels: broker}, true},
		{"label a broker's pod", request{operation: "UPDATE", namespace: "a", name: "r-0", labels: broker}, true},
		{"delete a pod of that namespace with one label", request{operation: "DELETE", namespace: "a", name: "r-0", labels: map[string]string{"app": "rabbitmq"}}, false},
		{"delete a pod without labels", request{operation: "DELETE", namespace: "a", name: "x"}, false},
		{"label another pod", request{operation: "UPDATE", namespace: "a", name: "x", labels: map[string]string{"app": "web"}}, false},
		{"delete such a pod elsewhere", request{operation: "DELETE", namespace: "c", name: "r-0", labels: broker}, false},
		{"delete a pod of a broker that is observed", request{operation: "DELETE", namespace: "b", name: "r-0", labels: broker}, false},
		{"delete an application's pod", request{operation: "DELETE", namespace: "c", name: "web-1", labels: map[string]string{"app": "web"}}, true},
		{"delete an environment's pod", request{operation: "DELETE", namespace: "prod", name: "web-deployment-1", labels: map[string]string{"app": "web"}}, false},
		{"somebody else deletes", request{user: "kubernetes-admin", operation: "DELETE", namespace: "a", name: "x"}, true},
		{"the same name in another namespace deletes", request{user: "system:serviceaccount:other:watcher", operation: "DELETE", namespace: "a", name: "x"}, true},
		{"exec in a broker's container", request{operation: "CONNECT", namespace: "a", name: "r-0", container: "rabbitmq"}, true},
		{"exec in one that is observed", request{operation: "CONNECT", namespace: "b", name: "r-0", container: "rabbitmq"}, true},
		{"exec in another container", request{operation: "CONNECT", namespace: "a", name: "r-0", container: "vault"}, false},
		{"exec in no container", request{operation: "CONNECT", namespace: "a", name: "r-0"}, false},
		{"exec in an application", request{operation: "CONNECT", namespace: "c", name: "web-1", container: "web"}, false},
		{"exec elsewhere", request{operation: "CONNECT", namespace: "kube-system", name: "r-0", container: "rabbitmq"}, false},
		{"exec of a task", request{operation: "CONNECT", namespace: "prod", name: "web-deployment-5f-x", container: "web"}, true},
		{"exec in a service without a task", request{operation: "CONNECT", namespace: "prod", name: "cron-5f-x", container: "web"}, false},
		{"somebody else execs", request{user: "kubernetes-admin", operation: "CONNECT", namespace: "a", name: "x", container: "vault"}, true},
	} {
		if got := a.admits(c.asked); got != c.want {
			t.Errorf("%s: admitted %t, want %t", c.name, got, c.want)
		}
	}
}

func TestAdmissionTakesMorePodsAndThePatternOfTheirNames(t *testing.T) {
	a := newAdmission(t, least+`# admission: execNames: "rabbit-[0-9]+", extraPods: [{selector: kind=found, container: node}]`+"\n")
	for _, c := range []struct {
		asked request
		want  bool
	}{
		{request{operation: "DELETE", namespace: "any", name: "x", labels: map[string]string{"kind": "found"}}, true},
		{request{operation: "DELETE", namespace: "any", name: "x", labels: map[string]string{"kind": "lost"}}, false},
		{request{operation: "CONNECT", namespace: "any", name: "rabbit-1", container: "node"}, true},
		{request{operation: "CONNECT", namespace: "any", name: "rabbit-1", container: "rabbitmq"}, false},
		{request{operation: "CONNECT", namespace: "jobs", name: "rabbit-12", container: "rabbitmq"}, true},
		{request{operation: "CONNECT", namespace: "jobs", name: "my-rabbit-1", container: "rabbitmq"}, false},
		{request{operation: "CONNECT", namespace: "jobs", name: "rabbit-1-0", container: "rabbitmq"}, false},
	} {
		if got := a.admits(c.asked); got != c.want {
			t.Errorf("%+v: admitted %t, want %t", c.asked, got, c.want)
		}
	}
}

// Of the brokers that are found, those of the cluster operator are let through; of others nobody knows beforehand.
func TestAdmissionLetsThroughThePodsOfTheOperator(t *testing.T) {
	pod := map[string]string{"app.kubernetes.io/name": "orders", "app.kubernetes.io/component": "rabbitmq", "app.kubernetes.io/part-of": "rabbitmq"}
	deletes := func(namespace string, labels map[string]string) request {
		return request{operation: "DELETE", namespace: namespace, name: "orders-server-0", labels: labels}
	}
	execs := func(namespace string) request {
		return request{operation: "CONNECT", namespace: namespace, name: "orders-server-0", container: "rabbitmq"}
	}
	for _, c := range []struct {
		discovery string
		asked     request
		want      bool
	}{
		{"namespaces: [a], max_mode: remediate", deletes("a", pod), true},
		{"namespaces: [a], max_mode: remediate", deletes("b", pod), false},
		{"namespaces: [a], max_mode: remediate", deletes("a", map[string]string{"app": "web"}), false},
		{"namespaces: [a], max_mode: remediate", execs("a"), true},
		{"namespaces: [a], max_mode: remediate", execs("b"), false},
		{"namespaces: [a]", deletes("a", pod), false},
		{"namespaces: [a]", execs("a"), true},
		{"namespaces: [a], mode: remediate, rabbitmq_clusters: false", deletes("a", pod), false},
	} {
		if got := newAdmission(t, found(c.discovery)).admits(c.asked); got != c.want {
			t.Errorf("%s: %+v: admitted %t, want %t", c.discovery, c.asked, got, c.want)
		}
	}
	everywhere := newAdmission(t, found("all_namespaces: true, max_mode: remediate")+"rbac: {allNamespaces: true}\n")
	if !everywhere.admits(deletes("any", pod)) || !everywhere.admits(execs("any")) || everywhere.admits(deletes("any", nil)) {
		t.Error("in all namespaces it is another matter")
	}
}

// A selector fits in the policy what it fits for Kubernetes.
func TestAdmissionReadsSelectorsAsKubernetesDoes(t *testing.T) {
	selectors := []string{
		"app=a", "app==a", "app = a", "app!=a", "app", "!app", "app in (a,b)", "app in (a , b)", "app notin (a)", "app in(a)",
		"app=a,tier!=test", "app in (a,b),tier,!x.y/z", "x.y/z=1-2_3.4", "app=", "app notin (a,b),tier notin (test)", "app,tier = test",
	}
	pods := []map[string]string{
		nil,
		{"app": "a"},
		{"app": "b"},
		{"app": "c"},
		{"app": ""},
		{"tier": "test"},
		{"app": "a", "tier": "test"},
		{"app": "a", "tier": "live"},
		{"app": "b", "tier": "live", "x.y/z": "1-2_3.4"},
		{"x.y/z": "1-2_3.4"},
		{"notin": "a"},
	}
	values := "image: {repository: r}\nconfig:\n  brokers:\n"
	for i, selector := range selectors { // each in a namespace of its own, so that one policy has them all
		values += fmt.Sprintf("  - {name: b%d, mode: remediate, username: u, password_file: /p, pods: {namespace: n%d, selector: %q, container: c}}\n",
			i, i, selector)
	}
	a, fits := newAdmission(t, values), 0
	for i, selector := range selectors {
		want, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods {
			got := a.admits(request{operation: "DELETE", namespace: fmt.Sprintf("n%d", i), name: "x", labels: pod})
			if got != want.Matches(labels.Set(pod)) {
				t.Errorf("%q admits a pod with %v: %t", selector, pod, got)
			}
			if got {
				fits++
			}
		}
	}
	if fits < 20 {
		t.Errorf("only %d fit", fits)
	}
}

func TestAdmissionNeedsAKubernetesThatHasIt(t *testing.T) {
	values := least + "admissionPolicy: {enabled: true}\n"
	if out, err := helm(t, values, "template", "--kube-version", "1.29"); err == nil || !strings.Contains(err.Error(), "want 1.30 or later") {
		t.Errorf("error %v\n%s", err, out)
	}
	if _, err := helm(t, values, "template", "--kube-version", "1.30"); err != nil {
		t.Error(err)
	}
	if policies := ofKind(render(t, least), "ValidatingAdmissionPolicy"); len(policies) != 0 {
		t.Error("there is a policy that nobody asked for")
	}
}
