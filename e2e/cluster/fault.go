package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/lab"
)

// eval runs an Erlang expression inside a node; it must come to what is wanted.
func (b *Broker) eval(ctx context.Context, pod, erlang, wanted string) error {
	out, err := b.exec(ctx, pod, "rabbitmqctl", "--quiet", "eval", erlang)
	if err == nil && strings.TrimSpace(out) != wanted {
		err = fmt.Errorf("it came to %s, not %s", strings.TrimSpace(out), wanted)
	}
	if err != nil {
		return fmt.Errorf("break %s: %w", pod, err)
	}
	return nil
}

// WedgeLogin makes every login hang once the node has the password, as in the incident. Only a new process cures it.
func (b *Broker) WedgeLogin(ctx context.Context, pod string) error {
	return b.eval(ctx, pod, lab.ErlangWedgeLogin(), "ok")
}

// WedgeStart makes the node hang before it greets anybody (RabbitMQ 3.10 to 4.0.9). It ignores SIGTERM then. Only a
// new process cures it.
func (b *Broker) WedgeStart(ctx context.Context, pod string) error {
	return b.eval(ctx, pod, lab.ErlangWedgeStart(), "ok")
}

// VhostDown ends the vhost "/" on one node, which refuses logins then. VhostUp cures it.
func (b *Broker) VhostDown(ctx context.Context, pod string) error {
	return b.eval(ctx, pod, lab.ErlangVhostDown(), "down")
}

// VhostUp starts the vhost "/" on one node.
func (b *Broker) VhostUp(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmqctl", "restart_vhost", "-p", "/")
}

// AlarmMemory makes the node believe that it has used up its memory. ClearAlarm cures it.
func (b *Broker) AlarmMemory(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmqctl", "set_vm_memory_high_watermark", "0")
}

// ClearAlarm gives the node its memory back.
func (b *Broker) ClearAlarm(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmqctl", "set_vm_memory_high_watermark", "0.4")
}

// Drain puts the node into maintenance: it closes its listeners and all connections. Revive cures it.
func (b *Broker) Drain(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmq-upgrade", "drain")
}

// Revive ends the node's maintenance.
func (b *Broker) Revive(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmq-upgrade", "revive")
}

// StopApp stops RabbitMQ inside the node's Erlang machine, which goes on. StartApp cures it.
func (b *Broker) StopApp(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmqctl", "stop_app")
}

// StartApp starts RabbitMQ inside the node's Erlang machine.
func (b *Broker) StartApp(ctx context.Context, pod string) error {
	return b.run(ctx, pod, "rabbitmqctl", "start_app")
}

// ChangePassword gives User another password in the broker alone: the Secret's is wrong then. RestorePassword cures it.
func (b *Broker) ChangePassword(ctx context.Context) error {
	return b.run(ctx, b.Pods()[0], "rabbitmqctl", "change_password", User, rand.Text())
}

// RestorePassword makes the password that the broker was started with right again.
func (b *Broker) RestorePassword(ctx context.Context) error {
	return b.run(ctx, b.Pods()[0], "rabbitmqctl", "change_password", User, b.password)
}

// RotatePassword gives User another password in the broker. The Secret has the old one until StorePassword.
func (b *Broker) RotatePassword(ctx context.Context) error {
	password := rand.Text()
	if err := b.run(ctx, b.Pods()[0], "rabbitmqctl", "change_password", User, password); err != nil {
		return err
	}
	b.password = password
	return nil
}

// StorePassword puts User's password into the Secret.
func (b *Broker) StorePassword(ctx context.Context) error {
	secrets := b.cluster.Kubernetes.CoreV1().Secrets(b.Namespace)
	secret, err := secrets.Get(ctx, b.Name()+"-secret", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("store the password: %w", err)
	}
	secret.Data["rabbitmq-pass"] = []byte(b.password)
	_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

// run runs a tool in a pod. The error names the tool and its first argument only: arguments may be secrets.
func (b *Broker) run(ctx context.Context, pod string, argv ...string) error {
	if _, err := b.exec(ctx, pod, argv...); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv[:2], " "), err)
	}
	return nil
}

