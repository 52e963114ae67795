package charts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
)

// everything sets each value that passes on what Kubernetes has.
const everything = least + `
  api: {tokens_file: /etc/tokens/tokens.yaml}
commonLabels: {team: storage}
image: {repository: registry.example/unstuck, pullSecrets: [one, {name: two}]}
mounts: [{secret: tokens, path: /etc/tokens}]
extraVolumes: [{name: vault, csi: {driver: secrets-store.csi.k8s.io, readOnly: true}}]
extraVolumeMounts: [{name: vault, mountPath: /vault, readOnly: true}]
extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
envFrom: [{configMapRef: {name: more}}]
initContainers: [{name: before, image: a/b}]
extraContainers: [{name: beside, image: a/b}]
extraObjects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: more}}
  - |
    apiVersion: v1
    kind: Secret
    metadata: {name: "{{ .Release.Name }}-more"}
api: {exposed: true}
service: {type: LoadBalancer, annotations: {a: b}, ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6]}
ingress: {enabled: true, className: nginx, annotations: {a: b}, host: unstuck.example, tlsSecret: unstuck-example}
httpRoute: {enabled: true, parentRefs: [{name: gateway}], hostnames: [unstuck.example]}
certificate: {enabled: true, issuerRef: {name: ca, kind: ClusterIssuer}, dnsNames: [unstuck.example]}
metrics:
  serviceMonitor:
    enabled: true
    scrapeTimeout: 5s
    labels: {release: prometheus}
    annotations: {a: b}
    relabelings: [{action: labeldrop, regex: pod}]
    metricRelabelings: [{action: labeldrop, regex: node}]
rules: {enabled: true, annotations: {a: b}, alertLabels: {team: storage}}
dashboard: {enabled: true}
serviceAccount: {labels: {a: b}, annotations: {a: b}}
networkPolicy:
  enabled: true
  dnsPorts: [53, 1053]
  extraIngress: [{from: [{podSelector: {}}]}]
  extraEgress: [{to: [{ipBlock: {cidr: 10.0.0.9/32}}]}]
podDisruptionBudget: {maxUnavailable: 50%}
strategy: {type: Recreate}
affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]
podSecurityContext: {runAsUser: 1000, fsGroup: null}
securityContext: {privileged: false}
dnsConfig: {options: [{name: ndots, value: "2"}]}
hostAliases: [{ip: 10.0.0.8, hostnames: [registry.example]}]
runtimeClassName: gvisor
deploymentAnnotations: {reloader.stakater.com/auto: "true"}
admissionPolicy: {enabled: true, execNames: "rabbitmq-[0-9]+", extraPods: [{namespace: more, selector: a=b, container: c}]}
`

// Kinds that are not Kubernetes' own.
var foreignKinds = []string{"ServiceMonitor", "PodMonitor", "PrometheusRule", "Certificate", "HTTPRoute"}

// The versions of Kubernetes that the chart is checked against: those of its kubeVersion, and of the modules in go.mod.
const oldest, newest = "1.29", "1.37"

// sheets are the values that are rendered: the least, all of it, and each example.
func sheets(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"least": least, "everything": everything}
	files, err := filepath.Glob(chart + "/examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("the examples are %q, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if base, top := strings.CutSuffix(name, "-environments"); top {
			all[name] = example(t, base, name)
			continue
		}
		all[name] = example(t, name)
	}
	return all
}

// kubernetesObjects gives what the chart renders of Kubernetes' own kinds, for a version of it.
func kubernetesObjects(t *testing.T, values, version string) []object {
	t.Helper()
	out, err := helm(t, values, "template", "watcher", "--kube-version", version)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(objects(t, out), func(o object) bool { return slices.Contains(foreignKinds, o.kind()) })
}

// TestKubernetesKnowsEveryFieldThatIsRendered decodes what the chart renders strictly into the API's own types, those of
// the newest Kubernetes.
func TestKubernetesKnowsEveryFieldThatIsRendered(t *testing.T) {
	decoder := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		serializer.SerializerOptions{Strict: true})
	for name, values := range sheets(t) {
		for _, o := range kubernetesObjects(t, values, newest) {
			data, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := decoder.Decode(data, nil, nil); err != nil {
				t.Errorf("%s: %s: %v in:\n%s", name, o.kind(), err, data)
			}
		}
	}
}

