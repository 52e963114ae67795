package lab

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What is here breaks a part of a node, while its logins go on, or some of them.

const (
	// The queue's process, in the midst of a job, calls a process that does not answer. The module has it wait by a last
	// call, so that no function of the lab is on its stack. %s is the queue.
	erlWedgeQueue = `
		M = unstuck_lab,
		Forms = [begin {ok, T, _} = erl_scan:string(L), {ok, F} = erl_parse:parse_form(T), F end || L <- [
			"-module(unstuck_lab).", "-export([hang/2]).",
			"hang(_, S) -> gen_server2:call(unstuck_lab_queue, S, infinity)."]],
		{ok, M, Bin} = compile:forms(Forms),
		code:purge(M), {module, M} = code:load_binary(M, "lab", Bin),
		Self = self(),
		spawn(fun() ->
			register(unstuck_lab_queue, self()),
			Self ! ready,
			receive {'$gen_call', From, S} -> receive release -> gen_server2:reply(From, S) end end
		end),
		receive ready -> ok after 5000 -> exit(not_ready) end,
		{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)),
		rabbit_amqqueue:run_backing_queue(amqqueue:get_pid(Q), rabbit_variable_queue, fun unstuck_lab:hang/2), ok.`
	erlReleaseQueue = `unstuck_lab_queue ! release, ok.`

	// Suspends a queue's process for as long as the one lives that did so.
	erlSuspendQueue = `
		{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)),
		Self = self(),
		spawn(fun() ->
			register(unstuck_lab_channel, self()),
			erlang:suspend_process(amqqueue:get_pid(Q)),
			Self ! suspended,
			receive release -> ok end
		end),
		receive suspended -> ok after 5000 -> not_suspended end.`
	erlReleaseChannel = `unstuck_lab_channel ! release, ok.`

	// Suspends whatever writes to the disk for %d ms, then lets it go on for %d ms: message stores, classic queues, which
	// write their indexes themselves, the log of quorum queues, and streams.
	erlSlowDisk = `
		Writes = fun(P) ->
			Name = case process_info(P, registered_name) of {_, N} when is_atom(N) -> atom_to_list(N); _ -> "" end,
			{M, _, _} = proc_lib:translate_initial_call(P),
			lists:member(M, [rabbit_msg_store, rabbit_prequeue, rabbit_amqqueue_process, ra_log_wal,
				ra_log_segment_writer, osiris_writer])
				orelse lists:prefix("ra_", Name) andalso (lists:suffix("_wal", Name) orelse lists:suffix("segment_writer", Name))
		end,
		Loop = fun Loop() ->
			Ps = [P || P <- processes(), P =/= self(), (catch Writes(P)) =:= true],
			Suspended = [P || P <- Ps, (catch erlang:suspend_process(P, [asynchronous])) =:= true],
			receive stop -> ok after %d ->
				[catch erlang:resume_process(P) || P <- Suspended],
				receive stop -> ok after %d -> Loop() end
			end
		end,
		spawn(fun() -> register(unstuck_lab_disk, self()), Loop() end),
		ok.`
	erlRestoreDisk = `unstuck_lab_disk ! stop, ok.`

	// What handle_response does in IntermittentLogin: RabbitMQ's own work for each fourth login.
	erlFourth = `counters:add(persistent_term:get(unstuck_lab_logins), 1, 1),` +
		` case counters:get(persistent_term:get(unstuck_lab_logins), 1) rem 4 of` +
		` 0 -> [_, U, P] = binary:split(R, <<0>>, [global]), rabbit_access_control:check_user_pass_login(U, P);` +
		` _ -> receive never -> R end end`
)

// IntermittentLogin makes three of four logins hang as WedgeLogin does, and lets each fourth through. Logins of who
// are counted. Only a new process cures it.
func (l *Lab) IntermittentLogin(ctx context.Context, name string) error {
	return l.breakBy(ctx, wedged, name,
		`persistent_term:put(unstuck_lab_logins, counters:new(1, [])),`+fmt.Sprintf(erlAuthModule, "true", erlFourth))
}

// WedgeQueue makes the process of one classic queue on the node hang in a call that is never answered. Everything else
// goes on, on that node too; a client publishes to the queue all the time. ReleaseQueue cures it, as does a new
// process. The queue, unstuck-lab-queue and the node's name, stays.
func (l *Lab) WedgeQueue(ctx context.Context, name string) error {
	return l.set(queueWedged, name, func(n *node) error {
		queue, err := n.ownQueue(ctx, "queue")
		if err != nil {
			return err
		}
		if _, err := n.eval(ctx, fmt.Sprintf(erlWedgeQueue, queue)); err != nil {
			return err
		}
		d, err := l.visit(name, 1, pester(queue, false))
		if err != nil {
			return err
		}
		return d.arrived(ctx)
	})
}

// ReleaseQueue answers what the queue's process waits for.
func (l *Lab) ReleaseQueue(ctx context.Context, name string) error {
	return l.undo(queueWedged, name, func(n *node) error {
		_, err := n.eval(ctx, erlReleaseQueue)
		l.disperse(name)
		return err
	})
}

