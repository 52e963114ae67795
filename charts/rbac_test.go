package charts_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// grants are a namespace's: "apiGroup/resource" or "apiGroup/resource=name" to verbs.
type grants map[string]string

// What the daemon may do, exactly. A verb that is added in the chart must be added here, with its reason there.
var (
	own = grants{
		"coordination.k8s.io/leases=watcher": "get update",
		"coordination.k8s.io/leases":         "create",
		"/configmaps":                        "create delete list update",
	}
	keeping  = with(own, grants{"/configmaps": "get"}) // where there is an environment
	watching = grants{
		"/pods":                       "get list watch",
		"/pods/log":                   "get",
		"/events":                     "create patch",
		"apps/statefulsets":           "get list watch",
		"policy/poddisruptionbudgets": "list watch",
		"coordination.k8s.io/leases=unstuck-operation": "get list watch",
	}
	broker    = grants{"/pods/exec": "create get"}
	finding   = with(watching, broker, grants{"rabbitmq.com/rabbitmqclusters": "get list watch"})
	anySecret = grants{"/secrets": "get"}
	app       = grants{"apps/deployments": "get list watch", "apps/replicasets": "get list watch"}
	locking   = grants{"coordination.k8s.io/leases=unstuck-operation": "get update", "coordination.k8s.io/leases": "create"}
	deleting  = with(locking, grants{"/pods": "delete get list watch"})
	labeling  = with(locking, grants{"/pods": "delete get list patch watch"})

	cluster   = grants{"authentication.k8s.io/tokenreviews": "create", "authorization.k8s.io/subjectaccessreviews": "create"}
	others    = with(locking, grants{"/pods": "get list", "/pods/log": "get", "/events": "list"})
	operating = with(others, grants{"apps/deployments=web": "get patch", "apps/replicasets": "list"})
	starting  = grants{"batch/jobs": "create delete get"}
	execing   = grants{"/pods/exec": "create get"}
)

// wholeCluster is where the granted rights stand that belong to no namespace.
const wholeCluster = ""

func secret(name string) grants { return grants{"/secrets=" + name: "get"} }

// with gives all of them together.
func with(all ...grants) grants {
	sum := grants{}
	for _, g := range all {
		for key, verbs := range g {
			sum.grant(key, strings.Fields(verbs)...)
		}
	}
	return sum
}

// named gives a right to each object of that kind by its name.
func named(resource, verbs string, names ...string) grants {
	g := grants{}
	for _, name := range names {
		g[resource+"="+name] = verbs
	}
	return g
}

// grant adds verbs.
func (g grants) grant(key string, verbs ...string) {
	verbs = append(verbs, strings.Fields(g[key])...)
	slices.Sort(verbs)
	g[key] = strings.Join(slices.Compact(verbs), " ")
}