// The oldest has types of its own, in a module of its own: a program can be built of one version alone.
func TestKubernetesKnowsEveryFieldThatIsRenderedAlsoIfItIsTheOldest(t *testing.T) {
	program := filepath.Join(t.TempDir(), "oldest")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = "../tools/oldest"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	strict := func(all []object) error {
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Stdin = bytes.NewReader(data)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for name, values := range sheets(t) {
		values = strings.Replace(values, "admissionPolicy: {enabled: true,", "admissionPolicy: {enabled: false,", 1)
		if err := strict(kubernetesObjects(t, values, oldest)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	later := object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "a"}, "spec": object{"hostnameOverride": "b"}}
	if err := strict([]object{later}); err == nil || !strings.Contains(err.Error(), `unknown field "spec.hostnameOverride"`) {
		t.Errorf("a field of a later Kubernetes: %v", err)
	}
}

func TestKubernetesThatIsTooOldIsRefused(t *testing.T) {
	if _, err := helm(t, least, "template", "watcher", "--kube-version", "1.28"); err == nil || !strings.Contains(err.Error(), "incompatible") {
		t.Errorf("error %v", err)
	}
}

// TestKubernetesGetsEverythingThatItIsPassedOn looks for each of the values in what is rendered of it.
func TestKubernetesGetsEverythingThatItIsPassedOn(t *testing.T) {
	all := render(t, everything)
	pods := render(t, strings.Replace(everything, "serviceMonitor:", "podMonitor:", 1))
	pod := at[any](only(t, all, "Deployment"), "spec", "template", "spec")
	container := at[[]any](pod, "containers")[0]
	monitor := object{
		"port": "metrics", "path": "/metrics", "interval": "30s", "scrapeTimeout": "5s",
		"relabelings":       []any{object{"action": "labeldrop", "regex": "pod"}},
		"metricRelabelings": []any{object{"action": "labeldrop", "regex": "node"}},
	}
	rule := at[[]any](at[[]any](only(t, all, "PrometheusRule"), "spec", "groups")[0], "rules")[0]
	egress := at[[]any](only(t, all, "NetworkPolicy"), "spec", "egress")
	ingress := at[[]any](only(t, all, "NetworkPolicy"), "spec", "ingress")
	for what, c := range map[string]struct{ got, want any }{
		"pull secrets":     {at[any](pod, "imagePullSecrets"), []any{object{"name": "one"}, object{"name": "two"}}},
		"env":              {at[[]any](container, "env")[1], object{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}},
		"envFrom":          {at[any](container, "envFrom"), []any{object{"configMapRef": object{"name": "more"}}}},
		"init container":   {at[any](pod, "initContainers"), []any{object{"name": "before", "image": "a/b"}}},
		"container":        {at[[]any](pod, "containers")[1], object{"name": "beside", "image": "a/b"}},
		"volume":           {last(at[[]any](pod, "volumes")), object{"name": "vault", "csi": object{"driver": "secrets-store.csi.k8s.io", "readOnly": true}}},
		"volume mount":     {last(at[[]any](container, "volumeMounts")), object{"name": "vault", "mountPath": "/vault", "readOnly": true}},
		"strategy":         {at[any](only(t, all, "Deployment"), "spec", "strategy"), object{"type": "Recreate"}},
		"affinity":         {at[any](pod, "affinity", "podAntiAffinity") != nil, true},
		"spread":           {at[any](at[[]any](pod, "topologySpreadConstraints")[0], "topologyKey"), "topology.kubernetes.io/zone"},
		"user":             {at[any](pod, "securityContext", "runAsUser"), 1000},
		"group":            {at[any](pod, "securityContext", "runAsGroup"), 65532},
		"no fsGroup":       {at[any](pod, "securityContext", "fsGroup"), nil},
		"privileged":       {at[any](container, "securityContext", "privileged"), false},
		"read only":        {at[any](container, "securityContext", "readOnlyRootFilesystem"), true},
		"dnsConfig":        {at[any](pod, "dnsConfig", "options") != nil, true},
		"hostAliases":      {at[any](at[[]any](pod, "hostAliases")[0], "ip"), "10.0.0.8"},
		"runtime class":    {at[any](pod, "runtimeClassName"), "gvisor"},
		"Deployment":       {at[any](only(t, all, "Deployment"), "metadata", "annotations"), object{"reloader.stakater.com/auto": "true"}},
		"Service":          {at[any](only(t, all, "Service"), "spec", "type"), "LoadBalancer"},
		"families":         {at[any](only(t, all, "Service"), "spec", "ipFamilies"), []any{"IPv4", "IPv6"}},
		"ServiceMonitor":   {at[any](only(t, all, "ServiceMonitor"), "spec", "endpoints"), []any{monitor}},
		"PodMonitor":       {at[any](only(t, pods, "PodMonitor"), "spec", "podMetricsEndpoints"), []any{monitor}},
		"alert label":      {at[any](firstAlert(t, all), "labels", "team"), "storage"},
		"no label of rule": {at[any](rule, "labels", "team"), nil},
		"DNS":              {len(at[[]any](egress[0], "ports")), 4},
		"egress":           {at[any](last(egress), "to") != nil, true},
		"ingress":          {at[any](last(ingress), "from"), []any{object{"podSelector": object{}}}},
		"budget":           {at[any](only(t, all, "PodDisruptionBudget"), "spec", "maxUnavailable"), "50%"},
		"Ingress":          {at[any](at[[]any](only(t, all, "Ingress"), "spec", "rules")[0], "host"), "unstuck.example"},
		"HTTPRoute":        {at[any](only(t, all, "HTTPRoute"), "spec", "hostnames"), []any{"unstuck.example"}},
		"Certificate":      {at[any](only(t, all, "Certificate"), "spec", "dnsNames"), []any{"watcher.tools.svc", "watcher.tools", "unstuck.example"}},
		"template":         {at[any](only(t, all, "Secret"), "metadata", "name"), "watcher-more"},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	for _, o := range all {
		if o.kind() != "Secret" && at[string](o, "metadata", "name") != "more" && at[string](o, "metadata", "labels", "team") != "storage" {
			t.Errorf("the %s has the labels %v, want the common one too", o.kind(), at[any](o, "metadata", "labels"))
		}
	}
	tls := regexp.MustCompile(`(?s)tls:\s+cert_file: (\S+)\s+key_file: (\S+)`).FindStringSubmatch(configMapFile(t, all))
	if len(tls) != 3 || tls[1] != "/etc/unstuck-certificate/tls.crt" || tls[2] != "/etc/unstuck-certificate/tls.key" {
		t.Errorf("the API is served with %q", tls)
	}
}

func last(all []any) any { return all[len(all)-1] }

func firstAlert(t *testing.T, all []object) any {
	t.Helper()
	for _, group := range at[[]any](only(t, all, "PrometheusRule"), "spec", "groups") {
		for _, rule := range at[[]any](group, "rules") {
			if at[string](rule, "alert") != "" {
				return rule
			}
		}
	}
	t.Fatal("there is no alert")
	return nil
}

// configMapFile is the file that the daemon reads.
func configMapFile(t *testing.T, all []object) string {
	t.Helper()
	for _, o := range ofKind(all, "ConfigMap") {
		if file := at[string](o, "data", "unstuck.yaml"); file != "" {
			return file
		}
	}
	t.Fatal("there is no configuration")
	return ""
}

// A label that is given twice is refused by kustomize and by Flux, and where the last one wins it was not the user's.
func TestKubernetesGetsEachLabelOnceAndTheUsersButForTheSelectors(t *testing.T) {
	all := render(t, least+`
commonLabels: {app.kubernetes.io/managed-by: argo, app.kubernetes.io/name: mine}
podLabels: {app.kubernetes.io/version: "7", app.kubernetes.io/instance: mine}
podAnnotations: {checksum/config: mine, unstuck.cjworkbench.org/lease: mine, a: b}
metrics: {serviceMonitor: {enabled: true, labels: {app.kubernetes.io/instance: kube-prometheus}}}
rules: {enabled: true, labels: {app.kubernetes.io/name: kube-prometheus}}
dashboard: {enabled: true, labels: {helm.sh/chart: mine}}
`)
	pod := at[any](only(t, all, "Deployment"), "spec", "template", "metadata")
	for what, c := range map[string]struct {
		got  string
		want string
	}{
		"the pods' version":         {at[string](pod, "labels", "app.kubernetes.io/version"), "7"},
		"the pods' name":            {at[string](pod, "labels", "app.kubernetes.io/name"), "unstuck"},
		"the pods' instance":        {at[string](pod, "labels", "app.kubernetes.io/instance"), "watcher"},
		"the pods' manager":         {at[string](pod, "labels", "app.kubernetes.io/managed-by"), "argo"},
		"the pods' lease":           {at[string](pod, "annotations", "unstuck.cjworkbench.org/lease"), "watcher"},
		"the pods' annotation":      {at[string](pod, "annotations", "a"), "b"},
		"the monitor's instance":    {at[string](only(t, all, "ServiceMonitor"), "metadata", "labels", "app.kubernetes.io/instance"), "kube-prometheus"},
		"what the monitor selects":  {at[string](only(t, all, "ServiceMonitor"), "spec", "selector", "matchLabels", "app.kubernetes.io/instance"), "watcher"},
		"the rules' name":           {at[string](only(t, all, "PrometheusRule"), "metadata", "labels", "app.kubernetes.io/name"), "kube-prometheus"},
		"the Lease's Role":          {at[string](ofKind(all, "Role")[0], "metadata", "labels", "app.kubernetes.io/name"), "mine"},
		"the Deployment's name":     {at[string](only(t, all, "Deployment"), "metadata", "labels", "app.kubernetes.io/name"), "unstuck"},
		"the Service's name":        {at[string](only(t, all, "Service"), "metadata", "labels", "app.kubernetes.io/name"), "unstuck"},
		"what the Service selects":  {at[string](only(t, all, "Service"), "spec", "selector", "app.kubernetes.io/name"), "unstuck"},
		"what the Deployment takes": {at[string](only(t, all, "Deployment"), "spec", "selector", "matchLabels", "app.kubernetes.io/name"), "unstuck"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", what, c.got, c.want)
		}
	}
}

// A ServiceMonitor selects the Service by its labels.
func TestKubernetesServiceKeepsTheLabelsThatTheServiceMonitorSelects(t *testing.T) {
	all := render(t, least+"commonLabels: {app.kubernetes.io/name: mine}\nmetrics: {serviceMonitor: {enabled: true}}\n")
	labels := at[any](only(t, all, "Service"), "metadata", "labels")
	for name, want := range at[map[string]any](only(t, all, "ServiceMonitor"), "spec", "selector", "matchLabels") {
		if got := at[any](labels, name); got != want {
			t.Errorf("the Service has %s %v, and the ServiceMonitor selects %v", name, got, want)
		}
	}
}

// Flux installs charts as VERSION+DIGEST, and a + may stand neither in a label nor in an image's tag.
func TestKubernetesTakesTheLabelsOfAVersionWithAPlus(t *testing.T) {
	copied := filepath.Join(t.TempDir(), "unstuck")
	if err := os.CopyFS(copied, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copied, "Chart.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for key, version := range map[string]string{"version": "0.1.0+5440f899e459", "appVersion": "0.1.0+build.7"} {
		data = regexp.MustCompile("(?m)^"+key+": .*").ReplaceAll(data, []byte(key+": "+version))
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := helmOn(t, copied, least, "template", "watcher")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, out) {
		labels := at[any](o, "metadata", "labels")
		if at[string](labels, "helm.sh/chart") != "unstuck-0.1.0_5440f899e459" || at[string](labels, "app.kubernetes.io/version") != "0.1.0_build.7" {
			t.Errorf("the %s has the labels %v", o.kind(), labels)
		}
	}
	if !strings.Contains(out, `image: "registry.example/unstuck:0.1.0_build.7"`) {
		t.Error("the image is not that of the appVersion")
	}
}

// OpenShift gives each namespace its own range of users, and refuses a pod that names another.
func TestKubernetesOnOpenShiftNamesTheUser(t *testing.T) {
	for _, api := range []string{"security.openshift.io/v1", "security.openshift.io/v1/SecurityContextConstraints"} {
		out, err := helm(t, least, "template", "watcher", "--api-versions", api)
		if err != nil {
			t.Fatal(err)
		}
		var want any = object{"runAsNonRoot": true, "seccompProfile": object{"type": "RuntimeDefault"}}
		got := at[any](only(t, objects(t, out), "Deployment"), "spec", "template", "spec", "securityContext")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", api, diff)
		}
	}
}

func TestKubernetesIsNotAskedForWhatCannotWork(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{"ingress: {enabled: true, host: a}\n", "api.exposed is false"},
		{"httpRoute: {enabled: true, parentRefs: [{name: a}]}\n", "api.exposed is false"},
		{"api: {exposed: true}\ningress: {enabled: true}\n", "ingress.host: want"},
		{"api: {exposed: true}\nhttpRoute: {enabled: true}\n", "httpRoute.parentRefs: want"},
		{"certificate: {enabled: true}\n", "certificate.issuerRef: want"},
		{"  api: {tls: {cert_file: /a, key_file: /b}}\ncertificate: {enabled: true, issuerRef: {name: a}}\n", "config.api.tls names other files"},
		{"metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}\n", "want one or the other"},
		{"extraEnv: [{value: a}]\n", "missing property 'name'"},
		{"service: {type: ExternalName}\n", "value must be one of"},
	} {
		if out, err := helm(t, least+c.values, "template", "watcher"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q, for these values:\n%s%s", err, c.want, c.values, out)
		}
	}
}
