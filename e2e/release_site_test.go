package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	settings "github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/release/plan"
)

// The commits of what stands in for the application.
var (
	commitOne         = strings.Repeat("1", 40)
	commitTwo         = strings.Repeat("2", 40) // its migration migrates
	commitThree       = strings.Repeat("3", 40)
	commitBad         = strings.Repeat("b", 40) // its migration fails
	commitCrash       = strings.Repeat("c", 40) // its frontend does not come up
	commitUnpublished = strings.Repeat("d", 40) // all but the image of cron is published
)

var commits = map[string]map[string]string{
	commitOne: nil, commitTwo: {"MIGRATE": "yes"}, commitThree: nil, commitBad: {"MIGRATE": "fail"}, commitCrash: {"CRASH": "yes"},
}

// published is a registry with the images of all commits, which the host has as well: made once, when the first test
// asks for it.
var published = sync.OnceValues(func() (*cluster.Registry, error) {
	root, err := artifact.FindRoot()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r, err := shared.StartRegistry(ctx)
	if err != nil {
		return nil, err
	}
	maker := &artifact.Maker{Root: root, Progress: os.Stdout}
	for commit, environment := range commits {
		if err := shared.PublishStandin(ctx, maker, r, commit, environment); err != nil {
			return nil, err
		}
	}
	for _, image := range artifact.StandinImages() {
		if image == "cron" {
			continue
		}
		if err := r.Publish(ctx, artifact.StandinImage(image, commitUnpublished)); err != nil {
			return nil, err
		}
	}
	return r, nil
})

// onlyReleases are the chart's values of an installation that watches nothing that there is.
const onlyReleases = `
config:
  log: {format: json, level: debug}
  brokers:
  - name: elsewhere
    username: rabbit
    password_file: ` + cluster.FilesDir + `/password
    nodes: [{name: nobody, address: "127.0.0.1:5672"}]
`

// installation is Unstuck with environments, its callers' tokens, and a client that reaches its API.
type installation struct {
	*cluster.Unstuck

	tokens map[string]string
	client *http.Client
}

// tokensFile is the file of tokens, less their hashes.
const tokensFile = `
tokens:
- name: oncall
  hash: %s
  rights:
  - {verbs: [deploy, promote, revert, restart, task, logs, env], environments: ["*"]}
  - {verbs: [pause, delete, probe], targets: ["*"]}
- name: ci
  hash: %s
  rights: [{verbs: [deploy], environments: [%s]}]
- name: former
  hash: %s
  expires: 2025-01-31T00:00:00Z
  rights: [{verbs: [deploy], environments: ["*"]}]
`

// install installs Unstuck in a namespace of its own, with environments of these names, and more keys for some of
// them. CI may deploy to the last.
func install(ctx context.Context, namespace, values string, environments []string, more map[string]string) (*installation, error) {
	base, err := prepared()
	if err != nil {
		return nil, err
	}
	registry, err := published()
	if err != nil {
		return nil, err
	}
	i := &installation{Unstuck: base.In(namespace), tokens: map[string]string{}}
	var hashes []any
	for _, name := range []string{"oncall", "ci", "former"} {
		token, hash, err := settings.NewToken(name)
		if err != nil {
			return nil, err
		}
		i.tokens[name] = token
		if hashes = append(hashes, hash); name == "ci" {
			hashes = append(hashes, environments[len(environments)-1])
		}
	}
	i.Token = i.tokens["oncall"]
	var all strings.Builder
	for _, name := range environments {
		all.WriteString(cmp.Or(ofOwnServices[name], cluster.StandinEnvironment(name)) + more[name])
	}
	for _, name := range environments { // the Roles are created in them
		if err := shared.Apply(ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}\n"); err != nil {
			return nil, err
		}
	}
	if err := i.PutFiles(ctx, map[string]string{"tokens.yaml": fmt.Sprintf(tokensFile, hashes...), "password": "unused"}, registry); err != nil {
		return nil, err
	}
	values += `
  api: {tokens_file: ` + cluster.FilesDir + `/tokens.yaml, kubernetes_auth: true, rate_limit: {per_second: 200, burst: 400}}
  environments:` + all.String() + `
rbac: {reviews: true}
` + cluster.Mounts
	if err := i.Install(ctx, values); err != nil {
		return nil, err
	}
	i.client, err = i.Service(ctx)
	return i, err
}

