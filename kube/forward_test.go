package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cjworkbench/unstuck/kube/kubetest"
)

// forwardServer is an API server with pods whose ports it forwards, by SPDY alone, to what listens at backend.
type forwardServer struct {
	backend string // empty: nothing listens there
	leader  string // the holder of the Lease; empty: the Lease may not be seen
	lease   string // its name; empty: unstuck

	mu        sync.Mutex
	pods      []corev1.Pod
	apps      map[string]any // what apps/v1 has in the namespace, by resource and name
	swap      []corev1.Pod   // the pods that there are once one has been forwarded to
	forwarded []string       // pod:port
	asked     []string       // the Authorization of each request
	streams   sync.WaitGroup
}

func (s *forwardServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Header.Get("Authorization"))
	refuse := func(code int, reason, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"details":{"name":"forbidden","kind":"pods"},"code":%d,"message":%q}`, reason, code, message)
	}
	switch pod, forward := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/ops/pods/"), "/portforward"); {
	case r.URL.Path == "/api/v1/namespaces/ops/pods" && r.URL.Query().Get("labelSelector") == ourLabel:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: s.pods})
	case r.URL.Path == "/apis/coordination.k8s.io/v1/namespaces/ops/leases/"+cmp.Or(s.lease, "unstuck") && s.leader != "":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(coordinationv1.Lease{TypeMeta: metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &s.leader}})
	case strings.HasPrefix(r.URL.Path, "/apis/apps/v1/namespaces/ops/"):
		resource, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/apis/apps/v1/namespaces/ops/"), "/")
		if o, ok := s.apps[resource+"/"+name]; ok {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(o)
			return
		}
		if _, forbidden := s.apps["forbidden"]; forbidden {
			refuse(http.StatusForbidden, "Forbidden", fmt.Sprintf("%s.apps %q is forbidden: User \"me\" cannot get resource %q in API group \"apps\" in the namespace \"ops\"", resource, name, resource))
			return
		}
		refuse(http.StatusNotFound, "NotFound", "none")
	case forward && pod == "forbidden":
		verb := map[string]string{http.MethodGet: "get", http.MethodPost: "create"}[r.Method]
		refuse(http.StatusForbidden, "Forbidden", `pods "forbidden" is forbidden: User "me" cannot `+verb+` resource "pods/portforward" in API group "" in the namespace "ops"`)
	case forward && r.Method == http.MethodPost:
		s.forward(w, r, pod)
		if s.swap != nil {
			s.pods = s.swap
		}
	default:
		refuse(http.StatusForbidden, "Forbidden", "no "+r.Method+" of "+r.URL.Path)
	}
}

// forward does what a kubelet does.
func (s *forwardServer) forward(w http.ResponseWriter, r *http.Request, pod string) {
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 2)
	c := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	s.streams.Go(func() {
		defer c.Close()
		var opened [2]httpstream.Stream
		for i := range opened {
			select {
			case opened[i] = <-streams:
			case <-c.CloseChan():
				return
			}
		}
		faults, data := opened[0], opened[1]
		s.mu.Lock()
		s.forwarded = append(s.forwarded, pod+":"+faults.Headers().Get(corev1.PortHeader))
		s.mu.Unlock()
		backend, err := net.Dial("tcp", s.backend)
		if err != nil {
			fmt.Fprint(faults, "port forward: nothing listens there")
			faults.Close()
			data.Close()
			<-c.CloseChan()
			return
		}
		var sent sync.WaitGroup
		sent.Go(func() {
			_, _ = io.Copy(backend, data)
			backend.Close()
		})
		_, _ = io.Copy(data, backend)
		data.Close()
		faults.Close()
		sent.Wait()
		<-c.CloseChan()
	})
}

func forwardPod(name, instance string, ready corev1.ConditionStatus, ports ...corev1.ContainerPort) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ops", Labels: map[string]string{ourInstance: instance}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "unstuck", Ports: ports}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

// forwarding gives a Forward to the server, as the kubeconfig's user.
func forwarding(t *testing.T, s *forwardServer, user string) (*Forward, error) {
	t.Helper()
	server := httptest.NewTLSServer(s) // a token is sent over nothing else
	t.Cleanup(func() { server.Close(); s.streams.Wait() })
	return NewForward(ForwardOptions{Kubeconfig: writeKubeconfig(t, server.URL, user), Namespace: "ops"}, kubetest.Quiet())
}

func writeKubeconfig(t *testing.T, url, user string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: %s}]\n", url, user)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestForwardReachesTheAPIThroughThePodThatLeads(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %d", r.URL.Path, len(body))
	}))
	defer backend.Close()
	for _, c := range []struct {
		leader, want string
		pods         []corev1.Pod
	}{
		{"unstuck-b-0-abcdefgh", "unstuck-b-0:8443", []corev1.Pod{forwardPod("unstuck-a-0", "unstuck", "True"), forwardPod("unstuck-b-0", "unstuck", "True", corev1.ContainerPort{Name: "metrics", ContainerPort: 9090}, corev1.ContainerPort{Name: "api", ContainerPort: 8443})}},
		{"", "unstuck-a-0:8080", []corev1.Pod{forwardPod("unstuck-0", "unstuck", "False"), forwardPod("unstuck-a-0", "unstuck", "True")}},
		{"unstuck-gone-abcdefgh", "unstuck-a-0:8080", []corev1.Pod{forwardPod("unstuck-a-0", "unstuck", "True"), forwardPod("unstuck-b-0", "unstuck", "True")}},
	} {
		s := &forwardServer{backend: backend.Listener.Addr().String(), leader: c.leader, pods: c.pods}
		f, err := forwarding(t, s, "{token: t0ken}")
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: f.DialContext}
		client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		for range 2 { // by one connection
			answer, err := client.Post("http://"+f.Host()+"/deploys", "text/plain", strings.NewReader(strings.Repeat("x", 300_000)))
			if err != nil {
				t.Fatalf("%s: %v", c.want, err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || string(body) != "/deploys 300000" {
				t.Errorf("%s: %q, %v", c.want, body, err)
			}
		}
		transport.CloseIdleConnections()
		s.streams.Wait()
		if len(s.forwarded) != 1 || s.forwarded[0] != c.want {
			t.Errorf("forwarded %q, want %s", s.forwarded, c.want)
		}
		for _, a := range s.asked {
			if a != "Bearer t0ken" {
				t.Errorf("asked as %q", a)
			}
		}
	}
}

func TestForwardSaysWhyAPodCannotBeReached(t *testing.T) {
	ready := forwardPod("unstuck-a", "unstuck", "True")
	for _, c := range []struct {
		pods []corev1.Pod
		want string
	}{
		{[]corev1.Pod{ready}, "port forward: nothing listens there"},
		{nil, "find Unstuck in namespace ops: no pod labelled app.kubernetes.io/name=unstuck is ready, of 0 there: give --namespace"},
		{[]corev1.Pod{forwardPod("unstuck-a", "unstuck", "False")}, "is ready, of 1 there"},
		{[]corev1.Pod{ready, forwardPod("other-a", "other", "True")}, "there are several, unstuck and other"},
		{[]corev1.Pod{forwardPod("forbidden", "unstuck", "True")}, "forward a port of pod forbidden: not allowed: get pods/portforward in namespace ops"},
		{[]corev1.Pod{forwardPod("unstuck-a", "unstuck", "True")}, ""},
	} {
		s := &forwardServer{pods: c.pods}
		if c.want == "" { // it never answers, and nobody waits
			s.backend = silentListener(t)
		}
		f, err := forwarding(t, s, "{token: t0ken}")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		if c.want == "" {
			ctx, stop = context.WithTimeout(t.Context(), 300*time.Millisecond)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.Host(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: f.DialContext}
		answer, err := transport.RoundTrip(r)
		if err == nil {
			answer.Body.Close()
		}
		if c.want == "" && !errors.Is(err, context.DeadlineExceeded) || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		stop()
		transport.CloseIdleConnections()
	}
}

// silentListener takes connections, and says nothing.
func silentListener(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestForwardTokenIsThatOfTheKubeconfigsUser(t *testing.T) {
	dir := t.TempDir()
	file, plugin := filepath.Join(dir, "token"), filepath.Join(dir, "plugin")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-plugin\"}}'\n"
	if err := os.WriteFile(plugin, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		"{token: plain}":            "plain",
		"{tokenFile: " + file + "}": "from-file",
		"{exec: {apiVersion: client.authentication.k8s.io/v1, command: " + plugin + ", interactiveMode: Never}}": "from-plugin",
		"{}": "", "{username: ada, password: s3cret}": "",
	} {
		s := &forwardServer{}
		f, err := forwarding(t, s, user)
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		token, err := f.Token(t.Context())
		if token != want || err != nil {
			t.Errorf("%s: %q, %v", user, token, err)
		}
		if len(s.asked) > 0 {
			t.Errorf("%s: the API server was asked", user)
		}
	}
	if _, err := forwarding(t, &forwardServer{}, "{token: plain, as: somebody}"); err == nil || !strings.Contains(err.Error(), "impersonates") {
		t.Errorf("impersonation: %v", err)
	}
	if _, err := NewForward(ForwardOptions{Kubeconfig: filepath.Join(dir, "none")}, kubetest.Quiet()); err == nil || !strings.Contains(err.Error(), "read the kubeconfig") {
		t.Errorf("no file: %v", err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
	if _, err := NewForward(ForwardOptions{}, kubetest.Quiet()); err == nil || !strings.Contains(err.Error(), "set KUBECONFIG") {
		t.Errorf("nothing that names one: %v", err)
	}
}

func TestForwardFindGoesByTheLeaseThatTheChartNames(t *testing.T) {
	a, b := forwardPod("watcher-a-0", "watcher", "True"), forwardPod("watcher-b-0", "watcher", "True")
	for i := range 2 {
		f, err := forwarding(t, &forwardServer{leader: "watcher-b-0-abcdefgh", lease: "watcher", pods: []corev1.Pod{a, b}}, "{token: t}")
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"watcher-a-0", "watcher-b-0"}[i]
		if pod, _, err := f.find(t.Context()); err != nil || pod.Name != want {
			t.Errorf("%s, %v: want %s", pod.Name, err, want)
		}
		a.Annotations = map[string]string{leaseNote: "watcher"} // the second time
	}
}
