package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// erlPlaces says for each queue of the vhost "/": its name, the node of its leader, how many members it has, and
// how many of those are online.
const erlPlaces = `
	{text, [begin
		{resource, _, queue, Name} = amqqueue:get_name(Q),
		{Leader, Members, Online} = case amqqueue:get_type(Q) of
			rabbit_classic_queue -> {node(amqqueue:get_pid(Q)), 1, 1};
			_ ->
				I = rabbit_amqqueue:info(Q, [leader, members, online]),
				[L, M, O] = [proplists:get_value(K, I) || K <- [leader, members, online]],
				Count = fun(X) when is_list(X) -> length(X); (_) -> 0 end,
				{L, Count(M), Count(O)}
		end,
		io_lib:format("~ts ~s ~b ~b~n", [Name, Leader, Members, Online])
	end || Q <- rabbit_amqqueue:list(<<"/">>)]}.`

// place is where a queue is.
type place struct {
	leader          string // an Erlang node
	members, online int
}

func (d *Load) places(ctx context.Context) (map[string]place, error) {
	out, err := d.lab.helper().eval(ctx, erlPlaces)
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	places := make(map[string]place)
	for line := range strings.Lines(out) {
		var name string
		var p place
		// another's name may have a blank in it
		if _, err := fmt.Sscan(line, &name, &p.leader, &p.members, &p.online); err == nil {
			places[name] = p
		}
	}
	return places, nil
}

// placeQueues declares the load's queues, each through the node where it is to be, and looks whether they are there.
// One that is elsewhere is deleted first, and so is one whose members do not all come back: after some faults one never
// does. It tries again until everything is healthy.
func (d *Load) placeQueues(ctx context.Context) error {
	missing := make(map[string]time.Time) // by queue: since when a member is
	return d.lab.until(ctx, "the load's queues to be where they belong", func(ctx context.Context) error {
		places, err := d.places(ctx)
		if err != nil {
			return err
		}
		var errs []error
		for _, n := range d.lab.nodes {
			anew, err := d.misplaced(n, places, missing)
			errs = append(errs, err)
			if len(anew) > 0 {
				errs = append(errs, n.declare(ctx, anew), fmt.Errorf("%d queues of %s were not there", len(anew), n.name))
			}
		}
		return errors.Join(errs...)
	})
}

// misplaced gives the queues of a node that are to be declared anew: that are elsewhere, or have missed a member for
// long. The error names those that miss one. In missing it keeps since when.
func (d *Load) misplaced(n *node, places map[string]place, missing map[string]time.Time) ([]LoadQueue, error) {
	const patience = 20 * time.Second
	var anew []LoadQueue
	var errs []error
	for _, q := range d.queues {
		if q.Node != n.name {
			continue
		}
		p, exists := places[q.Name]
		if !exists || p.leader != n.erlang() || p.members != q.Members {
			anew = append(anew, q)
			continue
		}
		if p.online == p.members {
			delete(missing, q.Name)
			continue
		}
		errs = append(errs, fmt.Errorf("%s has %d of %d members online", q.Name, p.online, p.members))
		if missing[q.Name].IsZero() {
			missing[q.Name] = time.Now()
		}
		if time.Since(missing[q.Name]) > patience {
			anew = append(anew, q)
			delete(missing, q.Name)
		}
	}
	return anew, errors.Join(errs...)
}

// declare makes queues on a node anew.
func (n *node) declare(ctx context.Context, queues []LoadQueue) error {
	return n.session(ctx, func(conn *amqp.Connection) error {
		ch, err := conn.Channel()
		if err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		for _, q := range queues {
			if _, err := ch.QueueDelete(q.Name, false, false, false); err != nil {
				return fmt.Errorf("delete %s: %w", q.Name, err)
			}
			if _, err := ch.QueueDeclare(q.Name, true, false, false, false, q.arguments()); err != nil {
				return fmt.Errorf("declare %s: %w", q.Name, err)
			}
		}
		return nil
	})
}

// arguments are those of its declaration. They bound what it keeps: some faults last long.
func (q LoadQueue) arguments() amqp.Table {
	const most = 10_000 // messages
	switch q.Type {
	case QuorumQueue:
		return amqp.Table{"x-queue-type": "quorum", "x-quorum-initial-group-size": q.Members, "x-max-length": most}
	case StreamQueue:
		return amqp.Table{
			"x-queue-type": "stream", "x-initial-cluster-size": q.Members,
			"x-max-length-bytes": 1_000_000, "x-stream-max-segment-size-bytes": 200_000,
		}
	default:
		return amqp.Table{"x-max-length": most}
	}
}

// check looks whether the queues make sense, and leaves out what this RabbitMQ cannot have.
func (d *Load) check(ctx context.Context) error {
	var version string
	err := d.lab.helper().session(ctx, func(conn *amqp.Connection) error {
		version, _ = conn.Properties["version"].(string)
		return nil
	})
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("read RabbitMQ's version %q: %w", version, err)
	}
	var queues []LoadQueue
	for _, q := range d.queues {
		if _, err := d.lab.node(q.Node); err != nil {
			return fmt.Errorf("queue %s: %w", q.Name, err)
		}
		if q.Members < 1 || q.Members > len(d.lab.nodes) || q.Type == ClassicQueue && q.Members != 1 {
			return fmt.Errorf("a %s queue %s cannot have %d members on %d nodes", q.Type, q.Name, q.Members, len(d.lab.nodes))
		}
		if q.Type == StreamQueue && major == 3 && minor < 9 {
			d.leftOut = append(d.leftOut, q)
			continue
		}
		queues = append(queues, q)
	}
	d.queues = queues
	return nil
}

// session logs in to a node for a moment, at most for as long as a client of a load may take.
func (n *node) session(ctx context.Context, do func(*amqp.Connection) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*clientSetup)
	defer cancel()
	err := n.converse(ctx, do)
	if err != nil && ctx.Err() != nil { // the library gives a wrong reason for a timeout
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err != nil {
		return fmt.Errorf("talk to %s: %w", n.name, err)
	}
	return nil
}
