package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// The Erlang expressions with which nodes are broken, for `rabbitmqctl eval`. They work on RabbitMQ 3.10 and 4.0.
const (
	// Replaces the module that checks passwords of the PLAIN mechanism. %s is what its handle_response(R, _) does.
	erlAuthModule = `
		M = rabbit_auth_mechanism_plain,
		Forms = [begin {ok, T, _} = erl_scan:string(L), {ok, F} = erl_parse:parse_form(T), F end || L <- [
			"-module(rabbit_auth_mechanism_plain).",
			"-export([description/0, should_offer/1, init/1, handle_response/2]).",
			"description() -> [{description, <<\"broken by the lab\">>}].",
			"should_offer(_) -> true.",
			"init(_) -> [].",
			"handle_response(R, _) -> %s."]],
		{ok, M, Bin} = compile:forms(Forms),
		code:unstick_mod(M), code:purge(M), {module, M} = code:load_binary(M, "lab", Bin), ok.`
	erlNever = `receive never -> R end`
	// What RabbitMQ's own module does, after %d ms.
	erlLate = `timer:sleep(%d), [_, U, P] = binary:split(R, <<0>>, [global]),` +
		` rabbit_access_control:check_user_pass_login(U, P)`

	// Puts RabbitMQ's own module back, from its file.
	erlAuthRestore = `
		M = rabbit_auth_mechanism_plain,
		code:purge(M), {module, M} = code:load_file(M), ok.`

	// Replaces every function of the module that logs connections by one that waits for ever.
	erlWedgeLogger = `
		M = rabbit_log_connection,
		Fs = [FA || {F, _} = FA <- M:module_info(exports), F =/= module_info],
		Wait = [{'receive', 1, [{clause, 1, [{atom, 1, never}], [], [{atom, 1, ok}]}]}],
		Forms = [{attribute, 1, module, M}, {attribute, 1, export, Fs} |
			[{function, 1, F, A, [{clause, 1, [{var, 1, '_'} || _ <- lists:seq(1, A)], [], Wait}]} || {F, A} <- Fs]],
		{ok, M, Bin} = compile:forms(Forms),
		code:unstick_mod(M), code:purge(M), {module, M} = code:load_binary(M, "lab", Bin), ok.`

	erlSuspendQueues = `
		{ok, Sup} = rabbit_amqqueue_sup_sup:find_for_vhost(<<"/">>), sys:suspend(Sup), ok.`

	erlLockMetadata = `
		Self = self(),
		spawn(fun() -> mnesia:transaction(fun() ->
			[mnesia:write_lock_table(T) || T <- [rabbit_queue, rabbit_durable_queue]],
			Self ! locked,
			receive never -> ok end
		end) end),
		receive locked -> locked after 20000 -> not_locked end.`
	erlLockHolders = `
		[io:format("~s~n", [N]) || N <- lists:usort([node(P) || ` + erlHeldLocks + `])], ok.`
	erlUnlockMetadata = `
		Pids = [P || ` + erlHeldLocks + `],
		Refs = [begin Ref = monitor(process, P), exit(P, kill), Ref end || P <- Pids],
		[receive {'DOWN', Ref, _, _, _} -> ok end || Ref <- Refs], ok.`
	erlHeldLocks = `{{rabbit_queue, '______WHOLETABLE_____'}, write, {tid, _, P}} <- mnesia_locker:get_held_locks()`

	// Kills the vhost until its supervisor gives up, which it does at the second time. A vhost that is down may only be
	// on its way up again, so it must be down a second later too.
	erlVhostDown = `
		Alive = fun() -> rabbit_vhost_sup_sup:is_vhost_alive(<<"/">>) end,
		Down = fun Down(0) -> up; Down(N) ->
			case Alive() orelse (timer:sleep(1000) =/= ok) orelse Alive() of
				false -> down;
				true ->
					case rabbit_vhost_sup_sup:get_vhost_sup(<<"/">>) of
						{ok, P} -> exit(P, kill);
						_ -> ok
					end,
					timer:sleep(50), Down(N - 1)
			end
		end, Down(100).`

	// Logs 400 kB, more than a pipe holds, in a process that may hang over it. Slowly: were more than ten lines waiting
	// when the pipe fills up, OTP's logger would have changed to its synchronous mode before, and hang whoever logs.
	erlFloodLog = `
		spawn(fun() ->
			group_leader(whereis(init), self()), % or it would count as another node's
			[begin logger:info(lists:duplicate(2000, $.), #{domain => [rabbitmq]}), timer:sleep(5) end ||
				_ <- lists:seq(1, 200)]
	end), ok.`
)

