package stuck

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
)

// awaitRule says what a process waits for if its stack has a frame of this module and function anywhere. A module
// that ends in * means all modules with that beginning; an empty function means all functions.
type awaitRule struct {
	module, function string
	awaits           probe.Await
}

// awaitRules is the table of stacks. It comes from the recordings in testdata and from the sources of RabbitMQ 3.7
// to 4.3 and of Erlang's own libraries. A stack that is not in the table is unknown.
var awaitRules = []awaitRule{
	{"file_handle_cache", "", probe.AwaitsLimit},
	{"rabbit_networking", "setup_socket", probe.AwaitsLimit}, // asks file_handle_cache for a descriptor (up to 3.13)
	{"ranch_conns_sup", "start_protocol", probe.AwaitsLimit}, // an acceptor at connection_max

	{"rabbit_auth_backend_internal*", "", probe.AwaitsUnknown}, // the broker's own, like the next
	{"rabbit_auth_backend_dummy", "", probe.AwaitsUnknown},
	{"rabbit_auth_backend_*", "", probe.AwaitsBackend},
	{"eldap*", "", probe.AwaitsBackend},
	{"httpc*", "", probe.AwaitsBackend},
	{"uaa_*", "", probe.AwaitsBackend},
	{"oauth2_client", "", probe.AwaitsBackend},
	{"rabbit_oauth2_*", "", probe.AwaitsBackend},
	{"rabbit_trust_store*", "", probe.AwaitsBackend},

	{"inet_res", "", probe.AwaitsDNS},
	{"inet_gethost_native", "", probe.AwaitsDNS},
	{"inet_db", "", probe.AwaitsDNS},
	{"inet", "gethost*", probe.AwaitsDNS},
	{"inet", "getaddr*", probe.AwaitsDNS},
	{"rabbit_net", "tcp_host", probe.AwaitsDNS},
	{"rabbit_net", "hostname", probe.AwaitsDNS},
	{"rabbit_networking", "tcp_host", probe.AwaitsDNS},

	{"amqp_*", "", probe.AwaitsBroker}, // the Erlang client: shovel and federation
	{"rabbit_shovel*", "", probe.AwaitsBroker},
	{"rabbit_federation*", "", probe.AwaitsBroker},
	{"rabbit_exchange_federation*", "", probe.AwaitsBroker},
	{"rabbit_queue_federation*", "", probe.AwaitsBroker},

	{"mnesia*", "", probe.AwaitsMetadata},
	{"khepri*", "", probe.AwaitsMetadata},
	{"rabbit_khepri", "", probe.AwaitsMetadata},
	{"rabbit_db*", "", probe.AwaitsMetadata},
	{"rabbit_mnesia", "", probe.AwaitsMetadata},
	{"rabbit_table", "", probe.AwaitsMetadata},
	{"", "execute_mnesia_*", probe.AwaitsMetadata},

	{"global", "", probe.AwaitsLock},

	{"ssl*", "", probe.AwaitsClient},
	{"tls_*", "", probe.AwaitsClient},
	{"dtls_*", "", probe.AwaitsClient},
	{"ranch", "", probe.AwaitsClient}, // the handshake of a listener
	{"ranch_ssl", "", probe.AwaitsClient},
	{"ranch_tcp", "", probe.AwaitsClient},
	{"ranch_proxy*", "", probe.AwaitsClient},
	{"rabbit_proxy_protocol*", "", probe.AwaitsClient},
	{"prim_inet", "", probe.AwaitsClient},
	{"prim_socket", "", probe.AwaitsClient},
	{"gen_tcp*", "", probe.AwaitsClient},
	{"rabbit_net", "", probe.AwaitsClient},
	{"rabbit_writer", "", probe.AwaitsClient},
	{"cow*", "", probe.AwaitsClient}, // cowboy, cowlib: HTTP and web sockets
	{"rabbit_stream_reader", "", probe.AwaitsClient},
	{"rabbit_mqtt_*", "", probe.AwaitsClient},
	{"rabbit_stomp_*", "", probe.AwaitsClient},
	{"rabbit_web_*", "", probe.AwaitsClient},

	{"delegate*", "", probe.AwaitsNode},
	{"rpc", "", probe.AwaitsNode},
	{"erpc", "", probe.AwaitsNode},
	{"gen", "*multi*", probe.AwaitsNode},
	{"net_kernel", "", probe.AwaitsNode},
	{"dist_util", "", probe.AwaitsNode},
	{"auth", "", probe.AwaitsNode},
	{"rabbit_nodes", "", probe.AwaitsNode},
	{"rabbit_node_monitor", "", probe.AwaitsNode},
	{"rabbit_mirror_queue_*", "", probe.AwaitsNode},
	{"gm", "", probe.AwaitsNode},
	{"ra", "", probe.AwaitsNode},
	{"ra_server*", "", probe.AwaitsNode},
	{"ra_leaderboard", "", probe.AwaitsNode},
	{"rabbit_fifo*", "", probe.AwaitsNode},
	{"rabbit_quorum_queue*", "", probe.AwaitsNode},
	{"rabbit_stream_*", "", probe.AwaitsNode},
	{"osiris*", "", probe.AwaitsNode},

	{"prim_file", "", probe.AwaitsDisk},
	{"file", "", probe.AwaitsDisk},
	{"file_io_server", "", probe.AwaitsDisk},
	{"disk_log*", "", probe.AwaitsDisk},
	{"dets*", "", probe.AwaitsDisk},
	{"ra_log*", "", probe.AwaitsDisk},
	{"rabbit_msg_store*", "", probe.AwaitsDisk},
	{"rabbit_queue_index", "", probe.AwaitsDisk},
	{"rabbit_classic_queue_store*", "", probe.AwaitsDisk},
	{"rabbit_classic_queue_index*", "", probe.AwaitsDisk},

	{"supervisor*", "", probe.AwaitsChildren},

	{"global_group", "global_group_check_dispatcher", probe.AwaitsIdle},
	{"erts_code_purger", "wait_for_request", probe.AwaitsIdle},
	{"memsup", "port_idle", probe.AwaitsIdle},
	{"disksup", "port_idle", probe.AwaitsIdle},
}

