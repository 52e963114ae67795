package lab

import (
	"context"
	"crypto/rand"
	"fmt"
)

// What is here must never lead to a deletion: no restart cures it, or none is needed. (A new process does come up
// without its own alarm and undrained, and with its vhost and its app running.)

// AlarmMemory makes the node believe that it has used up its memory. Logins go on; publishers, on any node,
// are blocked. ClearAlarm cures it.
func (l *Lab) AlarmMemory(ctx context.Context, name string) error {
	return l.set(alarmed, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "set_vm_memory_high_watermark", "0")
		return err
	})
}

// ClearAlarm gives the node its memory back.
func (l *Lab) ClearAlarm(ctx context.Context, name string) error {
	return l.undo(alarmed, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "set_vm_memory_high_watermark", "0.4")
		return err
	})
}

// AlarmDisk makes the node believe that its disk is full. As with AlarmMemory logins go on, and publishers, on
// any node, are blocked. ClearDiskAlarm cures it.
func (l *Lab) AlarmDisk(ctx context.Context, name string) error {
	return l.set(diskAlarmed, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "set_disk_free_limit", "1000000GB")
		return err
	})
}

// ClearDiskAlarm has the node ask for as little room as it did.
func (l *Lab) ClearDiskAlarm(ctx context.Context, name string) error {
	return l.undo(diskAlarmed, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "set_disk_free_limit", "1MB")
		return err
	})
}

// Drain puts the node into maintenance: it closes its listeners and all connections. Revive cures it.
func (l *Lab) Drain(ctx context.Context, name string) error {
	return l.set(drained, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmq-upgrade", "drain")
		return err
	})
}

// Revive ends the node's maintenance.
func (l *Lab) Revive(ctx context.Context, name string) error {
	return l.undo(drained, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmq-upgrade", "revive")
		return err
	})
}

// StopApp stops RabbitMQ inside the node's Erlang machine, which goes on. StartApp cures it.
func (l *Lab) StopApp(ctx context.Context, name string) error {
	return l.set(appStopped, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "stop_app")
		return err
	})
}

// StartApp starts RabbitMQ inside the node's Erlang machine.
func (l *Lab) StartApp(ctx context.Context, name string) error {
	return l.undo(appStopped, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "start_app")
		return err
	})
}

// VhostDown ends the vhost "/" on one node by force, again and again until its supervisor gives up. That node then
// closes logins with 541; the others go on. VhostUp cures it.
func (l *Lab) VhostDown(ctx context.Context, name string) error {
	return l.set(vhostDown, name, func(n *node) error {
		out, err := n.eval(ctx, erlVhostDown)
		if err == nil && out != "down" {
			err = fmt.Errorf("the vhost is %s", out)
		}
		return err
	})
}

// VhostUp starts the vhost "/" on one node.
func (l *Lab) VhostUp(ctx context.Context, name string) error {
	return l.undo(vhostDown, name, func(n *node) error {
		_, err := n.ctl(ctx, "", "rabbitmqctl", "restart_vhost", "-p", "/")
		return err
	})
}

// ChangePassword gives the probing user a password that nobody knows: what Credentials gives is wrong from then on.
// RestorePassword cures it.
func (l *Lab) ChangePassword(ctx context.Context) error {
	l.broke(password, "")
	return l.setPassword(ctx, rand.Text())
}

// RestorePassword makes the password that Credentials gives right again.
func (l *Lab) RestorePassword(ctx context.Context) error {
	if err := l.setPassword(ctx, l.pass); err != nil {
		return err
	}
	l.cured(password, "")
	return nil
}

func (l *Lab) setPassword(ctx context.Context, pass string) error {
	_, err := l.helper().ctl(ctx, pass+"\n", "rabbitmqctl", "change_password", l.user)
	return err
}

// DeleteVhost deletes the vhost "/" everywhere. AddVhost cures it.
func (l *Lab) DeleteVhost(ctx context.Context) error {
	l.broke(vhostDeleted, "")
	_, err := l.helper().ctl(ctx, "", "rabbitmqctl", "delete_vhost", "/")
	return err
}

// AddVhost makes the vhost "/" anew and lets the probing user in.
func (l *Lab) AddVhost(ctx context.Context) error {
	n := l.helper()
	if _, err := n.ctl(ctx, "", "rabbitmqctl", "add_vhost", "/"); err != nil {
		return err
	}
	if _, err := n.ctl(ctx, "", "rabbitmqctl", "set_permissions", "-p", "/", l.user, ".*", ".*", ".*"); err != nil {
		return err
	}
	l.cured(vhostDeleted, "")
	return nil
}

// LimitConnections lets nobody into the vhost "/": its limit of connections is 0. Unlimit cures it.
func (l *Lab) LimitConnections(ctx context.Context) error {
	l.broke(limited, "")
	_, err := l.helper().ctl(ctx, "", "rabbitmqctl", "set_vhost_limits", "-p", "/", `{"max-connections": 0}`)
	return err
}

// Unlimit removes the limit of connections.
func (l *Lab) Unlimit(ctx context.Context) error {
	if _, err := l.helper().ctl(ctx, "", "rabbitmqctl", "clear_vhost_limits", "-p", "/"); err != nil {
		return err
	}
	l.cured(limited, "")
	return nil
}
