package deploy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

func TestClustersPodEnvShowsNoSecrets(t *testing.T) {
	pod := cronPod("cron-new", "2")
	name := func(n string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: n} }
	pod.Spec.InitContainers[0].EnvFrom = []corev1.EnvFromSource{
		{Prefix: "DB_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: name("db"), Optional: new(true)}},
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: name("settings")}},
		{},
	}
	from := func(v corev1.EnvVarSource) *corev1.EnvVarSource { return &v }
	pod.Spec.Containers[0].Image = "gcr.io/acme/cron:1"
	pod.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "DEBUG", Value: "1"},
		{Name: "EMPTY"},
		{Name: "DB_PASSWORD", Value: "hunter2"},
		{Name: "BROKER", Value: "amqp://u:hunter2@mq/"},
		{Name: "A", ValueFrom: from(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: name("db"), Key: "url"}})},
		{Name: "B", ValueFrom: from(corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: name("settings"), Key: "b", Optional: new(true)}})},
		{Name: "C", ValueFrom: from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}})},
		{Name: "D", ValueFrom: from(corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "app", Resource: "limits.cpu"}})},
		{Name: "E", ValueFrom: from(corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "files", Path: "all.env", Key: "E"}})},
		{Name: "F", ValueFrom: from(corev1.EnvVarSource{})},
	}
	pod.CreationTimestamp = metav1.NewTime(longAgo)
	ending := cronPod("cron-ending", "2")
	ending.CreationTimestamp, ending.DeletionTimestamp = metav1.NewTime(longAgo.Add(time.Hour)), new(metav1.NewTime(longAgo))
	c := kubetest.NewCluster(t, cron(), pod, ending)
	want := release.PodEnv{Pod: "cron-new", Containers: []release.ContainerEnv{
		{Container: "setup", Init: true, Variables: []release.EnvVar{}, From: []release.EnvSource{
			{Kind: release.FromSecret, Name: "db", Prefix: "DB_", Optional: true}, {Kind: release.FromConfigMap, Name: "settings"}, {Kind: release.FromUnknown},
		}},
		{Container: "app", Image: "gcr.io/acme/cron:1", From: []release.EnvSource{}, Variables: []release.EnvVar{
			{Name: "DEBUG", Value: new("1")},
			{Name: "EMPTY", Value: new("")},
			{Name: "DB_PASSWORD", Masked: "its name is like that of a secret"},
			{Name: "BROKER", Masked: "its value looks like a secret"},
			{Name: "A", From: &release.EnvSource{Kind: release.FromSecret, Name: "db", Key: "url"}},
			{Name: "B", From: &release.EnvSource{Kind: release.FromConfigMap, Name: "settings", Key: "b", Optional: true}},
			{Name: "C", From: &release.EnvSource{Kind: release.FromField, Key: "status.podIP"}},
			{Name: "D", From: &release.EnvSource{Kind: release.FromResource, Name: "app", Key: "limits.cpu"}},
			{Name: "E", From: &release.EnvSource{Kind: release.FromFile, Name: "files", Key: "all.env E"}},
			{Name: "F", From: &release.EnvSource{Kind: release.FromUnknown}},
		}},
		{Container: "proxy", From: []release.EnvSource{}, Variables: []release.EnvVar{}},
	}}
	for _, name := range []string{"", "cron-new"} {
		got, err := clusters(c).PodEnv(t.Context(), testEnvironment(), "cron", name)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("pod %q: %v\n%s", name, err, diff)
		}
	}
	if n := c.Asked("get secrets") + c.Asked("get configmaps") + c.Asked("list secrets") + c.Asked("list configmaps"); n > 0 || c.Asked("list pods") != 2 {
		t.Errorf("Secrets or ConfigMaps were read %d times", n)
	}
	_, err := clusters(c).PodEnv(t.Context(), testEnvironment(), "cron", "rabbit-0")
	var refusal *plan.Refusal
	if !errors.As(err, &refusal) || refusal.Code != plan.NotFound || refusal.Hint != "ask for cron-new, cron-ending" {
		t.Errorf("a pod of another service: %v", err)
	}
	if _, err := clusters(kubetest.NewCluster(t, cron())).PodEnv(t.Context(), testEnvironment(), "cron", ""); !errors.As(err, &refusal) || refusal.Code != plan.NotFound {
		t.Errorf("no pods: %v", err)
	}
}

// A commit is no secret if it runs there: one of the pod's images has it in its tag.
func TestClustersPodEnvShowsTheCommitThatRunsAndNoOther(t *testing.T) {
	const runs, other = "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b", "0123456789abcdef0123456789abcdef01234567"
	pod := cronPod("cron-new", "2")
	pod.Spec.Containers[0].Image = "gcr.io/acme/cron:" + runs
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "REVISION", Value: runs}, {Name: "BUILD", Value: "v1+" + runs}, {Name: "GITHUB", Value: other}}
	pod.Spec.InitContainers[0].Env = []corev1.EnvVar{{Name: "REVISION", Value: runs}}
	got, err := clusters(kubetest.NewCluster(t, cron(), pod)).PodEnv(t.Context(), testEnvironment(), "cron", "")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, c := range got.Containers {
		for _, v := range c.Variables {
			shown[c.Container+" "+v.Name] = v.Value != nil
		}
	}
	if diff := cmp.Diff(map[string]bool{"setup REVISION": true, "app REVISION": true, "app BUILD": true, "app GITHUB": false}, shown); diff != "" {
		t.Error(diff)
	}
}

