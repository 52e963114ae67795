package remediate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
)

// The questions that RabbitMQ's own tools do not answer, for `rabbitmqctl -q -t 15 eval`. They work on 3.8 to 4.3.
//
// Each prints lines of ASCII and ends with an end line of its own, after which eval prints the value of the whole
// expression, ok. A text that does not end with these two lines was cut off. Each takes some 5 s inside the node at
// most, who else hangs: it asks in processes of its own, and says unknown of what does not come. The tool's own
// time comes on top: 2 s, and where the node does not answer at all 14 s and an exit code of 69. Nothing is changed,
// but that to be looked at costs a process one reduction (see ProcessesQuestion).

// QuorumQuestion is asked of a healthy peer: does each quorum queue, each stream, and each store that a quorum keeps
// (the metadata of 4.x with Khepri; the coordinator of streams; MQTT's up to 3.12), if it has a member on a node, have
// an online majority among the others? Fill in the node with EvalQuorum.
//
// That node itself is not called, so it may be frozen. Of the others those are online that answer within 2.5 s, and of
// their members those that lead or follow, and vote; that of a store must answer, too, and of a stream's replica only
// its node is asked for. So what has just lost its leader may be critical for some seconds, until it has elected
// another. Asked of the node itself the answer is the same. Classic queues are not looked at: they are on one node
// alone, or mirrored, which is another question.
//
//	answer  = [ asked *20( lacks ) ] verdict "ok" LF
//	asked   = "unstuck quorum asked " ERLANG-NODE " without " ERLANG-NODE LF
//	lacks   = "unstuck quorum lacks " kind " members=" N " online=" N " vhost=" NAME " name=" NAME LF
//	kind    = "quorum" / "stream" / "store"
//	verdict = "unstuck quorum ok 0 of " N " alone 0" LF
//	        / "unstuck quorum critical " N " of " N " alone " N LF
//	        / "unstuck quorum unknown " ( "not_running" / "no_such_node" / "timed_out" / "failed" ) LF
//
// Before unknown there is nothing, before the others always asked. There is one lacks for each of the first 20 that
// would have no majority: members counts all of its members, online those elsewhere that are online. Those with the
// most online come first. With online=0 and members of 2 and more there is no majority now either, as when the node is
// frozen and its only other member waits for it: nothing is left to lose, and it takes that node to have it back. The
// verdict says how many have no majority, of how many that have a member there, and how many of them have no member
// anywhere else (members=1): nothing but that node can serve those, as it is with a classic queue. NAME is
// percent-encoded, of at most the first 100 bytes; the vhost of a store is "-".
//
// With Khepri (4.3 always) the metadata's store is among them, so that "of 0" about a node of several would mean that
// the peer does not know the cluster. not_running: RabbitMQ does not run in the peer. no_such_node: not exactly one
// node of the cluster has that name.
const QuorumQuestion = `
Name = "%s",
Look = fun() ->
	rabbit:is_running() orelse exit(not_running),
	All = case erlang:function_exported(rabbit_nodes, list_members, 0) of
		true -> rabbit_nodes:list_members();
		false -> rabbit_mnesia:cluster_nodes(all)
	end,
	Called = fun(N) ->
		Full = atom_to_list(N),
		[Local, Host] = string:split(Full, "@"),
		lists:member(Name, [Full, Local, Host]) orelse lists:prefix(Name ++ ".", Host)
	end,
	S = case [N || N <- All, Called(N)] of [One] -> One; _ -> exit(no_such_node) end,
	Me = self(),
	Peers = [N || N <- All, N =/= S, lists:member(N, [node() | nodes()])],
	Stores = [{store, {<<"-">>, atom_to_binary(I, utf8)}, I, [N || {_, N} <- Ms]} ||
		I <- [rabbitmq_metadata, rabbit_stream_coordinator, mqtt_node],
		{_, _, Ms} <- ets:lookup(ra_leaderboard, I), is_list(Ms), length(Ms) > 1],
	Answers = fun(N, I) -> case rpc:call(N, ra, ping, [{I, N}, 400], 500) of {pong, _} -> true; _ -> false end end,
	[spawn(fun() -> Me ! {rows, N, rpc:call(N, ets, tab2list, [ra_state], 2500),
		[{N, I} || {_, _, I, Ns} <- Stores, lists:member(N, Ns), Answers(N, I)]} end) || N <- Peers],
	Told = [receive {rows, N, R, Is} -> {N, R, Is} after 4000 -> {N, none, []} end || N <- Peers],
	Rows = maps:from_list([{N, R} || {N, R, _} <- Told]),
	Pinged = lists:append([Is || {_, _, Is} <- Told]),
	Serves = [{N, element(1, Row)} || {N, Rs} <- maps:to_list(Rows), is_list(Rs), Row <- Rs,
		lists:member(element(2, Row), [leader, follower]),
		tuple_size(Row) < 3 orelse element(3, Row) =:= voter],
	Serving = maps:from_list([{K, true} || K <- Serves]),
	Online = fun
		(stream, _, N) -> is_list(maps:get(N, Rows, none));
		(store, Id, N) -> maps:is_key({N, Id}, Serving) andalso lists:member({N, Id}, Pinged);
		(quorum, Id, N) -> maps:is_key({N, Id}, Serving)
	end,
	Nodes = fun(Q) ->
		case maps:get(nodes, amqqueue:get_type_state(Q)) of
			M when is_map(M) -> maps:keys(M);
			L -> L
		end
	end,
	Id = fun(Q) -> case amqqueue:get_pid(Q) of {I, _} -> I; _ -> none end end,
	Of = fun(Q) -> {resource, V, queue, N} = amqqueue:get_name(Q), {V, N} end,
	Listed = case code:ensure_loaded(rabbit_db_queue) of
		{module, _} -> rabbit_db_queue:get_all_durable();
		_ -> mnesia:dirty_select(rabbit_durable_queue, [{'_', [], ['$_']}])
	end,
	Queues = [{K, Of(Q), Id(Q), Nodes(Q)} || Q <- Listed,
		K <- case amqqueue:get_type(Q) of
			rabbit_quorum_queue -> [quorum];
			rabbit_stream_queue -> [stream];
			_ -> []
		end],
	Asked = [X || {_, _, _, Ns} = X <- Stores ++ Queues, lists:member(S, Ns)],
	Counted = [{K, O, length(Ns), length([N || N <- Ns, N =/= S, Online(K, I, N)]), Ns -- [S]} || {K, O, I, Ns} <- Asked],
	Lacks = lists:reverse(lists:keysort(4, [X || {_, _, M, On, _} = X <- Counted, On < M div 2 + 1])),
	Alone = length([X || {_, _, _, _, []} = X <- Lacks]),
	Quote = fun(B) -> [if C > 32, C < 127, C =/= $%%, C =/= $/ -> C; true -> io_lib:format("%%~2.16.0B", [C]) end ||
		<<C>> <= binary:part(B, 0, min(byte_size(B), 100))] end,
	[io_lib:format("unstuck quorum asked ~s without ~s~n", [node(), S]),
	 [io_lib:format("unstuck quorum lacks ~s members=~b online=~b vhost=~s name=~s~n", [K, M, On, Quote(V), Quote(N)]) ||
		{K, {V, N}, M, On, _} <- lists:sublist(Lacks, 20)],
	 io_lib:format("unstuck quorum ~s ~b of ~b alone ~b~n",
		[case Lacks of [] -> ok; _ -> critical end, length(Lacks), length(Counted), Alone])]
end,
{P, Mon} = spawn_monitor(fun() -> exit(try {said, Look()} catch exit:E when is_atom(E) -> E; _:_ -> failed end) end),
Said = receive
	{'DOWN', Mon, _, _, {said, Text}} -> Text;
	{'DOWN', Mon, _, _, Why} -> io_lib:format("unstuck quorum unknown ~s~n", [Why])
after 5000 -> exit(P, kill), "unstuck quorum unknown timed_out\n"
end,
io:format("~s", [Said]).`