// ErlangWedgeLogin gives the expression that wedges logins, for whoever runs a RabbitMQ elsewhere and breaks it by
// `rabbitmqctl eval`. It comes to ok, as that of ErlangWedgeStart does; that of ErlangVhostDown comes to down.
func ErlangWedgeLogin() string { return fmt.Sprintf(erlAuthModule, erlNever) }

// ErlangWedgeStart wedges the node before it greets.
func ErlangWedgeStart() string { return erlWedgeLogger }

// ErlangVhostDown stops the vhost "/" on the node.
func ErlangVhostDown() string { return erlVhostDown }

// WedgeLogin makes every login hang once the node has the password, as in the incident: TCP is accepted and the
// broker greets, then silence; the official checks pass. Each attempt leaks three processes and a socket there.
// Only a new process cures it.
func (l *Lab) WedgeLogin(ctx context.Context, name string) error {
	return l.breakBy(ctx, wedged, name, ErlangWedgeLogin())
}

// SlowLogin makes every login on the node take that much longer, then go on as ever. The broker cannot tell the time
// meanwhile: if its handshake timeout has passed by then it closes the connection, at once. RestoreLogin cures it,
// as does a new process.
func (l *Lab) SlowLogin(ctx context.Context, name string, delay time.Duration) error {
	return l.breakBy(ctx, slowed, name, fmt.Sprintf(erlAuthModule, fmt.Sprintf(erlLate, delay.Milliseconds())))
}

// RestoreLogin ends SlowLogin. Logins that are under way are slow to their end.
func (l *Lab) RestoreLogin(ctx context.Context, name string) error {
	return l.undo(slowed, name, func(n *node) error {
		_, err := n.eval(ctx, erlAuthRestore)
		return err
	})
}

// WedgeStart makes the node hang before it greets anybody, by way of the module that logs connections (RabbitMQ 3.10
// to 4.0.9). The node ignores SIGTERM then. Only a new process cures it.
func (l *Lab) WedgeStart(ctx context.Context, name string) error {
	return l.breakBy(ctx, wedged, name, erlWedgeLogger)
}

// WedgeQueues suspends the process that starts queues on one node: logins succeed, but a queue.declare there never
// returns. (A classic queue is declared on the node to which its client is connected.) On the other nodes all is
// well. Only a new process cures it.
func (l *Lab) WedgeQueues(ctx context.Context, name string) error {
	return l.breakBy(ctx, wedged, name, erlSuspendQueues)
}

func (l *Lab) breakBy(ctx context.Context, kind faultKind, name, erlang string) error {
	return l.set(kind, name, func(n *node) error {
		_, err := n.eval(ctx, erlang)
		return err
	})
}

// LockMetadata has the node start a transaction that locks the tables of queues and never ends (up to RabbitMQ 3.13,
// and 4.x with Mnesia). Logins succeed everywhere, every queue.declare on every node hangs, the official checks
// pass. UnlockMetadata cures it, as does a new process of that very node.
func (l *Lab) LockMetadata(ctx context.Context, name string) error {
	return l.set(locked, name, func(n *node) error {
		out, err := n.eval(ctx, erlLockMetadata)
		if err == nil && out != "locked" {
			err = fmt.Errorf("the metadata is %s", out)
		}
		return err
	})
}

// MetadataLockHolder gives the name of the node that holds the lock on the cluster's queues, "" if none does. Any
// node can tell.
func (l *Lab) MetadataLockHolder(ctx context.Context) (string, error) {
	out, err := l.helper().eval(ctx, erlLockHolders)
	if err != nil {
		return "", fmt.Errorf("find who holds the metadata's lock: %w", err)
	}
	for _, n := range l.nodes {
		if strings.Contains(out, n.erlang()) {
			return n.name, nil
		}
	}
	return "", nil
}

// UnlockMetadata kills the transaction, whichever node runs it.
func (l *Lab) UnlockMetadata(ctx context.Context) error {
	if _, err := l.helper().eval(ctx, erlUnlockMetadata); err != nil {
		return fmt.Errorf("unlock the metadata: %w", err)
	}
	for _, n := range l.nodes {
		l.cured(locked, n.name)
	}
	return nil
}
