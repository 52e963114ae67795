package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// A node that is full refuses on purpose, and looks like one that is wedged before it greets. No restart cures it: the
// clients come back. (Here it does, since the limit is set at run time and the clients are the lab's.)

const (
	// Sets the limit so that as many sockets may be open as there are. RabbitMQ keeps the rest, a tenth and two, for
	// files.
	erlFillDescriptors = `
		[{_, Used}] = file_handle_cache:info([sockets_used]),
		file_handle_cache:set_limit(trunc((Used + 2) / 0.9)).`
	// What a node has that was allowed to open 1,024 files.
	erlFreeDescriptors = `file_handle_cache:set_limit(924).`

	erlListeners   = `case ranch:info() of M when is_map(M) -> maps:keys(M); L -> [R || {R, _} <- L] end`
	erlFill        = `[ranch:set_max_connections(R, 1) || R <- ` + erlListeners + `], ok.`
	erlUnfill      = `[ranch:set_max_connections(R, infinity) || R <- ` + erlListeners + `], ok.`
	erlSuspend     = `[ranch:suspend_listener(R) || R <- ` + erlListeners + `], ok.`
	erlResume      = `[ranch:resume_listener(R) || R <- ` + erlListeners + `], ok.`
	served, trying = 30, 60 // clients of a node that is full
)

// FillDescriptors has 30 clients connect to the node, takes all further file descriptors away from it, as a ulimit does
// (file_handle_cache:set_limit), and has 60 clients try to connect, again and again. Clients that are connected are
// served; for the others TCP is accepted and no greeting comes. RabbitMQ raises the alarm file_descriptor_limit.
// FreeDescriptors cures it, as does a new process. RabbitMQ 4 counts no descriptors: ErrUnsupported.
func (l *Lab) FillDescriptors(ctx context.Context, name string) error {
	if l.release.atLeast(4, 0) { // 4.0 still has the module, which limits no sockets any more
		return fmt.Errorf("fill the file descriptors: %w: it does not count them itself", ErrUnsupported)
	}
	return l.set(descriptors, name, func(n *node) error {
		d, err := l.gather(name, served)
		if err != nil {
			return err
		}
		if err := d.arrived(ctx); err != nil {
			return err
		}
		if _, err := n.eval(ctx, erlFillDescriptors); err != nil {
			return err
		}
		_, err = l.gather(name, trying)
		return err
	})
}

// FreeDescriptors gives the node its file descriptors back, and ends the clients.
func (l *Lab) FreeDescriptors(ctx context.Context, name string) error {
	return l.undo(descriptors, name, func(n *node) error {
		_, err := n.eval(ctx, erlFreeDescriptors)
		l.disperse(name)
		return err
	})
}

// FillConnections lowers the most connections that the node's listeners take (connection_max) to less than there are,
// and has 90 clients try to connect, again and again. As many as there are acceptors get in (10 by default); then the
// kernel accepts TCP, and no greeting ever comes. FreeConnections cures it, as does a new process.
func (l *Lab) FillConnections(ctx context.Context, name string) error {
	return l.set(connections, name, func(n *node) error {
		if _, err := n.eval(ctx, erlFill); err != nil {
			return err
		}
		if _, err := l.gather(name, served+trying); err != nil {
			return err
		}
		return l.until(ctx, name+" to greet nobody any more", n.silent)
	})
}

// silent is nil if the node accepts a connection and does not greet it.
func (n *node) silent(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", n.address())
	if err != nil {
		return fmt.Errorf("connect to %s: %w", n.name, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("connect to %s: %w", n.name, err)
	}
	if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return fmt.Errorf("greet %s: %w", n.name, err)
	}
	switch _, err = conn.Read(make([]byte, 1)); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err != nil:
		return fmt.Errorf("wait for what %s says: %w", n.name, err)
	default:
		return fmt.Errorf("%s still greets", n.name)
	}
}

// FreeConnections lets the node take as many connections as there are, and ends the clients.
func (l *Lab) FreeConnections(ctx context.Context, name string) error {
	return l.undo(connections, name, func(n *node) error {
		_, err := n.eval(ctx, erlUnfill)
		l.disperse(name)
		return err
	})
}

// CloseListener closes the node's listeners and nothing else: clients that are connected are served, connecting is
// refused, and the process goes on. OpenListener cures it, as does a new process.
func (l *Lab) CloseListener(ctx context.Context, name string) error {
	return l.breakBy(ctx, unheard, name, erlSuspend)
}

// OpenListener opens the node's listeners again.
func (l *Lab) OpenListener(ctx context.Context, name string) error {
	return l.undo(unheard, name, func(n *node) error {
		_, err := n.eval(ctx, erlResume)
		return err
	})
}

// LimitUserConnections lets the probing user in nowhere: the limit of its connections is 0. Who is connected stays.
// UnlimitUser cures it. Before RabbitMQ 3.8.10 users have no limits: ErrUnsupported.
func (l *Lab) LimitUserConnections(ctx context.Context) error {
	n := l.helper()
	out, err := n.eval(ctx, `
		code:ensure_loaded(rabbit_auth_backend_internal),
		erlang:function_exported(rabbit_auth_backend_internal, set_user_limits, 3).`)
	if err != nil {
		return fmt.Errorf("limit the user's connections: %w", err)
	}
	if !strings.Contains(out, "true") {
		return fmt.Errorf("limit the user's connections: %w: its users have no limits", ErrUnsupported)
	}
	l.broke(userLimited, "")
	_, err = n.ctl(ctx, "", "rabbitmqctl", "set_user_limits", l.user, `{"max-connections": 0}`)
	return err
}

// UnlimitUser removes the limit of the user's connections.
func (l *Lab) UnlimitUser(ctx context.Context) error {
	if _, err := l.helper().ctl(ctx, "", "rabbitmqctl", "clear_user_limits", l.user, "all"); err != nil {
		return err
	}
	l.cured(userLimited, "")
	return nil
}

// gather has clients connect to one node and stay, or try again where they cannot. They end with the node's process, by
// disperse, and with the lab.
func (l *Lab) gather(name string, count int) (*Load, error) {
	return l.visit(name, count, idle)
}

func (l *Lab) visit(name string, count int, work func(context.Context, *session) error) (*Load, error) {
	for i, n := range l.nodes {
		if n.name != name {
			continue
		}
		d := &Load{lab: l}
		for range count {
			d.add(i, work)
		}
		for _, c := range d.clients {
			c.pinned = true
		}
		if err := d.begin(); err != nil {
			return nil, err
		}
		l.mu.Lock()
		l.crowds[name] = append(l.crowds[name], d)
		l.mu.Unlock()
		return d, nil
	}
	return nil, fmt.Errorf("visit %s: no such node", name)
}

// disperse ends the clients that a fault brought to a node.
func (l *Lab) disperse(name string) {
	l.mu.Lock()
	crowds := l.crowds[name]
	delete(l.crowds, name)
	l.mu.Unlock()
	for _, d := range crowds {
		_ = d.Close() // gives no error
	}
}