// WedgeChannel makes one channel of one client of the node hang: it asks a queue on the same node, whose process was
// suspended, and publishes on, in vain. Everything else goes on. (maybe_stuck shows the channel and not the queue,
// since it looks at processes that wait.) ReleaseChannel cures it, as does a new process. The queue,
// unstuck-lab-channel and the node's name, stays.
func (l *Lab) WedgeChannel(ctx context.Context, name string) error {
	return l.set(channelWedged, name, func(n *node) error {
		queue, err := n.ownQueue(ctx, "channel")
		if err != nil {
			return err
		}
		out, err := n.eval(ctx, fmt.Sprintf(erlSuspendQueue, queue))
		if err != nil {
			return err
		}
		if out != "ok" {
			return fmt.Errorf("the queue %s is %s", queue, out)
		}
		d, err := l.visit(name, 1, pester(queue, true))
		if err != nil {
			return err
		}
		return d.arrived(ctx)
	})
}

// ReleaseChannel lets the queue go on, which answers the channel.
func (l *Lab) ReleaseChannel(ctx context.Context, name string) error {
	return l.undo(channelWedged, name, func(n *node) error {
		_, err := n.eval(ctx, erlReleaseChannel)
		l.disperse(name)
		return err
	})
}

// pester publishes a message to a queue now and then, on a channel that may first ask for the queue. Whether that is
// answered it does not mind.
func pester(queue string, ask bool) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error {
		ch, err := s.conn.Channel()
		if err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		if err := s.begin(); err != nil {
			return err
		}
		var asking sync.WaitGroup
		if ask {
			asking.Go(func() { _, _ = ch.QueueDeclarePassive(queue, true, false, false, false, nil) })
		}
		err = publishOn(ctx, s, ch, queue)
		s.hangUp()
		asking.Wait()
		return err
	}
}

func publishOn(ctx context.Context, s *session, ch *amqp.Channel, queue string) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.closed:
			return ended(err)
		case <-tick.C:
			if err := ch.PublishWithContext(ctx, "", queue, false, false,
				amqp.Publishing{Body: []byte("once more")}); err != nil {
				return fmt.Errorf("publish to %s: %w", queue, err)
			}
		}
	}
}

// arrived waits until every client is at work.
func (d *Load) arrived(ctx context.Context) error {
	return d.lab.until(ctx, "the clients of a fault", func(context.Context) error {
		ready := 0
		for _, n := range d.Stats().Ready {
			ready += n
		}
		if ready < len(d.clients) {
			return fmt.Errorf("%d of %d", ready, len(d.clients))
		}
		return nil
	})
}

// ownQueue declares a durable classic queue on the node, and gives its name.
func (n *node) ownQueue(ctx context.Context, what string) (string, error) {
	name := "unstuck-lab-" + what + "-" + n.name
	err := n.session(ctx, func(conn *amqp.Connection) error {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		_, err = ch.QueueDeclare(name, true, false, false, false, nil)
		return err
	})
	return name, err
}

// HoldOnlyMember gives the node a quorum queue that has no member elsewhere, so that it is unavailable while the node
// is away. Nothing else is wrong. DropOnlyMember deletes the queue, unstuck-lab-only and the node's name.
func (l *Lab) HoldOnlyMember(ctx context.Context, name string) error {
	return l.set(onlyMember, name, func(n *node) error {
		return n.declare(ctx, []LoadQueue{{Name: "unstuck-lab-only-" + name, Type: QuorumQueue, Node: name, Members: 1}})
	})
}

// DropOnlyMember waits until the node accepts logins, if need be.
func (l *Lab) DropOnlyMember(ctx context.Context, name string) error {
	return l.undo(onlyMember, name, func(n *node) error {
		return l.until(ctx, "the queue to be deleted", func(ctx context.Context) error {
			return n.session(ctx, func(conn *amqp.Connection) error {
				ch, err := conn.Channel()
				if err != nil {
					return fmt.Errorf("open a channel: %w", err)
				}
				_, err = ch.QueueDelete("unstuck-lab-only-"+name, false, false, false)
				return err
			})
		})
	})
}

// SlowDisk suspends whatever writes to the disk on one node for a time, lets it go on for another, and so forth: what
// waits for the disk takes long, and nothing hangs for good. Logins are as fast as ever. RestoreDisk cures it, as does
// a new process. Nobody waits until what writes is suspended: one that is in the midst of a write can make that last
// for ever.
func (l *Lab) SlowDisk(ctx context.Context, name string, stalled, between time.Duration) error {
	return l.breakBy(ctx, diskSlow, name, fmt.Sprintf(erlSlowDisk, stalled.Milliseconds(), between.Milliseconds()))
}

// RestoreDisk ends SlowDisk.
func (l *Lab) RestoreDisk(ctx context.Context, name string) error {
	return l.undo(diskSlow, name, func(n *node) error {
		_, err := n.eval(ctx, erlRestoreDisk)
		return err
	})
}