// ownLogin lists the modules in which a connection in its login is within its own node and waits for nothing
// outside it. If all frames of a stack are of these modules, the login itself has stopped there. With any other
// frame it is unknown what the connection waits for.
var ownLogin = []string{
	"rabbit_reader", "rabbit_auth_mechanism_*", "rabbit_access_control", "rabbit_auth_backend_internal*",
	"rabbit_auth_backend_dummy",
	"rabbit_networking", "rabbit_vhost*", "rabbit_connection_*", "rabbit_alarm", "rabbit_event", "rabbit_core_metrics",
	"rabbit_log*", "rabbit_logger*", "logger*", "lager*", "rabbit_misc", "rabbit_types", "rabbit_heartbeat",
	"rabbit_password*",
	"rabbit_ssl", "rabbit_cert_info", "rabbit_data_coercion", "pg_local", "rabbit_pg_local", "credit_flow",
	"rabbit_binary_parser",
	"gen", "gen_server", "gen_server2", "gen_event", "gen_statem", "proc_lib", "timer", "lists", "maps", "erlang", "ets",
	"application",
	"application_controller", "sets", "queue", "string", "binary", "crypto", "persistent_term", "counters", "worker_pool",
	"io_lib*",
}

// role says what kind of process a stack belongs to, and what the process waits for.
type role struct {
	reader bool // a connection in its login
	work   bool // a channel, or a queue's process, in the midst of a call
	awaits probe.Await
}

// roleOf reads the role from the frames of a stack that maybe_stuck calls suspicious. maybe_stuck leaves out idle
// readers, channels and queues.
//
// A reader has frames of rabbit_reader in its login and for as long as it lives, so a list of names tells the
// functions that it runs after its login. Erlang shows only the eight innermost frames. A login that hangs deep
// down, for example in an authentication backend's call to a database, no longer shows the reader. The functions of
// the mechanisms and backends, which only a login calls, show that it is one.
func roleOf(stack []byte) role {
	var r role
	inReader, afterLogin, allOwn := false, false, true
	found := make(map[probe.Await]bool, 2)
	for len(stack) > 0 {
		frame, rest, _ := bytes.Cut(stack, []byte("\n"))
		stack = rest
		module, function, _ := strings.Cut(string(frame), ":")
		function, _, _ = strings.Cut(function, "/")
		switch {
		case module == "rabbit_reader":
			inReader = true
			afterLogin = afterLogin || afterLoginFunctions[function]
		case strings.HasPrefix(module, "rabbit_auth_mechanism_"):
			r.reader = true
		case module == "rabbit_access_control", strings.HasPrefix(module, "rabbit_auth_backend_"):
			r.reader = r.reader || strings.Contains(function, "_login")
		case module == "rabbit_channel", module == "rabbit_amqqueue_process":
			r.work = true
		}
		found[awaitsIn(module, function)] = true
		allOwn = allOwn && slices.ContainsFunc(ownLogin, func(own string) bool { return fits(own, module) })
	}
	r.reader = (r.reader || inReader && !afterLogin) && !r.work
	for _, a := range probe.Awaits() {
		if a != probe.AwaitsUnknown && found[a] {
			r.awaits = a
			return r
		}
	}
	switch {
	case r.reader && allOwn:
		r.awaits = probe.AwaitsLogin
	case r.work:
		r.awaits = probe.AwaitsWork
	}
	return r
}

func awaitsIn(module, function string) probe.Await {
	for _, rule := range awaitRules {
		if (rule.module == "" || fits(rule.module, module)) && (rule.function == "" || fits(rule.function, function)) {
			return rule.awaits
		}
	}
	return probe.AwaitsUnknown
}

// fits says whether the name fits the pattern, which is one of package path. A name with a slash fits no star, and
// no name of Erlang's has one.
func fits(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// afterLoginFunctions lists the functions of rabbit_reader, 3.7 to 4.3, in which a reader can wait after its login:
// it opens a channel, closes down, or tells its client something.
var afterLoginFunctions = map[string]bool{
	"process_frame": true, "create_channel": true, "channel_cleanup": true, "handle_other": true,
	"handle_dependent_exit": true, "handle_exception": true, "terminate_channels": true,
	"wait_for_channel_termination": true, "maybe_close": true, "close_connection": true,
	"clean_up_exclusive_queues": true, "clean_up_all_channels": true, "control_throttle": true,
	"send_blocked": true, "send_unblocked": true, "emit_stats": true, "maybe_emit_stats": true,
}
