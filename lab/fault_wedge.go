package lab

import (
	"context"
	"fmt"
	"time"
)

// The Erlang expressions with which nodes are broken, for `rabbitmqctl eval`. They work on RabbitMQ 3.8 to 4.3 where
// nothing else is said.
const (
	// Replaces the module that checks passwords of the PLAIN mechanism. The first %s is what its should_offer(R) does,
	// by which a reader asks before it greets; the second what its handle_response(R, _) does.
	erlAuthModule = `
		M = rabbit_auth_mechanism_plain,
		Forms = [begin {ok, T, _} = erl_scan:string(L), {ok, F} = erl_parse:parse_form(T), F end || L <- [
			"-module(rabbit_auth_mechanism_plain).",
			"-export([description/0, should_offer/1, init/1, handle_response/2]).",
			"description() -> [{description, <<\"broken by the lab\">>}].",
			"should_offer(R) -> _ = R, %s.",
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

	// Replaces every function of the module that logs connections by one that waits for ever. There is none in 3.8, nor
	// from 4.0.10 on.
	erlHasLogger   = `case code:ensure_loaded(rabbit_log_connection) of {module, _} -> true; _ -> false end.`
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
	// when the pipe fills up, OTP's logger would have changed to its synchronous mode before, and hang what logs.
	erlFloodLog = `
		spawn(fun() ->
			group_leader(whereis(init), self()), % or it would count as another node's
			[begin logger:info(lists:duplicate(2000, $.), #{domain => [rabbitmq]}), timer:sleep(5) end ||
				_ <- lists:seq(1, 200)]
	end), ok.`
)

// ErlangWedgeLogin gives the expression that wedges logins, for who runs a RabbitMQ elsewhere and breaks it by
// `rabbitmqctl eval`. It comes to ok, as that of ErlangWedgeStart does; that of ErlangVhostDown comes to down.
func ErlangWedgeLogin() string { return fmt.Sprintf(erlAuthModule, "true", erlNever) }

// ErlangWedgeStart wedges the node before it greets (RabbitMQ 3.10 to 4.0.9).
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
	return l.breakBy(ctx, slowed, name, fmt.Sprintf(erlAuthModule, "true", fmt.Sprintf(erlLate, delay.Milliseconds())))
}

// RestoreLogin ends SlowLogin. Logins that are under way are slow to their end.
func (l *Lab) RestoreLogin(ctx context.Context, name string) error {
	return l.undo(slowed, name, func(n *node) error {
		_, err := n.eval(ctx, erlAuthRestore)
		return err
	})
}

// WedgeStart makes the node hang before it greets anybody: by way of the module that logs connections (RabbitMQ 3.10 to
// 4.0.9), and the node ignores SIGTERM then; elsewhere by that of the PLAIN mechanism, which is asked whether to offer
// it. Only a new process cures it.
func (l *Lab) WedgeStart(ctx context.Context, name string) error {
	return l.set(wedged, name, func(n *node) error {
		has, err := n.eval(ctx, erlHasLogger)
		if err != nil {
			return err
		}
		erlang := erlWedgeLogger
		if has != "true" {
			erlang = fmt.Sprintf(erlAuthModule, erlNever, "error")
		}
		_, err = n.eval(ctx, erlang)
		return err
	})
}

// WedgeQueues suspends the process that starts queues on one node: logins succeed, but a queue.declare there never
// returns. (A classic queue is declared on the node to which its client is connected.) On the other nodes all is
// healthy. Only a new process cures it.
func (l *Lab) WedgeQueues(ctx context.Context, name string) error {
	return l.breakBy(ctx, wedged, name, erlSuspendQueues)
}

func (l *Lab) breakBy(ctx context.Context, kind faultKind, name, erlang string) error {
	return l.set(kind, name, func(n *node) error {
		_, err := n.eval(ctx, erlang)
		return err
	})
}
