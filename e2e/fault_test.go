package e2e

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// A fault that does nothing would let each test pass that wants nothing to happen.
func TestFaultDoesWhatItSaysAndIsUndone(t *testing.T) {
	t.Parallel()
	b := startBroker(t, cluster.BrokerOptions{Namespace: "faults"})
	t.Run("none", func(t *testing.T) { execAndLogsTellTheTruth(t, b, b.Pods()[1]) })
	undoneFaults(t, b, b.Pods()[2])
	curedFaults(t, b, b.Pods()[0])
}

// execAndLogsTellTheTruth checks what the tests know the nodes by.
func execAndLogsTellTheTruth(t *testing.T, b *cluster.Broker, pod string) {
	ctx := within(t, time.Minute)
	out, err := shared.Exec(ctx, b.Namespace, pod, cluster.Container, "rabbitmq-diagnostics", "--quiet", "server_version")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, b.Version+".") {
		t.Errorf("exec: the node says that it is RabbitMQ %q, want %s", out, b.Version)
	}
	if _, err := shared.Exec(ctx, b.Namespace, pod, cluster.Container, "false"); err == nil {
		t.Error("exec: a command that fails is reported as one that does not")
	}
	logs, err := shared.Logs(ctx, b.Namespace, pod, cluster.Container, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logs, "authenticated and granted access to vhost") {
		t.Errorf("logs: our login is not in them:\n%s", logs)
	}
}