// Freeze stops the node's process, as a dead disk does: the kernel still accepts connections, and nothing ever
// answers. Thaw cures it within a minute, a new process always.
func (b *Broker) Freeze(ctx context.Context, pod string) error {
	return b.signal(ctx, pod, "beam.smp", syscall.SIGSTOP)
}

// Thaw lets the node's process go on.
func (b *Broker) Thaw(ctx context.Context, pod string) error {
	return b.signal(ctx, pod, "beam.smp", syscall.SIGCONT)
}

// LoseLog stops what reads what the node logs, as a broken container runtime does. RegainLog cures it.
func (b *Broker) LoseLog(ctx context.Context, pod string) error {
	return b.signal(ctx, pod, "cat", syscall.SIGSTOP)
}

// RegainLog has the node's log read again.
func (b *Broker) RegainLog(ctx context.Context, pod string) error {
	return b.signal(ctx, pod, "cat", syscall.SIGCONT)
}

// signal sends a signal, from this machine, to a process of a pod's container that has the name.
func (b *Broker) signal(ctx context.Context, pod, name string, signal syscall.Signal) error {
	pids, err := b.Processes(ctx, pod, name)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("send %v to %s in %s: there is none", signal, name, pod)
	}
	// RabbitMQ's tools are Erlang machines too. They are younger than the node, which is the container's first process.
	if err := syscall.Kill(slices.MinFunc(pids, older), signal); err != nil {
		return fmt.Errorf("send %v to %s in %s: %w", signal, name, pod, err)
	}
	return nil
}

// older compares two processes by when they started. Their numbers say nothing: they begin anew when they are used up.
func older(a, b int) int { return cmp.Compare(started(a), started(b)) }

// started gives when a process started, in clock ticks since the machine did: the 22nd field of its stat, of which the
// second is a name that may hold anything. One that has ended sorts last.
func started(pid int) uint64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return math.MaxUint64
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return math.MaxUint64
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return ticks
}

// Processes gives the IDs, as this machine sees them, of the processes in a pod's container that have the name.
func (b *Broker) Processes(ctx context.Context, pod, name string) ([]int, error) {
	p, err := b.Pod(ctx, pod)
	if err != nil {
		return nil, err
	}
	return b.cluster.processes(p, Container, name)
}

func (c *Cluster) processes(p *corev1.Pod, container, name string) ([]int, error) {
	for _, s := range p.Status.ContainerStatuses {
		_, id, found := strings.Cut(s.ContainerID, "://")
		if s.Name != container || !found {
			continue
		}
		all, err := c.sandbox.CgroupProcesses(id)
		if err != nil {
			return nil, err
		}
		var pids []int
		for _, pid := range all {
			comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
			if err == nil && strings.TrimSpace(string(comm)) == name {
				pids = append(pids, pid)
			}
		}
		return pids, nil
	}
	return nil, fmt.Errorf("find %s in %s: its container does not run", name, p.Name)
}

// Cut drops whatever a pod sends to the others, and what they answer, as a NetworkPolicy or a broken network does. The
// function that it returns takes that back. The API server stays in reach.
func (c *Cluster) Cut(ctx context.Context, from string, to ...string) (func(context.Context) error, error) {
	if len(to) == 0 {
		return nil, errors.New("cut a pod off: from nobody")
	}
	table := "cut_" + strings.ToLower(rand.Text())
	rules := fmt.Sprintf(`table ip %s {
	chain forward {
		type filter hook forward priority 0;
		ip saddr %s ip daddr { %s } drop
		ip daddr %[2]s ip saddr { %[3]s } drop
	}
}`, table, from, strings.Join(to, ", "))
	if _, err := c.sandbox.Run(ctx, rules, "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("cut %s off: %w", from, err)
	}
	return func(ctx context.Context) error {
		_, err := c.sandbox.Run(ctx, "", "nft", "delete", "table", "ip", table)
		return err
	}, nil
}
