package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/artifact"
)

// Standin is an application, of Deployments as production has them, in a namespace of its own.
type Standin struct {
	Namespace string

	cluster *Cluster
}

// standinNotes is where the applications' pods keep notes, as the host of the cluster sees it, by namespace.
const standinNotes = "/var/lib/standin"

//go:embed standin.yaml
var standinYAML string

// StandinEnvironment gives the environment of Unstuck's configuration that has the application in its namespace, which
// it is called after: an item of the list in YAML, to which more keys can be added.
func StandinEnvironment(namespace string) string {
	return fmt.Sprintf(`
  - name: %[1]s
    namespace: %[1]s
    image: %[2]s
    images: [migrate, upload-assets]
    registry_secret: {name: workbenchdata-ci}
    services:
    - {name: frontend, deployment: frontend-deployment, image: frontend, kind: rolling}
    - {name: cron, deployment: cron-deployment, image: cron, kind: singleton}
    - {name: cron-delta-deleter, deployment: cron-delta-deleter-deployment, image: cron, kind: singleton}
    jobs:
    - {name: migrate, from: {cronjob: migrate}}
    - {name: upload-assets, from: {podtemplate: upload-assets}, no_migration: true}
    tasks:
    - name: clear-render-cache
      warning: Users will notice a slowdown for a few minutes.
      job: {podtemplate: clear-render-cache}
    - name: import-plans
      exec: {service: frontend, container: app, command: [/tool, count, imported plan]}
    deadlines: {rollout: 3m, stop: 1m}
`, namespace, artifact.StandinImage("{image}", "{commit}"))
}

// PublishStandin makes the images of the application at a commit, gives them to the host, and publishes them. The
// variables say how that commit behaves: see cmd/tool.
func (c *Cluster) PublishStandin(ctx context.Context, maker *artifact.Maker, r *Registry, commit string,
	environment map[string]string,
) error {
	path, err := maker.Standin(ctx, commit, environment)
	if err == nil {
		err = c.ImportImage(ctx, path)
	}
	for _, image := range artifact.StandinImages() {
		if err == nil {
			err = r.Publish(ctx, artifact.StandinImage(image, commit))
		}
	}
	return err
}

// CreateStandin creates the application at a commit, whose images must have been imported, and does not wait for it.
func (c *Cluster) CreateStandin(ctx context.Context, namespace, commit string, r *Registry) (*Standin, error) {
	s := &Standin{Namespace: namespace, cluster: c}
	if err := os.MkdirAll(s.notes(), 0o755); err != nil {
		return nil, fmt.Errorf("create the application: %w", err)
	}
	values := struct {
		Namespace, Other, Notes, Password, DockerConfig string
		Singletons                                      map[string]string // their Deployments' strategies
	}{
		namespace, artifact.ToolImage, filepath.Join(standinNotes, namespace), rand.Text(), r.DockerConfig,
		map[string]string{"cron": "Recreate", "cron-delta-deleter": "RollingUpdate"},
	}
	manifests, err := fill("standin", standinYAML, values, template.FuncMap{
		"image": func(name string) string { return artifact.StandinImage(name, commit) },
	})
	if err == nil {
		err = c.Apply(ctx, manifests)
	}
	if err != nil {
		return nil, fmt.Errorf("create the application: %w", err)
	}
	return s, nil
}

// Deployments lists the names of the application's Deployments.
func (*Standin) Deployments() []string {
	return []string{"frontend-deployment", "cron-deployment", "cron-delta-deleter-deployment"}
}

// WaitReady waits until all of the application's pods serve.
func (s *Standin) WaitReady(ctx context.Context) error {
	for _, name := range s.Deployments() {
		err := until(ctx, "Deployment "+name, func(ctx context.Context) error {
			d, err := s.Deployment(ctx, name)
			if err == nil && (d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < *d.Spec.Replicas) {
				err = fmt.Errorf("%d of %d pods serve", d.Status.AvailableReplicas, *d.Spec.Replicas)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Deployment gives a Deployment as it is now.
func (s *Standin) Deployment(ctx context.Context, name string) (*appsv1.Deployment, error) {
	return s.cluster.Kubernetes.AppsV1().Deployments(s.Namespace).Get(ctx, name, metav1.GetOptions{})
}

// Images gives the image of each container, init containers included, as "deployment/container".
func (s *Standin) Images(ctx context.Context) (map[string]string, error) {
	all := make(map[string]string)
	for _, name := range s.Deployments() {
		d, err := s.Deployment(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, containers := range [][]corev1.Container{
			d.Spec.Template.Spec.InitContainers,
			d.Spec.Template.Spec.Containers,
		} {
			for _, c := range containers {
				all[name+"/"+c.Name] = c.Image
			}
		}
	}
	return all, nil
}

// Pods gives a service's pods that are not on their way out.
func (s *Standin) Pods(ctx context.Context, service string) ([]corev1.Pod, error) {
	list, err := s.cluster.Kubernetes.CoreV1().Pods(s.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: "app=" + service + "-app"})
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods = append(pods, p)
		}
	}
	return pods, nil
}

// Hold has migrations wait from now on, until LetGo.
func (s *Standin) Hold() error { return os.WriteFile(filepath.Join(s.notes(), "hold"), nil, 0o644) }

// LetGo lets migrations go on.
func (s *Standin) LetGo() error {
	if err := os.Remove(filepath.Join(s.notes(), "hold")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Migrations gives the commits whose migrations were started, in order, each as often as it was.
func (s *Standin) Migrations() ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(s.notes(), "runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(raw)), err
}

// Life is one life of a singleton, as its pod noted it.
type Life struct {
	Pod, Commit string
	Began       time.Time
	Ended       time.Time // zero: it has not noted that
}

// Lives gives the lives of a singleton, in the order in which they began.
func (s *Standin) Lives(service string) ([]Life, error) {
	raw, err := os.ReadFile(filepath.Join(s.notes(), service))
	if err != nil {
		return nil, err
	}
	var lives []Life
	for line := range strings.Lines(string(raw)) {
		var what, pod, commit string
		var nanos int64
		if _, err := fmt.Sscan(line, &what, &pod, &nanos, &commit); err != nil {
			return nil, fmt.Errorf("read the notes of %s: %q: %w", service, line, err)
		}
		at := time.Unix(0, nanos)
		if what == "begin" {
			lives = append(lives, Life{Pod: pod, Commit: commit, Began: at})
			continue
		}
		for i := range lives {
			if lives[i].Pod == pod && lives[i].Ended.IsZero() {
				lives[i].Ended = at
			}
		}
	}
	return lives, nil
}

func (s *Standin) notes() string {
	return filepath.Join(s.cluster.dir, libDir, "standin", s.Namespace)
}

// fill fills in a template of manifests.
func fill(name, text string, values any, functions template.FuncMap) (string, error) {
	t, err := template.New(name).Funcs(functions).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = t.Execute(&out, values)
	return out.String(), err
}

// dockerConfig is what a Secret holds with which images are pulled.
func dockerConfig(registry, user, password string) (string, error) {
	type login struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	raw, err := json.Marshal(map[string]map[string]login{"auths": {registry: {user, password}}})
	return string(raw), err
}