// undoneFaults are those that end without a new pod.
func undoneFaults(t *testing.T, b *cluster.Broker, pod string) {
	type step func(context.Context, string) error
	password := func(change func(context.Context) error) step {
		return func(ctx context.Context, _ string) error { return change(ctx) }
	}
	refused := func(t *testing.T) {
		if err := b.Login(t.Context(), pod); err == nil {
			t.Error("it accepts logins")
		}
	}
	alarmed := func(t *testing.T) {
		_, err := shared.Exec(t.Context(), b.Namespace, pod, cluster.Container, "rabbitmq-diagnostics", "check_local_alarms")
		if err == nil {
			t.Error("there is no alarm")
		}
	}
	for _, f := range []struct {
		name      string
		set, undo step
		shows     func(*testing.T)
	}{
		{"frozen", b.Freeze, b.Thaw, refused},
		{"drained", b.Drain, b.Revive, refused},
		{"app stopped", b.StopApp, b.StartApp, refused},
		{"vhost down", b.VhostDown, b.VhostUp, refused},
		{"wrong password", password(b.ChangePassword), password(b.RestorePassword), refused},
		{"memory alarm", b.AlarmMemory, b.ClearAlarm, alarmed},
	} {
		t.Run(f.name, func(t *testing.T) {
			if err := f.set(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			f.shows(t)
			if err := f.undo(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			if err := b.WaitLogin(within(t, time.Minute), pod); err != nil {
				t.Error(err)
			}
		})
	}

	t.Run("log lost", func(t *testing.T) {
		ctx := within(t, time.Minute)
		logins := func() int {
			logs, err := shared.Logs(ctx, b.Namespace, pod, cluster.Container, 100000)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(logs, "authenticated and granted access to vhost")
		}
		login := func() {
			if err := b.Login(ctx, pod); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.LoseLog(ctx, pod); err != nil {
			t.Fatal(err)
		}
		before := logins()
		login()
		if _, err := shared.Exec(ctx, b.Namespace, pod, cluster.Container, "rabbitmq-diagnostics", "ping"); err != nil {
			t.Errorf("exec: %v", err) // takes a second in which the line would have come
		}
		if now := logins(); now != before {
			t.Errorf("of %d logins that were logged there are %d now", before, now)
		}
		if err := b.RegainLog(ctx, pod); err != nil {
			t.Fatal(err)
		}
		for logins() == before {
			if ctx.Err() != nil {
				t.Fatal("the log does not come back")
			}
			login()
		}
	})

	t.Run("password rotated", func(t *testing.T) {
		if err := errors.Join(b.RotatePassword(t.Context()), b.StorePassword(t.Context())); err != nil {
			t.Fatal(err)
		}
		again, err := shared.OpenBroker(t.Context(), b.Namespace) // with what the Secret has
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Login(t.Context(), pod); err != nil {
			t.Error(err)
		}
	})

	t.Run("cut off", func(t *testing.T) {
		ctx := within(t, time.Minute)
		from, err := b.Pod(ctx, b.Pods()[0])
		if err != nil {
			t.Fatal(err)
		}
		to, err := b.Pod(ctx, pod)
		if err != nil {
			t.Fatal(err)
		}
		reach := func(ip string) error {
			_, err := shared.Exec(ctx, b.Namespace, from.Name, cluster.Container,
				"timeout", "3", "bash", "-c", "exec 3<>/dev/tcp/"+ip+"/5672")
			return err
		}
		if err := reach(to.Status.PodIP); err != nil {
			t.Fatalf("before: %v", err)
		}
		heal, err := shared.Cut(ctx, from.Status.PodIP, to.Status.PodIP)
		if err != nil {
			t.Fatal(err)
		}
		if err := reach(to.Status.PodIP); err == nil {
			t.Error("it is not cut off")
		}
		if err := heal(ctx); err != nil {
			t.Fatal(err)
		}
		if err := reach(to.Status.PodIP); err != nil {
			t.Errorf("after: %v", err)
		}
	})
}

const rights = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [pods, configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
`

func TestFaultTakesAwayAVerbAndNoOther(t *testing.T) {
	ctx := within(t, time.Minute)
	if err := shared.Apply(ctx, rights); err != nil {
		t.Fatal(err)
	}
	path, err := shared.AccountKubeconfig(ctx, "default", "reader")
	if err != nil {
		t.Fatal(err)
	}
	may := func(verb, resource string) bool {
		out, err := exec.CommandContext(ctx, shared.Kubectl(), "--kubeconfig", path, "auth", "can-i", verb, resource).Output()
		if len(out) == 0 {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out)) == "yes"
	}
	eventually := func(want bool, verb, resource string) {
		t.Helper()
		for may(verb, resource) != want { // the API server's own view of roles follows after some milliseconds
			if ctx.Err() != nil {
				t.Fatalf("may %s %s: want %v", verb, resource, want)
			}
		}
	}
	eventually(true, "list", "pods")
	restore, err := shared.TakeVerb(ctx, "default", "reader", "pods", "list")
	if err != nil {
		t.Fatal(err)
	}
	eventually(false, "list", "pods")
	if !may("get", "pods") || !may("list", "configmaps") {
		t.Error("other verbs are gone too")
	}
	if err := restore(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(true, "list", "pods")
	if _, err := shared.TakeVerb(ctx, "default", "reader", "pods", "delete"); err == nil {
		t.Error("a verb was taken away that was not there")
	}
}

// curedFaults are those of a node that stays Ready and whose successor accepts logins.
func curedFaults(t *testing.T, b *cluster.Broker, pod string) {
	for name, wedge := range map[string]func() error{
		"login wedged": func() error { return b.WedgeLogin(t.Context(), pod) },
		"start wedged": func() error { return b.WedgeStart(t.Context(), pod) },
	} {
		t.Run(name, func(t *testing.T) {
			before, err := b.Pod(t.Context(), pod)
			if err != nil {
				t.Fatal(err)
			}
			if err := wedge(); err != nil {
				t.Fatal(err)
			}
			if err := b.Login(t.Context(), pod); err == nil {
				t.Error("the wedged node accepts logins")
			}
			now, err := b.Pod(t.Context(), pod)
			if err != nil {
				t.Fatal(err)
			}
			if err := cluster.Ready(now); err != nil {
				t.Errorf("the wedged node: %v", err)
			}
			if err := b.Delete(t.Context(), pod, before.UID, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			ctx := within(t, 2*time.Minute)
			if _, err := shared.WaitPod(ctx, b.Namespace, pod, cluster.Successor(before.UID)); err != nil {
				t.Fatal(err)
			}
			if err := b.WaitReady(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFaultStopsTheAPIServerWhichIsBackAfterwards(t *testing.T) {
	ctx := within(t, time.Minute)
	if err := shared.StopAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := shared.Kubernetes.Discovery().ServerVersion()
	if err == nil {
		t.Error("it answers all the same")
	}
	if err := shared.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	if version, err := shared.Kubernetes.Discovery().ServerVersion(); err != nil || !strings.HasPrefix(version.GitVersion, "v1.") {
		t.Errorf("it is back as %v, %v", version, err)
	}
}
