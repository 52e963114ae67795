package charts_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

func TestChartsPassHelmsOwnLint(t *testing.T) {
	if out, err := helm(t, least, "lint", "--strict"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestChartsRenderNothingUntilToldWhatToWatchAndWhichImage(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{"", "config.brokers: want at least one"},
		{"config: {brokers: [{name: a, nodes: [{name: node, address: 'h:5672'}]}]}", "no broker has pods, and there is neither an app nor an environment"},
		{strings.Replace(least, "registry.example/unstuck", `""`, 1), "image.repository: none is published"},
	} {
		if out, err := helm(t, c.values, "template"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q\n%s", err, c.want, out)
		}
	}
}

func TestChartsExamplesWatchWhatTheySayAndOnlyObserve(t *testing.T) {
	type watched struct{ Name, Namespace, Selector, Container, Secret string }
	const (
		clickToDeploy = "app.kubernetes.io/name=rabbitmq-1,app.kubernetes.io/component=rabbitmq-server"
		operator      = "app.kubernetes.io/name=rabbitmq,app.kubernetes.io/component=rabbitmq"
		bitnami       = "app.kubernetes.io/name=rabbitmq,app.kubernetes.io/instance=rabbitmq"
	)
	wants := map[string][]watched{
		"production": {
			{"rabbitmq-production", "production", clickToDeploy, "rabbitmq", "rabbitmq-1-rabbitmq-secret::rabbitmq-pass"},
			{"rabbitmq-staging", "staging", clickToDeploy, "rabbitmq", "rabbitmq-1-rabbitmq-secret::rabbitmq-pass"},
			{"frontend-production", "production", "app=frontend-app", "app", ""},
			{"frontend-staging", "staging", "app=frontend-app", "app", ""},
			{"cron-production", "production", "app=cron-app", "app", ""},
		},
		"cluster-operator":     {{"rabbitmq", "rabbitmq", operator, "rabbitmq", "rabbitmq-default-user:username:password"}},
		"cluster-operator-tls": {{"rabbitmq", "rabbitmq", operator, "rabbitmq", "rabbitmq-default-user:username:password"}},
		"bitnami":              {{"rabbitmq", "rabbitmq", bitnami, "rabbitmq", "rabbitmq::rabbitmq-password"}},
		"discovery":            nil,
	}
	files, err := filepath.Glob(chart + "/examples/*.yaml")
	if err != nil || len(files) != len(wants)+1 { // and production-environments.yaml, which goes on top of another
		t.Fatalf("there are %d examples, and %d are known here (%v)", len(files), len(wants), err)
	}
	for name, want := range wants {
		c := configuration(t, example(t, name))
		var got []watched
		if d := c.Discovery; (d != nil) != (name == "discovery") || d != nil && (d.Broker.Policy.Mode != decide.Observe || d.MaxMode != decide.Observe) {
			t.Errorf("%s: discovery is %+v", name, d)
		}
		for _, b := range c.Brokers {
			secret := b.Secret.Name + ":" + b.Secret.UsernameKey + ":" + b.Secret.PasswordKey
			got = append(got, watched{b.Name, b.Pods.Namespace, b.Pods.Selector, b.Pods.Container, secret})
			if b.Policy.Mode != decide.Observe {
				t.Errorf("%s: broker %s is in mode %s", name, b.Name, b.Policy.Mode)
			}
			if b.Policy.SingleNode != (name == "cluster-operator") {
				t.Errorf("%s: single_node is %t", name, b.Policy.SingleNode)
			}
		}
		for _, a := range c.Apps {
			got = append(got, watched{a.Name, a.Pods.Namespace, a.Pods.Selector, a.Pods.Container, ""})
			if a.Policy.Mode != decide.Observe {
				t.Errorf("%s: app %s is in mode %s", name, a.Name, a.Policy.Mode)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestChartsTakeTheValuesInTheInstructions(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(examples) == 0 {
		t.Fatal("there are none")
	}
	for _, e := range examples {
		configuration(t, e[1])
	}
}

// What docs/triggers.md adds to the values, for builds.
func TestChartsTakeTheValuesForCI(t *testing.T) {
	page, err := os.ReadFile("../docs/triggers.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("there are none")
	}
	file := filepath.Join(t.TempDir(), "ci.yaml")
	if err := os.WriteFile(file, block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := helm(t, least, "template", "watcher", "--values", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/etc/unstuck-tokens/tokens.yaml", "/etc/unstuck-tls/tls.key", "secretName: \"unstuck-tls\"", "{name: api, port: 8080"} {
		if !strings.Contains(out, want) {
			t.Errorf("the chart renders no %s of it", want)
		}
	}
}

func TestChartsWriteTheFileThatTheDaemonReads(t *testing.T) {
	for _, c := range []struct {
		values       string
		metrics, api string
	}{
		{least, ":9090", "127.0.0.1:8080"},
		{least + "api: {exposed: true, port: 81}\nmetrics: {port: 82}\n", ":82", ":81"},
	} {
		got := configuration(t, c.values)
		if want := (config.Listen{Metrics: c.metrics, API: c.api}); got.Listen != want {
			t.Errorf("it listens on %+v, want %+v", got.Listen, want)
		}
		if got.Kubernetes.Namespace != "tools" || got.Kubernetes.Lease != "watcher" || got.Log.Format != "json" {
			t.Errorf("it is told %+v, log %+v", got.Kubernetes, got.Log)
		}
	}
}

// Helm turns numbers into floating point on their way.
func TestChartsKeepNumbersAsTheyWereWritten(t *testing.T) {
	values := strings.Replace(least, "      username", "      policy: {above_baseline: 1000000}\n      probes: {maybe_stuck: {share: 0.07}}\n      username", 1)
	b := configuration(t, values).Brokers[0]
	if b.Policy.AboveBaseline != 1_000_000 || b.Probes.MaybeStuck.Share != 0.07 {
		t.Errorf("they arrived as %d and %v", b.Policy.AboveBaseline, b.Probes.MaybeStuck.Share)
	}
}

// configuration is what the daemon reads of the file that the chart writes.
func configuration(t *testing.T, values string) *config.Config {
	t.Helper()
	file := at[string](only(t, render(t, values), "ConfigMap"), "data", "unstuck.yaml")
	c, err := config.Parse([]byte(file))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, file)
	}
	return c
}

// The daemon reads its configuration anew while it runs: only what it cannot put into force then starts other pods.
func TestChartsStartOtherPodsOnlyForKeysThatTakeARestart(t *testing.T) {
	checksum := func(values string) string {
		sum := at[string](only(t, render(t, values), "Deployment"), "spec", "template", "metadata", "annotations", "checksum/config")
		if len(sum) != 64 {
			t.Fatalf("the checksum is %q", sum)
		}
		return sum
	}
	was, began := checksum(least), configuration(t, least)
	inConfig := func(keys string) string { return strings.Replace(least, "config:\n", "config:\n  "+keys+"\n", 1) }
	for name, values := range map[string]string{
		"another selector":           strings.Replace(least, "app=rabbitmq", "app=other", 1),
		"a default of brokers":       inConfig("defaults: {vhost: other}"),
		"another level of the log":   inConfig("log: {level: debug}"),
		"another form of the log":    inConfig("log: {format: json}"),
		"another limit of callers":   inConfig("api: {rate_limit: {burst: 7}}"),
		"another address to listen":  least + "api: {exposed: true}\n",
		"another number of replicas": least + "replicas: 3\n",
		"an application":             inConfig("apps: [{name: web, pods: {namespace: mq, selector: app=web, container: web}}]"),
	} {
		restart := began.NeedsRestart(configuration(t, values))
		if other := checksum(values) != was; other != (len(restart) > 0) {
			t.Errorf("%s: other pods are started: %t, and these keys take a restart: %q", name, other, restart)
		}
	}
	for _, container := range at[[]any](only(t, render(t, least), "Deployment"), "spec", "template", "spec", "containers") {
		for _, mount := range at[[]any](container, "volumeMounts") {
			if at[string](mount, "mountPath") == "" || at[string](mount, "subPath") != "" {
				t.Errorf("a file that is mounted so never changes: %v", mount)
			}
		}
	}
}

func TestChartsRestrictTheContainer(t *testing.T) {
	pod := at[any](only(t, render(t, least), "Deployment"), "spec", "template", "spec")
	var wantPod any = object{
		"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
		"seccompProfile": object{"type": "RuntimeDefault"},
	}
	if diff := cmp.Diff(wantPod, at[any](pod, "securityContext")); diff != "" {
		t.Errorf("the pod's security context (-want +got):\n%s", diff)
	}
	containers := at[[]any](pod, "containers")
	if len(containers) != 1 || at[any](pod, "initContainers") != nil {
		t.Fatalf("there are %d containers, init containers %v", len(containers), at[any](pod, "initContainers"))
	}
	var wantContainer any = object{
		"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []any{"ALL"}},
	}
	if diff := cmp.Diff(wantContainer, at[any](containers[0], "securityContext")); diff != "" {
		t.Errorf("the container's security context (-want +got):\n%s", diff)
	}
	for _, key := range []string{"hostNetwork", "hostPID", "hostIPC", "hostUsers"} {
		if v := at[any](pod, key); v != nil {
			t.Errorf("%s is %v", key, v)
		}
	}
	for _, v := range at[[]any](pod, "volumes") {
		if at[any](v, "hostPath") != nil {
			t.Errorf("there is a volume of the host: %v", v)
		}
	}
	if at[string](containers[0], "resources", "limits", "memory") == "" || at[string](containers[0], "resources", "requests", "cpu") == "" {
		t.Error("the container does not say what it needs")
	}
	for probe, path := range map[string]string{"livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		if got := at[string](containers[0], probe, "httpGet", "path"); got != path || at[string](containers[0], probe, "httpGet", "port") != "metrics" {
			t.Errorf("%s asks for %q", probe, got)
		}
	}
}

func TestChartsHaveWhatIsOptionalOnlyIfAskedFor(t *testing.T) {
	always := []string{"ConfigMap", "Deployment", "Pod", "Role", "RoleBinding", "Service", "ServiceAccount"} // the Pod of `helm test`
	for _, c := range []struct {
		values string
		more   []string
		less   []string
	}{
		{least, []string{"PodDisruptionBudget"}, nil},
		{least + "replicas: 1\n", nil, nil},
		{least + "metrics: {serviceMonitor: {enabled: true}}\n", []string{"PodDisruptionBudget", "ServiceMonitor"}, nil},
		{least + "networkPolicy: {enabled: true}\n", []string{"PodDisruptionBudget", "NetworkPolicy"}, nil},
		{least + "admissionPolicy: {enabled: true}\nreplicas: 1\n", []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}, nil},
		{least + "rbac: {create: false}\nserviceAccount: {create: false, name: mine}\nreplicas: 1\n", nil, []string{"Role", "RoleBinding", "ServiceAccount"}},
		{least + "  api: {kubernetes_auth: true}\nreplicas: 1\n", []string{"ClusterRole", "ClusterRoleBinding"}, nil},
		{least + "  api: {kubernetes_auth: true}\nrbac: {reviews: false}\nreplicas: 1\n", nil, nil},
	} {
		var got []string
		for _, o := range render(t, c.values) {
			got = append(got, o.kind())
		}
		slices.Sort(got)
		want := slices.DeleteFunc(append(slices.Clone(always), c.more...), func(k string) bool { return slices.Contains(c.less, k) })
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			t.Errorf("with these values (-want +got):\n%s%s", diff, c.values)
		}
	}
}

func TestChartsHaveTheAPIOnTheServiceOnlyIfItIsExposed(t *testing.T) {
	for values, want := range map[string][]string{
		least:                            {"metrics"},
		least + "api: {exposed: true}\n": {"metrics", "api"},
	} {
		all := render(t, values+"networkPolicy: {enabled: true}\n")
		var service, container []string
		for _, p := range at[[]any](only(t, all, "Service"), "spec", "ports") {
			service = append(service, at[string](p, "name"))
		}
		pod := at[[]any](only(t, all, "Deployment"), "spec", "template", "spec", "containers")[0]
		for _, p := range at[[]any](pod, "ports") {
			container = append(container, at[string](p, "name"))
		}
		if !slices.Equal(service, want) || !slices.Equal(container, want) {
			t.Errorf("the Service has %v, the container %v, want %v", service, container, want)
		}
		if in := at[[]any](only(t, all, "NetworkPolicy"), "spec", "ingress"); len(in) != len(want) {
			t.Errorf("the policy lets %d kinds of callers in, want %d", len(in), len(want))
		}
	}
}

func TestChartsNetworkPolicyLetsOutOnlyToWhatIsNeeded(t *testing.T) {
	values := least + `
    - name: other
      tls: {}
      username: u
      secret: {name: s}
      pods: {namespace: others, selector: a=b, container: c}
    - name: listed
      username: u
      secret: {name: s, namespace: others}
      nodes: [{name: node, address: "rabbit.example:5673"}]
  environments:
    - name: prod
      namespace: prod
      image: 'registry.example:5000/{image}:{commit}'
      services: [{name: a, deployment: a, image: a}, {name: b, deployment: b, image: registry.example/b}]
  notify:
    - {name: chat, type: slack, url_file: /etc/notify/slack}
    - {name: am, type: alertmanager, url: "http://alertmanager.monitoring:9093"}
    - {name: plain, type: json, url: "http://hook.example/a:7000"}
    - {name: hook, type: json, url: "https://hook.example"}
networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32], ports: [6443]}}
`
	got := at[[]any](only(t, render(t, values), "NetworkPolicy"), "spec", "egress")
	tcp := func(ports ...int) (all []any) {
		for _, p := range ports {
			all = append(all, object{"protocol": "TCP", "port": p})
		}
		return all
	}
	namespace := func(name string) []any {
		return []any{object{"namespaceSelector": object{"matchLabels": object{"kubernetes.io/metadata.name": name}}}}
	}
	want := []any{
		object{"ports": []any{
			object{"protocol": "UDP", "port": 53},
			object{"protocol": "TCP", "port": 53},
			object{"protocol": "UDP", "port": 5353},
			object{"protocol": "TCP", "port": 5353},
		}},
		object{"to": []any{object{"ipBlock": object{"cidr": "10.0.0.1/32"}}}, "ports": tcp(6443)},
		object{"to": namespace("jobs"), "ports": tcp(5672)},
		object{"to": namespace("others"), "ports": tcp(5671)},
		object{"ports": tcp(5000, 443)},
		object{"ports": tcp(443, 9093, 80)},
		object{"ports": tcp(5673)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChartsMountFilesForTheConfigurationReadOnly(t *testing.T) {
	values := least + "mounts: [{secret: tls, path: /etc/tls}, {configMap: ca, path: /etc/ca}]\n"
	pod := at[any](only(t, render(t, values), "Deployment"), "spec", "template", "spec")
	var got []string
	for _, m := range at[[]any](at[[]any](pod, "containers")[0], "volumeMounts") {
		if !at[bool](m, "readOnly") {
			t.Errorf("%v can be written to", m)
		}
		for _, v := range at[[]any](pod, "volumes") {
			if at[string](v, "name") == at[string](m, "name") {
				got = append(got, at[string](m, "mountPath")+" "+at[string](v, "secret", "secretName")+at[string](v, "configMap", "name"))
			}
		}
	}
	if diff := cmp.Diff([]string{"/etc/unstuck watcher", "/etc/tls tls", "/etc/ca ca"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChartsNotesSayWhetherAnythingMayBeDeleted(t *testing.T) {
	acting := strings.Replace(least, "      username", "      mode: remediate\n      username", 1)
	for _, c := range []struct {
		values    string
		want, not string
	}{
		{least, "only OBSERVES: it watches, decides and explains, and deletes nothing. It has no right", "REMEDIATES"},
		{least + "rbac: {create: false}\n", "deletes nothing.\n", "It has no right"},
		{acting, "REMEDIATES: it deletes pods of what is named here once they are proved stuck and every guard is open.\n  broker jobs\n", "OBSERVES"},
		{found("namespaces: [a], max_mode: remediate"), "guard is open.\n  brokers that are found, if their annotation says remediate\n", "OBSERVES"},
		{found("namespaces: [a], mode: remediate"), "guard is open.\n  brokers that are found, unless their annotation says otherwise\n", "OBSERVES"},
		{found("namespaces: [a]"), "only OBSERVES", "REMEDIATES"},
		{withEnvironment("cluster: {kubeconfig: /k, context: other}"), "does NOT SERVE its environments, for it knows no callers: set config.api.tokens_file or config.api.kubernetes_auth. They are\n  production: namespace prod, cluster other\n", "DEPLOYS"},
		{withEnvironment("jobs: []\n  api: {kubernetes_auth: true}"), "\n\nIt DEPLOYS to these environments, for callers of the API who may:\n  production: namespace prod\n", "NOT SERVE"},
		{withEnvironment("jobs: []\n  api: {tokens_file: /t}"), "  curl -K ~/token 'http://127.0.0.1:8080/api/v1/incidents?pretty'\n\nwhere the file token", "EXPOSED"},
		{least + "  api: {tls: {cert_file: /a, key_file: /b}}\n", "curl 'https://127.0.0.1:8080/", "http://127.0.0.1"},
		{acting + "api: {exposed: true}\n", "The API is EXPOSED on port 8080 of the Service, and asks for no sign-in.\n", "OBSERVES"},
		{least + "  api: {kubernetes_auth: true}\napi: {exposed: true}\n", "The API is EXPOSED on port 8080 of the Service, and asks who is calling.\nTokens reach it UNENCRYPTED", "no sign-in"},
		{least + "  api: {tokens_file: /t, tls: {cert_file: /a, key_file: /b}}\napi: {exposed: true}\n", "and asks who is calling.\n", "UNENCRYPTED"},
	} {
		out, err := helm(t, c.values, "install", "--dry-run=client", "watcher")
		_, notes, found := strings.Cut(out, "\nNOTES:\n")
		if err != nil || !found {
			t.Fatalf("no notes: %v\n%s", err, out)
		}
		if !strings.Contains(notes, c.want) || strings.Contains(notes, c.not) {
			t.Errorf("want %q and not %q in:\n%s", c.want, c.not, notes)
		}
	}
}

func TestChartsExamplesAreNamedInTheReadme(t *testing.T) {
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(chart + "/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(string(readme), "(examples/"+name+")") {
			t.Errorf("the README does not link to %s", name)
		}
	}
}

func TestChartsKeepNamesThatLookLikeNumbersOrTruthsAsNames(t *testing.T) {
	for _, name := range []string{"123", "true", "null", "1e3"} {
		values := strings.Replace(least, "namespace: jobs", "namespace: '"+name+"'", 1) + "serviceAccount: {name: '" + name + "'}\n"
		there := false
		for _, o := range render(t, values) {
			for _, key := range []string{"name", "namespace"} {
				v := at[any](o, "metadata", key)
				if _, text := v.(string); v != nil && !text || key == "name" && v == nil {
					t.Errorf("%s: the %s of a %s is %v", name, key, o.kind(), v)
				}
				there = there || v == name && o.kind() == "Role"
			}
			if o.kind() == "Deployment" && at[string](o, "spec", "template", "spec", "serviceAccountName") != name {
				t.Errorf("%s: the service account is %v", name, at[any](o, "spec", "template", "spec", "serviceAccountName"))
			}
		}
		if !there {
			t.Errorf("no Role is in namespace %s", name)
		}
	}
}

func TestChartsGiveEachReleaseALeaseOfItsOwn(t *testing.T) {
	for values, want := range map[string]string{
		least:                               "watcher",
		least + "fullnameOverride: other\n": "other",
		strings.Replace(least, "config:", "config:\n  kubernetes: {lease: third, qps: 7}", 1): "third",
	} {
		objects := render(t, values)
		note := at[string](only(t, objects, "Deployment"), "spec", "template", "metadata", "annotations", "unstuck.cjworkbench.org/lease")
		if got := configuration(t, values).Kubernetes; got.Lease != want || got.Namespace != "tools" || note != want || (want == "third") != (got.QPS == 7) {
			t.Errorf("the daemon is told %+v, and whoever looks for the leader %q; want the Lease %q", got, note, want)
		}
	}
}

func TestChartsRefuseTwoPortsThatAreTheSame(t *testing.T) {
	_, err := helm(t, least+"metrics: {port: 8080}\n", "template", "watcher")
	if err == nil || !strings.Contains(err.Error(), "metrics.port and api.port are both 8080: want two") {
		t.Errorf("the error is %v", err)
	}
}

func TestChartsTellTheRuntimeOfTheMemoryLimit(t *testing.T) {
	for limits, want := range map[string]string{
		"{memory: 256Mi}": "241591910", "{memory: 1.5Gi}": "1449551462", "{memory: 300M}": "270000000", "{memory: 268435456}": "241591910",
		`{memory: "100000Ki"}`: "92160000", "{memory: null}": "", "{memory: 1e9}": "900000000", "{memory: 128974848000m}": "",
	} {
		container := at[[]any](only(t, render(t, least+"resources: {limits: "+limits+"}\n"), "Deployment"), "spec", "template", "spec", "containers")[0]
		got := ""
		for _, e := range at[[]any](container, "env") {
			if at[string](e, "name") == "GOMEMLIMIT" {
				got = at[string](e, "value")
			}
		}
		if got != want {
			t.Errorf("limits %s: GOMEMLIMIT %q, want %q", limits, got, want)
		}
	}
}

// What docs/install.md pipes into `unstuck check-config -`.
func TestChartsRenderAConfigurationThatCanBeCutOut(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	cut := regexp.MustCompile(`sed '([^']+)'`).FindSubmatch(page)
	if cut == nil {
		t.Fatal("the page does not say how")
	}
	out, err := helm(t, least, "template", "watcher", "--show-only", "templates/configmap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sed := exec.CommandContext(t.Context(), "sed", string(cut[1]))
	sed.Stdin = strings.NewReader(out)
	text, err := sed.Output()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadFrom(bytes.NewReader(text), "stdin")
	if err != nil || c.Brokers[0].Name != "jobs" {
		t.Errorf("%v in:\n%s", err, text)
	}
}
