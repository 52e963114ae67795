package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"time"
)

// Freeze stops the node's process (SIGSTOP), as a dead disk or a paused machine does. The kernel still accepts
// connections, 128 by default, and nothing ever answers. After a minute the other nodes count it as gone
// (net_ticktime), and until then whatever changes the cluster's metadata hangs on them as well. Thaw cures it within
// that minute, a new process always.
func (l *Lab) Freeze(ctx context.Context, name string) error {
	return l.set(frozen, name, func(n *node) error { return n.signal(ctx, freeze) })
}

// apartAfter is for how long a node may be frozen at most before the others may count it as gone: three quarters of
// net_ticktime's 60 s, and a margin.
const apartAfter = 40 * time.Second

// Thaw lets the node's process go on (SIGCONT), and closes what FillAcceptQueue opened. A node that the others have
// counted as gone meanwhile stays apart from them, pause_minority or not: it accepts logins and declare queues, which
// nobody on the other nodes sees, until it is restarted. Reset does that.
func (l *Lab) Thaw(ctx context.Context, name string) error {
	l.releaseConns(name)
	return l.undo(frozen, name, func(n *node) error { return n.signal(ctx, thaw) })
}

func (n *node) signal(ctx context.Context, send func(pid int) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := n.process()
	if err != nil {
		return err
	}
	return send(p.pid)
}

// FillAcceptQueue opens connections to a frozen node until connecting itself times out, as it does sooner or later
// when people go on trying. It takes about a second. The connections are closed by Thaw, a new process, and Close.
func (l *Lab) FillAcceptQueue(ctx context.Context, name string) error {
	if !l.isBroken(frozen, name) {
		return fmt.Errorf("fill the accept queue of %s: it is not frozen", name)
	}
	n, err := l.node(name)
	if err != nil {
		return err
	}
	const most = 5000 // more than any backlog that RabbitMQ or Linux would have
	d := net.Dialer{Timeout: time.Second}
	for range most {
		conn, err := d.DialContext(ctx, "tcp", n.address())
		var timeout net.Error
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("fill the accept queue of %s: %w", name, ctx.Err())
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil
		case err != nil:
			return fmt.Errorf("fill the accept queue of %s: %w", name, err)
		}
		l.mu.Lock()
		l.held[name] = append(l.held[name], conn)
		l.mu.Unlock()
	}
	return fmt.Errorf("fill the accept queue of %s: it took %d connections and more", name, most)
}

// releaseConns closes what fills a node's accept queue; every node's if the name is empty.
func (l *Lab) releaseConns(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for node, conns := range l.held {
		if name != "" && node != name {
			continue
		}
		for _, c := range conns {
			_ = c.Close()
		}
		delete(l.held, node)
	}
}

// restartGrace is how long Restart waits for a clean stop. A node whose login is wedged takes about 8 s.
const restartGrace = 15 * time.Second

// Restart has a person restart the node's process: SIGTERM, SIGKILL after 15 s, and a new process under the same
// UID, as when a container is restarted within its pod. It returns once the node accepts logins.
func (l *Lab) Restart(ctx context.Context, name string) error {
	return l.restart(ctx, name, restartGrace)
}

// kill is Restart without the wait for a clean stop.
func (l *Lab) kill(ctx context.Context, name string) error { return l.restart(ctx, name, 0) }

func (l *Lab) restart(ctx context.Context, name string, grace time.Duration) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	// Without a process one is about to be started anyhow.
	if p, err := n.process(); err == nil {
		n.end(ctx, p, grace)
	}
	return l.WaitLogin(ctx, name)
}

// RestartContainer kills the node's process, and returns as soon as a new one runs: the same UID with a later start, as
// when the kubelet starts a container anew within its pod. It may take some seconds more until that accepts logins.
func (l *Lab) RestartContainer(ctx context.Context, name string) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	old, err := n.process()
	if err != nil {
		return fmt.Errorf("restart the container of %s: %w", name, err)
	}
	n.end(ctx, old, 0)
	return l.until(ctx, name+" to have a new process", func(context.Context) error {
		p, err := n.process()
		if err == nil && p == old {
			err = errors.New("still the old one")
		}
		return err
	})
}

