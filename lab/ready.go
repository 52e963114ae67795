package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// errHopeless ends until early.
var errHopeless = errors.New("no use in trying again")

// untilTimeout bounds until when its context does not.
const untilTimeout = 3 * time.Minute

// until tries something again and again until it succeeds, ctx ends, or the error is errHopeless.
func (l *Lab) until(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, untilTimeout)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := errors.New("not tried yet")
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, ctx.Err(), last)
		case <-timer.C:
		}
		err := try(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, errHopeless) {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ctx.Err() == nil { // or it is only the echo of that
			last = err
		}
		timer.Reset(100 * time.Millisecond)
	}
}

// loginTimeout bounds one login by which the lab looks whether a node is healthy. It takes milliseconds if so.
const loginTimeout = 5 * time.Second

// WaitReady waits until every node lets the probing user log in and declare a queue, and all see each other.
func (l *Lab) WaitReady(ctx context.Context) error {
	errs := make([]error, len(l.nodes))
	var wg sync.WaitGroup
	for i, n := range l.nodes {
		wg.Go(func() { errs[i] = l.until(ctx, n.name+" to accept logins", n.healthy) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.until(ctx, "the nodes to form a cluster", l.nodes[0].clustered)
}

// WaitLogin waits until one node lets the probing user log in.
func (l *Lab) WaitLogin(ctx context.Context, name string) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	return l.until(ctx, n.name+" to accept logins", func(ctx context.Context) error {
		return n.login(ctx, false)
	})
}

// healthy is nil if the node lets the probing user log in and declare a queue.
func (n *node) healthy(ctx context.Context) error {
	if n.lab.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errHopeless, errClosed)
	}
	err := n.login(ctx, true)
	if err == nil {
		return nil
	}
	if lines := n.lines().last(1); len(lines) > 0 {
		err = fmt.Errorf("%w; last log line: %s", err, lines[0].Text)
	}
	return err
}

// erlCluster says which nodes run, and which partitions there are.
const erlCluster = `
	Running = case erlang:function_exported(rabbit_nodes, list_running, 0) of
		true -> rabbit_nodes:list_running();
		false -> rabbit_nodes:all_running() % before RabbitMQ 3.12
	end,
	Partitions = case erlang:function_exported(rabbit_node_monitor, partitions, 0) of
		true -> rabbit_node_monitor:partitions();
		false -> [] % RabbitMQ 4.3 has none
	end,
	{Running, Partitions}.`

// clustered is nil if all nodes run in one cluster, and none of them knows of a partition.
func (n *node) clustered(ctx context.Context) error {
	out, err := n.eval(ctx, erlCluster)
	if err != nil {
		return fmt.Errorf("ask %s for its cluster: %w", n.name, err)
	}
	for _, other := range n.lab.nodes {
		if !strings.Contains(out, "'"+other.erlang()+"'") {
			return fmt.Errorf("%s does not see %s", n.name, other.name)
		}
	}
	if !strings.HasSuffix(out, "],[]}") {
		return fmt.Errorf("%s sees partitions: %s", n.name, oneLine(out))
	}
	return nil
}

// login logs in once, and declares a queue of its own if asked to.
func (n *node) login(ctx context.Context, declare bool) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	err := n.talk(ctx, declare)
	if err != nil && ctx.Err() != nil { // the library gives a wrong reason for a timeout
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("log in to %s: %w", n.name, err)
	}
	return nil
}

func (n *node) talk(ctx context.Context, declare bool) error {
	return n.converse(ctx, func(conn *amqp.Connection) error {
		if !declare {
			return nil
		}
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		_, err = ch.QueueDeclare("", false, true, true, false, nil)
		return err
	})
}

// converse logs in, has something done, and logs out; all that ends with ctx.
func (n *node) converse(ctx context.Context, do func(*amqp.Connection) error) error {
	var d net.Dialer
	socket, err := d.DialContext(ctx, "tcp", n.address())
	if err != nil {
		return err
	}
	defer socket.Close()
	// The library knows no contexts, and may wait for ever: closing the socket ends whatever it does.
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	over, err := n.secured(socket)
	if err != nil {
		return err
	}
	conn, err := amqp.Open(over, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: n.lab.user, Password: n.lab.pass}},
		Vhost:      "/",
		Properties: amqp.Table{"connection_name": "unstuck lab", "product": "unstuck"},
	})
	if err != nil {
		return err
	}
	if err := do(conn); err != nil {
		return err
	}
	return conn.Close()
}
