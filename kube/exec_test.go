package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

// execing gives the nodes of a broker in which commands are f.
func execing(t *testing.T, f kubetest.Command) (*Pods, []target.Node, func()) {
	t.Helper()
	c := kubetest.NewCluster(t, broker()...)
	client := New(c.Running(f), Options{})
	p := watchOne(t, client, brokerTarget())
	stop := start(t, client, "me")
	synctest.Wait()
	return p, look(t, p).Nodes, stop
}

func TestPodsExecRunsInTheContainerAndItsExitCodeCounts(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		code int
		fail string
	}{
		{"it succeeds", nil, 0, ""},
		{"it fails", exec.CodeExitError{Err: errors.New("x"), Code: 69}, 69, ""},
		{"it fails, in other words", fmt.Errorf("stream: %w", exec.CodeExitError{Err: errors.New("x"), Code: 69}), 69, ""},
		{"it was not run to its end", io.ErrUnexpectedEOF, -1, "run rabbitmqctl in pod rabbit-1: unexpected EOF"},
		{"it is not allowed", kubetest.Forbidden("create", pods, "exec", ns), -1, "not allowed: create pods/exec in namespace production"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, nodes, _ := execing(t, func(_ context.Context, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer) error {
					if pod != "rabbit-1" || o.Container != "rabbitmq" || o.TTY || o.Stdin || !cmp.Equal(o.Command, []string{"rabbitmqctl", "a b"}) {
						t.Errorf("in %s: %+v", pod, o)
					}
					var wg sync.WaitGroup
					wg.Go(func() { fmt.Fprint(stdout, "out") })
					wg.Go(func() { fmt.Fprint(stderr, "err") })
					wg.Wait()
					return tc.err
				})
				var both bytes.Buffer // the writers may be one
				code, err := p.Exec(t.Context(), nodes[1], []string{"rabbitmqctl", "a b"}, &both, &both)
				if code != tc.code || (err == nil) != (tc.fail == "") || err != nil && !strings.Contains(err.Error(), tc.fail) {
					t.Errorf("%d, %v: want %d, %q", code, err, tc.code, tc.fail)
				}
				if got := both.String(); got != "outerr" && got != "errout" {
					t.Errorf("printed %q", got)
				}
			})
		})
	}
}

func TestPodsExecHoldsThePodUntilACommandThatIsLeftAloneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var ran atomic.Bool
		p, nodes, _ := execing(t, func(_ context.Context, pod string, _ *corev1.PodExecOptions, stdout, _ io.Writer) error {
			if pod == "rabbit-1" && !ran.Swap(true) {
				<-release
				fmt.Fprint(stdout, "late")
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var out bytes.Buffer
		_, err := p.Exec(ctx, nodes[1], []string{"x"}, &out, &out)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "may still run") {
			t.Fatalf("%v", err)
		}
		if _, err := p.Exec(t.Context(), nodes[0], []string{"x"}, io.Discard, io.Discard); err != nil {
			t.Errorf("in another pod: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err = p.Exec(ctx, nodes[1], []string{"x"}, &out, &out); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another command still runs") {
			t.Errorf("while it runs: %v", err)
		}
		time.AfterFunc(5*time.Second, func() { close(release) })
		began := time.Now()
		if _, err := p.Exec(t.Context(), nodes[1], []string{"x"}, &out, &out); err != nil {
			t.Errorf("when it has ended: %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the next began after %s, want 5 s", took)
		}
		if out.Len() > 0 {
			t.Errorf("it was heard of after it had been left: %q", out.String())
		}
	})
}

func TestPodsExecHoldsThePodForTwoMinutesIfTheStreamNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hung atomic.Bool
		p, nodes, stop := execing(t, func(context.Context, string, *corev1.PodExecOptions, io.Writer, io.Writer) error {
			if !hung.Swap(true) {
				<-release
			}
			return nil
		})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Exec(ctx, nodes[1], []string{"x"}, io.Discard, io.Discard); err == nil {
			t.Fatal("it ended")
		}
		if _, err := p.Exec(t.Context(), nodes[1], []string{"x"}, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != commandLimit {
			t.Errorf("the next began after %s, want %s", took, commandLimit)
		}
		began = time.Now()
		stop()
		if took := time.Since(began); took != apiserver.StopLimit {
			t.Errorf("the end waited %s for it, want %s", took, apiserver.StopLimit)
		}
		close(release)
	})
}

func TestCommandsAreCutOffWhenTheClientStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		p, nodes, stop := execing(t, func(ctx context.Context, _ string, _ *corev1.PodExecOptions, _, _ io.Writer) error {
			<-ctx.Done()
			ended = true
			return ctx.Err()
		})
		time.AfterFunc(time.Second, stop)
		if _, err := p.Exec(t.Context(), nodes[1], []string{"x"}, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		stop()
		if !ended {
			t.Error("the client has stopped, and the stream has not")
		}
		if _, err := p.Exec(t.Context(), nodes[1], []string{"x"}, io.Discard, io.Discard); err == nil {
			t.Error("a command began after the end")
		}
	})
}