//promise:26
func TestRBACGrantsExactlyWhatIsServedNeeds(t *testing.T) {
	acting := strings.Replace(least, "      username", "      mode: remediate\n      username", 1)
	// Both namespaces of the example have all of it.
	watched := with(watching, broker, app, secret("rabbitmq-1-rabbitmq-secret"))
	produced := with(watched, operating, starting, execing, secret("workbenchdata-ci"),
		named("apps/deployments", "get patch", "frontend-deployment", "fetcher-deployment", "renderer-deployment", "cron-deployment",
			"cron-delta-deleter-deployment", "cron-expired-session-deleter-deployment", "cron-lesson-workflow-deleter-deployment"),
		named("/podtemplates", "get", "migrate", "upload-assets", "clear-render-cache", "restart-wordpress"))
	delete(produced, "apps/deployments=web")
	for _, c := range []struct {
		name   string
		values string
		want   map[string]grants
	}{
		{
			"a broker that is observed", least,
			map[string]grants{"tools": own, "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"a broker that is remediated", acting,
			map[string]grants{"tools": own, "jobs": with(watching, broker, deleting, secret("jobs-user"))},
		},
		{
			"a broker that is remediated and whose pods are labelled before", strings.Replace(acting, "container: rabbitmq", "container: rabbitmq, skip_pre_stop_checks: true", 1),
			map[string]grants{"tools": own, "jobs": with(watching, broker, labeling, secret("jobs-user"))},
		},
		{
			"a broker that is observed, and would be labelled otherwise", strings.Replace(least, "container: rabbitmq", "container: rabbitmq, skip_pre_stop_checks: true", 1),
			map[string]grants{"tools": own, "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"an app besides, elsewhere", least + "  apps: [{name: web, pods: {namespace: web, selector: a=b, container: c}}]\n",
			map[string]grants{"tools": own, "jobs": with(watching, broker, secret("jobs-user")), "web": with(watching, app)},
		},
		{
			"an app that is remediated beside a broker that is observed, elsewhere",
			least + "  apps: [{name: web, mode: remediate, pods: {namespace: web, selector: a=b, container: c}}]\n",
			map[string]grants{"tools": own, "jobs": with(watching, broker, secret("jobs-user")), "web": with(watching, app, deleting)},
		},
		{
			"a secret in a third namespace, and none where a file has the password", `
image: {repository: r}
config:
  defaults: {mode: remediate, secret: {name: shared, namespace: vault}}
  brokers:
    - {name: one, username: u, pods: {namespace: a, selector: a=b, container: c}}
    - {name: two, username: u, mode: observe, password_file: /p, pods: {namespace: b, selector: a=b, container: c}}
`,
			map[string]grants{"tools": own, "a": with(watching, broker, deleting), "b": with(watching, broker), "vault": secret("shared")},
		},
		{
			"a file in the place of the secret that the others would have", `
image: {repository: r}
config:
  defaults: {secret: {name: shared, namespace: vault}}
  brokers: [{name: one, username: u, password_file: /p, pods: {namespace: a, selector: a=b, container: c}}]
`,
			map[string]grants{"tools": own, "a": with(watching, broker)},
		},
		{
			"the secrets of TLS, of one's own and of the defaults, and none that a file takes the place of", `
image: {repository: r}
config:
  defaults: {auth_mechanism: external, secret: {name: unused}, tls: {ca_secret: {name: ca, namespace: vault}, cert_secret: {name: cert}}}
  brokers:
    - {name: one, pods: {namespace: a, selector: a=b, container: c}}
    - {name: two, tls: {ca_file: /ca, cert_file: /c, key_file: /k}, pods: {namespace: b, selector: a=b, container: c}}
    - {name: three, auth_mechanism: plain, token_file: /t, tls: {ca_secret: {name: own}}, pods: {namespace: c, selector: a=b, container: c}}
`,
			map[string]grants{
				"tools": own, "a": with(watching, broker, secret("cert")), "b": with(watching, broker),
				"c": with(watching, broker, secret("cert"), secret("own")), "vault": secret("ca"),
			},
		},
		{
			"a Lease of another name", strings.Replace(least, "config:", "config:\n  kubernetes: {lease: other}", 1),
			map[string]grants{
				"tools": {
					"coordination.k8s.io/leases=other": "get update", "coordination.k8s.io/leases": "create",
					"/configmaps": own["/configmaps"],
				},
				"jobs": with(watching, broker, secret("jobs-user")),
			},
		},
		{
			"an environment with nothing but a service", withEnvironment("tasks: []"),
			map[string]grants{"tools": keeping, "jobs": with(watching, broker, secret("jobs-user")), "prod": operating},
		},
		{
			"an environment of a StatefulSet", strings.Replace(withEnvironment("tasks: []"), "deployment: web", "statefulset: web", 1),
			map[string]grants{
				"tools": keeping, "jobs": with(watching, broker, secret("jobs-user")),
				"prod": with(others, grants{"apps/statefulsets=web": "get patch"}),
			},
		},
		{
			"an environment of a DaemonSet", strings.Replace(withEnvironment("tasks: []"), "deployment: web", "kind: rolling, daemonset: web", 1),
			map[string]grants{
				"tools": keeping, "jobs": with(watching, broker, secret("jobs-user")),
				"prod": with(others, grants{"apps/daemonsets=web": "get patch", "apps/controllerrevisions": "list"}),
			},
		},
		{
			"an environment with a job from a CronJob, a task that is a command, and a registry that asks for a password",
			withEnvironment(`jobs: [{name: migrate, from: {cronjob: migrate}}]
      tasks: [{name: clear, exec: {service: web, command: [clear]}}]
      registry_secret: {name: registry, namespace: tools}`),
			map[string]grants{
				"tools": with(keeping, secret("registry")), "jobs": with(watching, broker, secret("jobs-user")),
				"prod": with(operating, starting, execing, named("batch/cronjobs", "get", "migrate")),
			},
		},
		{
			"an environment with a task that is a job, beside a broker", strings.Replace(withEnvironment(`tasks: [{name: clear, job: {podtemplate: clear}}]
      registry_secret: {name: registry}`), "namespace: prod", "namespace: jobs", 1),
			map[string]grants{"tools": keeping, "jobs": with(watching, broker, secret("jobs-user"), secret("registry"),
				operating, starting, named("/podtemplates", "get", "clear"))},
		},
		{
			"an environment in another cluster", withEnvironment("cluster: {kubeconfig: /k, context: other}\n      registry_secret: {name: registry}"),
			map[string]grants{"tools": keeping, "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"brokers that are found, and observed", found("namespaces: [a, jobs]"),
			map[string]grants{"tools": own, "a": with(finding, anySecret), "jobs": with(finding, anySecret, secret("jobs-user"))},
		},
		{
			"brokers that are found, and may be remediated if they ask for it", found("namespaces: [a], max_mode: remediate"),
			map[string]grants{"tools": own, "a": with(finding, anySecret, labeling), "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"StatefulSets that are found, with a Secret of a name", found("namespaces: [a], mode: remediate, rabbitmq_clusters: false, defaults: {secret: {name: monitor, username_key: u}}"),
			map[string]grants{"tools": own, "a": with(watching, broker, deleting, secret("monitor")), "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"brokers that are found, with a Secret that is elsewhere", found("namespaces: [a], defaults: {secret: {name: monitor, namespace: vault, username_key: u}}"),
			map[string]grants{"tools": own, "a": finding, "vault": secret("monitor"), "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"brokers that are found in all namespaces, which has to be asked for by name", found("all_namespaces: true, max_mode: remediate") + "rbac: {allNamespaces: true}\n",
			map[string]grants{"tools": own, wholeCluster: with(finding, anySecret, labeling), "jobs": with(watching, broker, secret("jobs-user"))},
		},
		{
			"the example of production", example(t, "production"),
			map[string]grants{"tools": own, "production": watched, "staging": watched},
		},
		{
			"the example of production with its environments", example(t, "production", "production-environments"),
			map[string]grants{wholeCluster: cluster, "tools": keeping, "production": produced, "staging": produced},
		},
		{
			"the example of the cluster operator", example(t, "cluster-operator"),
			map[string]grants{"tools": own, "rabbitmq": with(watching, broker, secret("rabbitmq-default-user"))},
		},
		{
			"the example of the cluster operator with TLS", example(t, "cluster-operator-tls"),
			map[string]grants{"tools": own, "rabbitmq": with(watching, broker, secret("rabbitmq-default-user"), secret("rabbitmq-ca"))},
		},
		{
			"the example of Bitnami", example(t, "bitnami"),
			map[string]grants{"tools": own, "rabbitmq": with(watching, broker, secret("rabbitmq"))},
		},
	} {
		if diff := cmp.Diff(c.want, granted(t, render(t, c.values))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// found has brokers looked for, beside the least that there may be.
func found(keys string) string { return least + "  discovery: {" + keys + "}\n" }

func TestRBACLetsNobodyIntoAllNamespacesUnlessTheValuesSaySo(t *testing.T) {
	_, err := helm(t, found("all_namespaces: true"), "template", "watcher")
	if err == nil || !strings.Contains(err.Error(), "config.discovery.all_namespaces: want rbac.allNamespaces: true") {
		t.Errorf("%v", err)
	}
	if got := granted(t, render(t, least+"rbac: {allNamespaces: true}\n")); got[wholeCluster] != nil {
		t.Errorf("without discovery it may %v", got[wholeCluster])
	}
}

func TestRBACAsksTheWholeClusterTwoQuestionsIfReviewsAreOn(t *testing.T) {
	got := granted(t, render(t, least+"  api: {kubernetes_auth: true}\n"))
	if diff := cmp.Diff(cluster, got[wholeCluster]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// granted gives what the service account may do, by namespace. It fails if anybody else is granted anything, or a role is
// bound to nobody.
func granted(t *testing.T, all []object) map[string]grants {
	t.Helper()
	roles := make(map[string]object)
	for _, kind := range []string{"Role", "ClusterRole"} {
		for _, o := range ofKind(all, kind) {
			roles[at[string](o, "metadata", "namespace")+"/"+at[string](o, "metadata", "name")] = o
		}
	}
	got := make(map[string]grants)
	for _, binding := range append(ofKind(all, "RoleBinding"), ofKind(all, "ClusterRoleBinding")...) {
		namespace := at[string](binding, "metadata", "namespace")
		subjects := []any{object{"kind": "ServiceAccount", "name": "watcher", "namespace": "tools"}}
		if diff := cmp.Diff(subjects, at[[]any](binding, "subjects")); diff != "" {
			t.Errorf("in %q it is granted to others (-want +got):\n%s", namespace, diff)
		}
		kind := at[string](binding, "roleRef", "kind")
		if kind+"Binding" != binding.kind() || (kind == "ClusterRole") != (namespace == wholeCluster) {
			t.Errorf("in %q a %s is bound", namespace, kind)
		}
		name := namespace + "/" + at[string](binding, "roleRef", "name")
		if got[namespace] == nil {
			got[namespace] = grants{}
		}
		for _, rule := range at[[]any](roles[name], "rules") {
			got[namespace].add(rule)
		}
		delete(roles, name)
	}
	for name := range roles {
		t.Errorf("the Role %s is bound to nobody", name)
	}
	return got
}

// add adds the verbs of a rule.
func (g grants) add(rule any) {
	names := at[[]any](rule, "resourceNames")
	if names == nil {
		names = []any{""}
	}
	for _, group := range at[[]any](rule, "apiGroups") {
		for _, resource := range at[[]any](rule, "resources") {
			for _, name := range names {
				key := group.(string) + "/" + resource.(string)
				if name != "" {
					key += "=" + name.(string)
				}
				for _, verb := range at[[]any](rule, "verbs") {
					g.grant(key, verb.(string))
				}
			}
		}
	}
}

func TestRBACSharesNoRoleBetweenReleasesThatServeOneNamespace(t *testing.T) {
	names := make(map[string]bool)
	for _, namespace := range []string{"tools", "other"} {
		out, err := helm(t, least, "template", "watcher", "--namespace", namespace, "--show-only", "templates/rbac.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, `  name: "watcher.`) {
				names[strings.TrimSpace(line)] = true
			}
		}
	}
	if want := map[string]bool{`name: "watcher.tools"`: true, `name: "watcher.other"`: true}; !cmp.Equal(want, names) {
		t.Errorf("the Roles are called %v", names)
	}
}
