package deploy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

// logHost is an API server that has the Deployment cron, its pods and their logs, without a network: it works within a
// synctest bubble.
type logHost struct {
	t *testing.T

	mu    sync.Mutex
	pods  []*corev1.Pod
	logs  map[string]*podsLog // by pod
	asked []string            // paths and queries
	away  bool
}

// podsLog is the log of a pod's container app.
type podsLog struct {
	text    string
	runs    bool          // who follows waits for more
	refused string        // why there is none
	changed chan struct{} // closed when anything of this has changed
}

func newLogHost(t *testing.T) *logHost { return &logHost{t: t, logs: make(map[string]*podsLog)} }

// add adds a running pod that has logged text. Each is a minute younger than the one before.
func (h *logHost) add(name, text string) *corev1.Pod {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := cronPod(name, "2")
	p.UID = "uid-of-" + p.UID + "-" + p.UID
	p.CreationTimestamp = metav1.NewTime(longAgo.Add(time.Duration(len(h.pods)) * time.Minute))
	h.pods = append(h.pods, p)
	h.logs[name] = &podsLog{text: text, runs: true, changed: make(chan struct{})}
	return p
}

// change changes the log of a pod.
func (h *logHost) change(name string, f func(*podsLog)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.logs[name]
	f(l)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (h *logHost) write(name, text string) { h.change(name, func(l *podsLog) { l.text += text }) }

// remove takes a pod away.
func (h *logHost) remove(name string) {
	h.change(name, func(l *podsLog) { l.runs, l.refused = false, `pods "`+name+`" not found` })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pods = slices.DeleteFunc(h.pods, func(p *corev1.Pod) bool { return p.Name == name })
}

func (h *logHost) clusters() *Clusters {
	h.t.Helper()
	conn, err := apiserver.ForConfig(&rest.Config{Host: "http://kubernetes", Transport: h, QPS: -1}, "unstuck", kubetest.Quiet())
	if err != nil {
		h.t.Fatal(err)
	}
	cs := New()
	cs.Add(conn, testEnvironment())
	return cs
}

// RoundTrip implements http.RoundTripper.
func (h *logHost) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, r.URL.RequestURI())
	if h.away {
		return nil, io.ErrUnexpectedEOF
	}
	const pods = "/api/v1/namespaces/production/pods"
	list := func(kind, version string, items any) (*http.Response, error) {
		return kubetest.Answer(200, map[string]any{"kind": kind, "apiVersion": version, "items": items})
	}
	switch {
	case r.URL.Path == "/apis/apps/v1/namespaces/production/deployments/cron-deployment":
		d := cron()
		d.Kind, d.APIVersion = "Deployment", "apps/v1"
		return kubetest.Answer(200, d)
	case r.URL.Path == pods && r.URL.Query().Get("labelSelector") == "app=cron":
		return list("PodList", "v1", h.pods)
	case r.URL.Path == "/apis/apps/v1/namespaces/production/replicasets" && r.URL.Query().Get("labelSelector") == "app=cron":
		return list("ReplicaSetList", "apps/v1", []any{cronSet("2")})
	case strings.HasPrefix(r.URL.Path, pods+"/") && strings.HasSuffix(r.URL.Path, "/log"):
		return h.log(r, strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, pods+"/"), "/log"))
	}
	return kubetest.Answer(404, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
}

// log answers as a kubelet does: sinceTime counts whole seconds, and tailLines what is left.
func (h *logHost) log(r *http.Request, name string) (*http.Response, error) {
	l, q := h.logs[name], r.URL.Query()
	switch {
	case l == nil || strings.HasSuffix(l.refused, "not found"):
		return kubetest.Answer(404, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
	case l.refused != "":
		return kubetest.Answer(400, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonBadRequest, Code: 400, Message: l.refused})
	}
	kept := ""
	for line := range strings.Lines(l.text) {
		since, _ := time.Parse(time.RFC3339, q.Get("sinceTime"))
		if stamp, _, _ := strings.Cut(line, " "); since.IsZero() || stamp >= since.UTC().Format("2006-01-02T15:04:05") {
			kept += line
		}
	}
	if tail := q.Get("tailLines"); tail != "" {
		var n int
		if _, err := fmt.Sscan(tail, &n); err != nil {
			h.t.Error(err)
		}
		lines := slices.Collect(strings.Lines(kept))
		kept = strings.Join(lines[max(0, len(lines)-n):], "")
	}
	head := http.Header{"Content-Type": {"text/plain"}}
	if q.Get("follow") != "true" {
		return &http.Response{StatusCode: 200, Header: head, Body: io.NopCloser(strings.NewReader(kept))}, nil
	}
	out, in := io.Pipe()
	go h.feed(r, in, l, kept, len(l.text))
	return &http.Response{StatusCode: 200, Header: head, Body: out}, nil
}

// feed writes what a log gets, until its container ends or nobody reads.
func (h *logHost) feed(r *http.Request, in *io.PipeWriter, l *podsLog, text string, from int) {
	for {
		if _, err := io.WriteString(in, text); err != nil {
			return
		}
		h.mu.Lock()
		text, from = l.text[min(from, len(l.text)):], len(l.text)
		runs, changed := l.runs, l.changed
		h.mu.Unlock()
		switch {
		case text != "":
			continue
		case !runs:
			_ = in.Close()
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			_ = in.CloseWithError(r.Context().Err())
			return
		}
	}
}

// stamped gives a line as the kubelet does, s seconds after the test's past.
func stamped(s float64, text string) string {
	return past.Add(time.Duration(s*float64(time.Second))).Format(time.RFC3339Nano) + " " + text + "\n"
}

var past = time.Date(2026, 11, 23, 0, 38, 0, 0, time.UTC)