// releases is one installation for all tests of releases that leave the daemon alone. Each has environments of its own.
var releases = sync.OnceValues(func() (*installation, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return install(ctx, "unstuck-releases", onlyReleases, []string{"staging", "production", "trouble", "again", "typed-source", "typed", "paged", "workloads", "waiting", "granted"},
		map[string]string{
			"production": "    promote_from: staging\n    healthy_for: 1s\n",
			"typed":      "    promote_from: typed-source\n    healthy_for: 1s\n",
		})
})

// scene is an environment with the application in it, and somebody on call for it.
type scene struct {
	caller
	*cluster.Standin

	path string // of the environment in the API
}

// stage creates the application at commit one, and waits until it serves.
func stage(t *testing.T, i *installation, name string) *scene {
	t.Helper()
	registry, err := published()
	if err != nil {
		t.Fatal(err)
	}
	app, err := shared.CreateStandin(within(t, time.Minute), name, commitOne, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // so that nothing of it takes this machine's time any longer
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		apps := shared.Kubernetes.AppsV1()
		if err := errors.Join(app.LetGo(),
			apps.Deployments(name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			apps.StatefulSets(name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			apps.DaemonSets(name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})); err != nil {
			t.Error(err)
		}
	})
	return &scene{caller: caller{installation: i, t: t, token: i.tokens["oncall"]}, Standin: app, path: "/api/v1/environments/" + name}
}

// sharedStage is stage in the installation that tests of releases share.
func sharedStage(t *testing.T, name string) *scene {
	t.Helper()
	i, err := releases()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			i.explain(t)
		}
	})
	return stage(t, i, name)
}

// explain writes down what the daemon said.
func (i *installation) explain(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	pods, err := i.Pods(ctx)
	if err != nil {
		t.Log(err)
	}
	for _, p := range pods {
		logs, err := i.Logs(ctx, p.Name, 3000)
		var kept []string
		for line := range strings.Lines(logs) {
			if !strings.Contains(line, `"level":"DEBUG`) {
				kept = append(kept, line)
			}
		}
		t.Logf("log of %s (%v):\n%s", p.Name, err, strings.Join(kept[max(0, len(kept)-150):], ""))
	}
}

// on gives the scene for a part of the test.
func (s *scene) on(t *testing.T) *scene {
	other := *s
	other.t = t
	return &other
}

func (s *scene) ready() {
	s.t.Helper()
	if err := s.WaitReady(within(s.t, 2*time.Minute)); err != nil {
		s.t.Fatal(err)
	}
}

// deploy has a commit deployed.
func (s *scene) deploy(commit string) plan.Operation {
	s.t.Helper()
	return s.submit(s.path+"/deploys", body{"commit": commit, "reason": "a test"})
}

// at wants every container with an image of the application's own to have it at the commit, and the others to have the
// image that they always have.
func (s *scene) at(commit string) {
	s.t.Helper()
	images, err := s.Images(within(s.t, 10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	for where, image := range images {
		name := "cron"
		if strings.HasPrefix(where, "frontend") {
			name = "frontend"
		}
		want := artifact.StandinImage(name, commit)
		if strings.HasSuffix(where, "/cloudsql-proxy") {
			want = artifact.ToolImage
		}
		if image != want {
			s.t.Errorf("%s runs %s, want %s", where, image, want)
		}
	}
}

// alone wants no two lives of any singleton to overlap, and the last one to be at the commit. It gives how many lives
// each had.
func (s *scene) alone(commit string) map[string]int {
	s.t.Helper()
	count := map[string]int{}
	for _, service := range []string{"cron", "cron-delta-deleter"} {
		lives, err := s.Lives(service)
		if err != nil {
			s.t.Fatal(err)
		}
		for i, life := range lives {
			if i > 0 && (lives[i-1].Ended.IsZero() || life.Began.Before(lives[i-1].Ended)) {
				s.t.Errorf("%s: two at once: %+v and %+v", service, lives[i-1], life)
			}
		}
		if last := lives[len(lives)-1]; last.Commit != commit || !last.Ended.IsZero() {
			s.t.Errorf("the last life of %s is %+v, want one at %s", service, last, commit)
		}
		count[service] = len(lives)
	}
	return count
}