// LimitsQuestion is asked of the suspect itself: is it full, or does it refuse on purpose?
//
//	answer = 20( name "=" value LF ) *( "listener=" listener LF ) "unstuck limits end" LF "ok" LF
//
// The names come in the order of the list, each once, but listener as often as there are listeners of clients, which
// may be never. Each value may be "unknown": it could not be told, in this state or within 4 s; where RabbitMQ is
// stopped that goes for alarms, connections and listeners. "none" says that this version has no such limit, or that
// there is no alarm.
//
//	node                   the Erlang node
//	rabbitmq               the version: 4.0.5
//	erlang                 the release of OTP: 27
//	state                  stopped, booting, core_started, ready or stopping
//	maintenance            regular or draining
//	handshake_timeout_ms   an integer
//	alarms                 in force on this node, joined by commas: disk, file_descriptor_limit, memory; or none
//	alarms_elsewhere       in force on other nodes, likewise (disk, memory: those block publishers here, too)
//	file_handles_used      as RabbitMQ counts what it hands out, up to 4.0; later none
//	file_handles_limit
//	sockets_used           of those the sockets of clients, up to 3.13; later none
//	sockets_limit
//	descriptors_used       of the whole process, as Linux counts; unknown where no more can be had
//	descriptors_limit      what ulimit -n says
//	processes_used         Erlang's
//	processes_limit
//	ports_used             Erlang's, among them each socket
//	ports_limit
//	connections            of AMQP, that are logged in
//	connection_max         how many of them this node takes, from 3.11 on; infinity
//	listener               PROTOCOL ADDRESS PORT STATUS CONNECTIONS MAX SUPERVISORS, parted by spaces: amqp, amqp/ssl,
//	                       ... or unknown; running, or suspended when in maintenance; the connections that it has now,
//	                       in their login included; how many each of so many supervisors takes (an integer or
//	                       infinity) before those that come are accepted and not greeted
const LimitsQuestion = `
Me = self(),
Env = fun(Key, Default) -> application:get_env(rabbit, Key, Default) end,
Alarms = fun(Local) ->
	Of = fun
		({{resource_limit, R, N}, _}) when Local -> [R || N =:= node()];
		({{resource_limit, R, N}, _}) -> [R || N =/= node()];
		({R, _}) when Local, is_atom(R) -> [R];
		(_) -> []
	end,
	case lists:usort(lists:flatmap(Of, rabbit_alarm:get_alarms())) of
		[] -> none;
		Rs -> lists:join(",", [atom_to_list(R) || R <- Rs])
	end
end,
Handles = fun(Key, Limit) ->
	case code:ensure_loaded(file_handle_cache) of
		{module, _} ->
			Info = file_handle_cache:info([Key, Limit]),
			case proplists:get_value(Limit, Info) of 0 -> none; _ -> proplists:get_value(Key, Info) end;
		_ -> none
	end
end,
Descriptors = fun() -> {ok, L} = prim_file:list_dir("/proc/" ++ os:getpid() ++ "/fd"), length(L) end,
MaxDescriptors = fun() -> lists:max([V || {max_fds, V} <- lists:flatten(erlang:system_info(check_io))]) end,
Listeners = fun() ->
	Props = fun(P) when is_map(P) -> P; (P) -> maps:from_list(P) end,
	Known = maps:from_list([{Port, atom_to_list(P)} ||
		{listener, _, P, _, _, Port, _} <- rabbit_networking:node_listeners(node())]),
	Infos = [{Ref, Props(I)} || {Ref, I} <- case ranch:info() of M when is_map(M) -> maps:to_list(M); L -> L end],
	Supers = fun(I) -> case maps:get(transport_options, I, []) of #{num_conns_sups := N} -> N; _ -> 1 end end,
	Line = fun({acceptor, IP, Port}, #{status := Status, active_connections := C, max_connections := Max} = I) ->
		lists:join(" ", [maps:get(Port, Known, "unknown"), inet:ntoa(IP) |
			[io_lib:format("~w", [V]) || V <- [Port, Status, C, Max, Supers(I)]]])
	end,
	{lines, [Line(Ref, I) || {{acceptor, _, _} = Ref, I} <- lists:sort(Infos)]}
end,
Facts = [
	{node, fun() -> atom_to_list(node()) end},
	{rabbitmq, fun() -> {ok, V} = application:get_key(rabbit, vsn), V end},
	{erlang, fun() -> erlang:system_info(otp_release) end},
	{state, fun() -> rabbit_boot_state:get() end},
	{maintenance, fun() -> rabbit_maintenance:status_local_read(node()) end},
	{handshake_timeout_ms, fun() -> Env(handshake_timeout, 10000) end},
	{alarms, fun() -> Alarms(true) end},
	{alarms_elsewhere, fun() -> Alarms(false) end},
	{file_handles_used, fun() -> Handles(total_used, total_limit) end},
	{file_handles_limit, fun() -> Handles(total_limit, total_limit) end},
	{sockets_used, fun() -> Handles(sockets_used, sockets_limit) end},
	{sockets_limit, fun() -> Handles(sockets_limit, sockets_limit) end},
	{descriptors_used, Descriptors},
	{descriptors_limit, MaxDescriptors},
	{processes_used, fun() -> erlang:system_info(process_count) end},
	{processes_limit, fun() -> erlang:system_info(process_limit) end},
	{ports_used, fun() -> erlang:system_info(port_count) end},
	{ports_limit, fun() -> erlang:system_info(port_limit) end},
	{connections, fun() -> N = ets:info(connection_created, size), true = is_integer(N), N end},
	{connection_max, fun() -> Env(connection_max, infinity) end},
	{listener, Listeners}],
Text = fun(V) when is_list(V) -> V; (V) -> io_lib:format("~w", [V]) end,
Asked = [{Name, spawn_monitor(fun() -> exit({said, try Fact() catch _:_ -> unknown end}) end)}
	|| {Name, Fact} <- Facts],
Until = erlang:monotonic_time(millisecond) + 4000,
[begin
	V = receive
		{'DOWN', Mon, _, _, {said, X}} -> X
	after max(0, Until - erlang:monotonic_time(millisecond)) -> exit(P, kill), unknown
	end,
	[io:format("~s=~s~n", [Name, L]) || L <- case V of {lines, Ls} -> Ls; _ -> [Text(V)] end]
end || {Name, {P, Mon}} <- Asked],
io:format("unstuck limits end~n").`