func TestPodsExecRunsNothingInAnotherPodThanIsMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, nodes, _ := execing(t, func(context.Context, string, *corev1.PodExecOptions, io.Writer, io.Writer) error {
			t.Error("a command ran")
			return nil
		})
		for _, tc := range []struct {
			change func(n *target.Node)
			want   error
		}{
			{func(n *target.Node) { n.UID = "another" }, target.ErrChanged},
			{func(n *target.Node) { n.Name = "rabbit-7" }, target.ErrGone},
		} {
			n := nodes[1]
			tc.change(&n)
			if _, err := p.Exec(t.Context(), n, []string{"x"}, io.Discard, io.Discard); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if _, err := p.LastLines(t.Context(), n, 1); !errors.Is(err, tc.want) {
				t.Errorf("its log: %v, want %v", err, tc.want)
			}
		}
		if _, err := p.Exec(t.Context(), nodes[1], nil, io.Discard, io.Discard); err == nil {
			t.Error("no command at all is no error")
		}
	})
}

// connect gives the pods of a broker whose API server is h, over real connections.
func connect(t *testing.T, h http.Handler) (*Pods, target.Node) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	conn, err := apiserver.Connect(
		apiserver.Options{Kubeconfig: kubeconfig(t, server.URL), UserAgent: "unstuck/1.2.3"}, kubetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	if conn.Namespace() != "unstuck-here" {
		t.Errorf("the namespace is %q", conn.Namespace())
	}
	p := watchOne(t, New(conn, Options{}), brokerTarget())
	p.feed.items["rabbit-1"] = trimPod("rabbitmq")(rabbit(1)) // as if it had been watched
	p.feed.listed, p.feed.open = true, 1
	return p, target.Node{Target: "main", Name: "rabbit-1", UID: "rabbit-1-uid"}
}

// kubeconfig writes a file with which that server is the cluster.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: %q}}]
users: [{name: me, user: {token: hunter2-token}}]
contexts: [{name: here, context: {cluster: here, user: me, namespace: unstuck-here}}]
current-context: here
`, server)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// status is what the API server says of how a command ended.
const exited69 = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NonZeroExitCode","message":"exit 69",` +
	`"details":{"causes":[{"reason":"ExitCode","message":"69"}]}}`

// webSocketExec is the API server's side of exec by WebSocket, version 5.
func webSocketExec(t *testing.T, serve func(stdout, stderr, status io.Writer)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "unstuck/1.2.3" || r.URL.Path != "/api/v1/namespaces/production/pods/rabbit-1/exec" ||
			!cmp.Equal(r.URL.Query()["command"], []string{"rabbitmqctl", "a b"}) || r.URL.Query().Get("container") != "rabbitmq" {
			t.Errorf("asked for %s by %s", r.URL, r.UserAgent())
		}
		conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{"v5.channel.k8s.io": {Binary: true, Channels: []wsstream.ChannelType{
			wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.ReadChannel,
		}}})
		_, channels, err := conn.Open(w, r)
		if err != nil {
			t.Errorf("open the WebSocket: %v", err)
			return
		}
		serve(channels[1], channels[2], channels[3])
		conn.Close()
	})
}

func TestPodsExecRunsOverAWebSocket(t *testing.T) {
	p, n := connect(t, webSocketExec(t, func(stdout, stderr, status io.Writer) {
		fmt.Fprint(stdout, strings.Repeat("out", 100_000))
		fmt.Fprint(stderr, "err")
		fmt.Fprint(status, exited69)
	}))
	var stdout, stderr bytes.Buffer
	code, err := p.Exec(t.Context(), n, []string{"rabbitmqctl", "a b"}, &stdout, &stderr)
	if err != nil || code != 69 || stdout.Len() != 300_000 || stderr.String() != "err" {
		t.Errorf("%d, %v; %d bytes and %q", code, err, stdout.Len(), stderr.String())
	}
}

func TestPodsExecLeavesACommandOverASilentWebSocketAlone(t *testing.T) {
	end := make(chan struct{})
	p, n := connect(t, webSocketExec(t, func(stdout, _, _ io.Writer) {
		fmt.Fprint(stdout, "begun")
		<-end
	}))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Exec(ctx, n, []string{"rabbitmqctl", "a b"}, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }), io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(end)
	p.client.Commands.Stop(p.client.commands.end)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestPodsExecNamesThePermissionThatItLacks(t *testing.T) {
	asked := make(chan string, 10)
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		verb := map[string]string{"GET": "get", "POST": "create"}[r.Method]
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","details":{"name":"rabbit-1","kind":"pods"},"code":403,"message":"pods \"rabbit-1\" is forbidden: User \"me\" cannot %s resource \"pods/exec\" in API group \"\" in the namespace \"production\""}`, verb)
	}))
	_, err := p.Exec(t.Context(), n, []string{"x"}, io.Discard, io.Discard)
	if missing, ok := errors.AsType[apiserver.NotAllowedError](err); !ok || missing.Path() != "pods/exec" || missing.Namespace != ns {
		t.Errorf("%v", err)
	}
	if first, second := <-asked, <-asked; first != "GET" || second != "POST" {
		t.Errorf("asked by %s, then %s: want a WebSocket, then SPDY", first, second)
	}
}