func TestWhyMaskedHidesAValueThatLooksLikeASecret(t *testing.T) {
	for _, c := range []struct{ name, value string }{
		{"DATABASE_PASSWORD", "x"},
		{"db_passwd", "x"},
		{"apiKey", "x"},
		{"GITHUB_TOKEN", "x"},
		{"CLIENT_SECRET", "x"},
		{"AUTH", "x"},
		{"SENTRY_DSN", "x"},
		{"URL", "postgres://me:hunter2@db/x"},
		{"URL", "https://ghtoken@git.example/"},
		{"URL", "redis://:p/w@cache"},
		{"ALL", "http://a/ amqps://u:p@b:5671/%2F"},
		{"DB", "me:hunter2@tcp(db:3306)/x"},
		{"DB", "host=db user=me password=hunter2"},
		{"DB", "Server=db;Pwd = hunter2"},
		{"JSON", `{"password": "x"}`},
		{"HEADER", "Authorization: Bearer abc"},
		{"X", "-----BEGIN RSA PRIVATE KEY-----\nMII"},
		{"X", "eyJhbGciOiJIUzI1NiJ9.e30.x"},
		{"X", "ghp_abcdef"},
		{"X", "xoxb-1-2"},
		{"X", "AKIAIOSFODNN7EXAMPLE"},
		{"X", "sk_live_4eC39"},
		{"X", "https://hooks.slack.example/T0/B0/x"},
		{"X", "0123456789abcdef0123456789abcdef"},
		{"X", "d9b1d7db-4c5c-4a5c-8a5c-0123456789ab"},
		{"X", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE"},
		{"X", " Zm9vYmFyYmF6cXV4MTIzNDU2Nzg= \n"},
		{"X", "$2b$12$abcdefghijk"},
		{"X", "https://acct.blob.example/c?sv=1&sig=abc"},
		{"ARGS", "--user me --password hunter2"},
		{"ARGS", "--api-key abc"},
		{"ARGS", "--access-key=abc"},
		{"HEADERS", "X-Api-Key: abc"},
		{"ARGS", "-u me:hunter2 --silent"},
		{"ARGS", "--user=me:hunter2"},
		{"MYSQL", "mysql -ume -phunter2 x"},
		{"ORACLE", "scott/tiger@db"},
		{"YAML", "db:\n  pass: hunter2\n"},
		{"ARGS", "--auth-token abc"},
		{"PROXY", "me%3Ahunter2%40proxy"},
		{"DB_PW", "hunter2"},
		{"VPN_PSK", "s3cretpsk"},
		{"DB_CREDS", "admin/hunter2"},
		{"BASIC", "admin:hunter2"},
		{"GITHUB", "0123456789abcdef0123456789abcdef01234567"},
		{"DISCORD_URL", "https://discord.com/api/webhooks/1234567890/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"},
		{"ADMIN_PIN", "4711"},
	} {
		if whyMasked(c.name, c.value) == "" {
			t.Errorf("%s=%s is shown", c.name, c.value)
		}
	}
	for _, c := range []struct{ name, value string }{
		{"PASSWORD", ""},
		{"DEBUG", "true"},
		{"PORT", "8000"},
		{"HOST", "rabbitmq-service.production.svc.cluster.local:5672"},
		{"TZ", "Europe/Zurich"},
		{"URL", "https://app.workbenchdata.com/path?x=1"},
		{"COMMIT", "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b"}, // that runs
		{"MAIL_TO", "ops@example.com"},
		{"ARGS", "--workers 4 --timeout=30s"},
		{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
		{"FILE", "/etc/Unstuck2/config.yaml"},
		{"BROKER", "amqp://rabbitmq:5672"},
		{"NAME", "production-orders-eu-west-1-primary"},
	} {
		if why := whyMasked(c.name, c.value, "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b"); why != "" {
			t.Errorf("%s=%s is hidden: %s", c.name, c.value, why)
		}
	}
}

func FuzzVariableOfShowsNoPasswordOfAURL(f *testing.F) {
	f.Add("URL", "amqp", "user", "hunter2")
	f.Fuzz(func(t *testing.T, name, scheme, user, password string) {
		if strings.ContainsFunc(scheme+user+password, func(r rune) bool { return r <= ' ' || r > '~' }) || scheme == "" {
			return
		}
		if v := variableOf(corev1.EnvVar{Name: name, Value: scheme + "://" + user + ":" + password + "@host/path"}, nil); v.Value != nil {
			t.Errorf("%q is shown", *v.Value)
		}
	})
}