// LoseLog stops reading the node's standard output, and has the node log until the pipe is full, as a container
// runtime does that hangs. RabbitMQ 3.9 and later then log nothing more and serve logins as before. RegainLog cures
// it, as does a new process. 3.8 writes its log in another way, and is not known to live without it: ErrUnsupported.
func (l *Lab) LoseLog(ctx context.Context, name string) error {
	if !l.release.atLeast(3, 9) {
		return fmt.Errorf("lose the log of %s: %w: it has another logger", name, ErrUnsupported)
	}
	return l.set(logLost, name, func(n *node) error {
		p, err := n.process()
		if err != nil {
			return err
		}
		p.valve.close()
		if _, err := n.eval(ctx, erlFloodLog); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
		defer cancel()
		before := -1
		return l.until(ctx, "the log's pipe to fill", func(context.Context) error {
			now, err := unread(p.pipe)
			if err != nil {
				return fmt.Errorf("%w: %w", errHopeless, err)
			}
			if now == 0 || now != before {
				before = now
				return fmt.Errorf("%d bytes so far", now)
			}
			return nil
		})
	})
}

// RegainLog reads the node's standard output again.
func (l *Lab) RegainLog(ctx context.Context, name string) error {
	return l.undo(logLost, name, func(n *node) error {
		p, err := n.process()
		if err != nil {
			return err
		}
		p.valve.open()
		return ctx.Err()
	})
}

// CutOff drops every packet to the node's AMQP listeners in the machine's firewall, as a lost host or a network
// policy does: connecting times out, connections that exist fall silent. The nodes still see each other, and
// commands still reach the node. Needs root and iptables. Reconnect cures it; a new process does not.
func (l *Lab) CutOff(ctx context.Context, name string) error {
	if l.isBroken(cutOff, name) {
		return nil
	}
	err := l.set(cutOff, name, func(n *node) error {
		err := n.firewall(ctx, "--insert", n.amqp)
		if err != nil {
			return err
		}
		if err = n.firewall(ctx, "--insert", n.amqps); err != nil {
			err = errors.Join(err, n.firewall(ctx, "--delete", n.amqp))
		}
		return err
	})
	if err != nil {
		l.cured(cutOff, name) // no rule was left that could be deleted
	}
	return err
}

// Reconnect lets packets to the node pass again.
func (l *Lab) Reconnect(ctx context.Context, name string) error {
	if !l.isBroken(cutOff, name) {
		return nil
	}
	return l.undo(cutOff, name, func(n *node) error {
		return errors.Join(n.firewall(ctx, "--delete", n.amqp), n.firewall(ctx, "--delete", n.amqps))
	})
}

func (l *Lab) reconnectAll(ctx context.Context) error {
	var errs []error
	for _, n := range l.nodes {
		errs = append(errs, l.Reconnect(ctx, n.name))
	}
	return errors.Join(errs...)
}

// firewall inserts or deletes the rule that drops packets to one of the node's ports.
func (n *node) firewall(ctx context.Context, action string, port int) error {
	path, err := exec.LookPath("iptables")
	if err != nil {
		path = "/usr/sbin/iptables" // where an ordinary user's PATH does not lead
	}
	if !isFile(path) {
		return errors.New("iptables is missing: apt-get install iptables")
	}
	cmd := exec.CommandContext(ctx, path, "--wait", "5", action, "INPUT", "--protocol", "tcp",
		"--destination", n.host, "--dport", fmt.Sprint(port), "--jump", "DROP")
	var out bytes.Buffer
	cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = newAttr(""), &out, &out
	if err := n.lab.spawner.start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("iptables %s: %w: %s", action, err, oneLine(out.String()))
	}
	return nil
}
