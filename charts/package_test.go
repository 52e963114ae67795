package charts_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const blobs = "https://github.com/cjworkbench/unstuck/blob/main/"

// The chart is read without the repository around it: in its package, and on Artifact Hub.
func TestPackageLinksLeadOutOfTheChartByTheirWholeAddress(t *testing.T) {
	links := 0
	for _, file := range []string{"README.md", "Chart.yaml"} {
		data, err := os.ReadFile(filepath.Join(chart, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:\]\(|url: )([^()\s]+)`).FindAllStringSubmatch(string(data), -1) {
			links++
			to, anchor, _ := strings.Cut(m[1], "#")
			switch inRepository, absolute := strings.CutPrefix(to, blobs); {
			case absolute:
				if _, err := os.Stat(filepath.Join("..", inRepository)); err != nil {
					t.Errorf("%s links to %s: %v", file, m[1], err)
				}
			case strings.Contains(to, "://"), to == "" && anchor != "":
			case strings.HasPrefix(path.Clean(to), ".."):
				t.Errorf("%s links to %s, which is not in the chart: want %s...", file, m[1], blobs)
			default:
				if _, err := os.Stat(filepath.Join(chart, to)); err != nil {
					t.Errorf("%s links to %s: %v", file, m[1], err)
				}
			}
		}
	}
	if links < 10 {
		t.Errorf("there are only %d links", links)
	}
}

// What https://artifacthub.io/docs/topics/annotations/helm/ asks for.
func TestPackageSaysWhatArtifactHubShows(t *testing.T) {
	data, err := os.ReadFile(chart + "/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Icon        string
		KubeVersion string `yaml:"kubeVersion"`
		Maintainers []struct{ Name, URL string }
		Annotations map[string]string
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Icon != strings.Replace(blobs, "github.com/cjworkbench/unstuck/blob", "raw.githubusercontent.com/cjworkbench/unstuck", 1)+"charts/unstuck/icon.svg" ||
		len(c.Maintainers) == 0 || c.KubeVersion != ">=1.29.0-0" {
		t.Errorf("it says %+v", c)
	}
	categories := []string{"ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security", "storage", "streaming-messaging"}
	if !slices.Contains(categories, c.Annotations["artifacthub.io/category"]) || c.Annotations["artifacthub.io/license"] != "Apache-2.0" {
		t.Errorf("its annotations are %v", c.Annotations)
	}
	for _, key := range []string{"links", "changes"} {
		var list []map[string]string
		if err := yaml.Unmarshal([]byte(c.Annotations["artifacthub.io/"+key]), &list); err != nil || len(list) == 0 {
			t.Errorf("%s: %v, %v", key, list, err)
		}
	}
}

// A picture that loads nothing and runs nothing.
func TestPackageIconIsAPictureByItself(t *testing.T) {
	f, err := os.Open(chart + "/icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d, elements := xml.NewDecoder(f), 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if elements < 5 {
				t.Errorf("it has %d elements", elements)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		elements++
		if !slices.Contains([]string{"svg", "title", "rect", "g", "path", "circle"}, e.Name.Local) {
			t.Errorf("it has an element %s", e.Name.Local)
		}
	}
}

func TestPackageTestAsksThroughTheService(t *testing.T) {
	open := []any{
		object{"args": []any{"ready", "http://watcher:9090"}},
		object{"args": []any{"status", "--server", "http://watcher:8080"}},
	}
	for values, want := range map[string][]any{
		least:                            open[:1],
		least + "api: {exposed: true}\n": open,
		// Who must sign in has no token here, and whose certificate it is nobody knows.
		least + "  api: {kubernetes_auth: true}\napi: {exposed: true}\n":                              open[:1],
		least + "  api: {tls: {cert_file: /a, key_file: /b}}\napi: {exposed: true}\n":                 open[:1],
		least + "api: {exposed: true}\ncertificate: {enabled: true, issuerRef: {name: a, kind: b}}\n": open[:1],
	} {
		all := render(t, values)
		pod := only(t, all, "Pod")
		var got []any
		for _, c := range at[[]any](pod, "spec", "containers") {
			if image := at[string](c, "image"); image != "registry.example/unstuck:0.1.0" {
				t.Errorf("its image is %s", image)
			}
			if at[any](c, "securityContext", "readOnlyRootFilesystem") != true {
				t.Errorf("its security context is %v", at[any](c, "securityContext"))
			}
			got = append(got, object{"args": at[any](c, "args")})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s for these values:\n%s", diff, values)
		}
		if at[string](pod, "metadata", "annotations", "helm.sh/hook") != "test" || at[any](pod, "spec", "securityContext", "runAsNonRoot") != true ||
			at[any](pod, "spec", "automountServiceAccountToken") != false {
			t.Errorf("it is %v", pod)
		}
		// Else the Service would send to it what is for Unstuck.
		selector := at[object](only(t, all, "Service"), "spec", "selector")
		if at[string](selector, "app.kubernetes.io/name") == at[string](pod, "metadata", "labels", "app.kubernetes.io/name") {
			t.Errorf("the Service selects it by %v", selector)
		}
	}
	policy := only(t, render(t, least+"networkPolicy: {enabled: true, metricsFrom: {team: monitoring}}\n"), "NetworkPolicy")
	from := at[[]any](at[[]any](policy, "spec", "ingress")[0], "from")
	want := object{"podSelector": object{"matchLabels": object{"app.kubernetes.io/name": "unstuck-test", "app.kubernetes.io/instance": "watcher"}}}
	if diff := cmp.Diff(any(want), from[1]); diff != "" {
		t.Errorf("the test's pod is not let in (-want +got):\n%s", diff)
	}
}