// ProcessesQuestion is asked of the suspect itself, twice: what do these processes do? Fill them in with EvalProcesses.
//
//	answer  = *( process LF ) "unstuck processes end" LF "ok" LF
//	process = "<0." N "." N "> " ( "gone" / "unknown" / state )
//	state   = "reductions=" N " queue=" N " status=" WORD " stack=" [ frame *( "," frame ) ]
//	frame   = MODULE ":" FUNCTION "/" ARITY
//
// There is one line for each process, in the order in which they were given. The innermost frame comes first, and at
// most eight come; the stack may be empty. Reductions count what a process does. To be looked at costs it exactly one,
// so a process that did nothing between two looks has one more at the second, and a few more only if somebody else
// looked too: a dozen for a maybe_stuck, one or so for other tools. unknown: a process that did not answer within 4 s,
// or an identifier that cannot be.
const ProcessesQuestion = `
Frame = fun({M, F, A, _}) ->
	io_lib:format("~w:~w/~w", [M, F, if is_list(A) -> length(A); true -> A end])
end,
Look = fun(P) ->
	case process_info(P, [reductions, message_queue_len, status, current_stacktrace]) of
		undefined -> "gone";
		[{_, R}, {_, Q}, {_, S}, {_, Stack}] ->
			io_lib:format("reductions=~b queue=~b status=~w stack=~s", [R, Q, S, lists:join(",", [Frame(F) || F <- Stack])])
	end
end,
Asked = [{P, spawn_monitor(fun() -> exit({said, try Look(list_to_pid(P)) catch _:_ -> "unknown" end}) end)}
	|| P <- [%s]],
Until = erlang:monotonic_time(millisecond) + 4000,
[begin
	Said = receive
		{'DOWN', Mon, _, _, {said, Text}} -> Text
	after max(0, Until - erlang:monotonic_time(millisecond)) -> exit(W, kill), "unknown"
	end,
	io:format("~s ~s~n", [P, Said])
end || {P, {W, Mon}} <- Asked],
io:format("unstuck processes end~n").`

// MaxAskedProcesses is how many processes EvalProcesses asks about: so many lines are kept of an answer.
const MaxAskedProcesses = 20

var nodeName = regexp.MustCompile(`^[A-Za-z0-9_@.:-]+$`)

// EvalQuorum gives QuorumQuestion about a node, by the name of the Erlang node, or by what is of one node of the
// cluster alone: the part before the @, the host, or the first labels of the host. A pod's name or address will do.
func EvalQuorum(node string) (string, error) {
	if !nodeName.MatchString(node) {
		return "", fmt.Errorf("ask about the quorum without node %q: that is no name of a node", node)
	}
	return fmt.Sprintf(QuorumQuestion, node), nil
}

// EvalProcesses gives ProcessesQuestion about the first MaxAskedProcesses of some processes.
func EvalProcesses(ids []probe.ProcessID) string {
	var pids []string
	for _, id := range ids[:min(len(ids), MaxAskedProcesses)] {
		pids = append(pids, fmt.Sprintf(`"<0.%d.%d>"`, uint32(id>>32), uint32(id)))
	}
	return fmt.Sprintf(ProcessesQuestion, strings.Join(pids, ", "))
}
