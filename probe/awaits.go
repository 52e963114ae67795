package probe

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// Await is what a process waits for. A process accuses its node only if it waits for that node: a restart cures
// neither a silent client, nor a limit, nor a server outside the broker.
type Await string

// What a process waits for. The zero value is unknown, and accuses nobody.
const (
	AwaitsUnknown  Await = ""
	AwaitsIdle     Await = "idle"     // nothing: it waits for work, on healthy nodes too
	AwaitsLimit    Await = "limit"    // a free file descriptor or connection
	AwaitsBackend  Await = "backend"  // an authentication backend outside the broker
	AwaitsDNS      Await = "dns"      // a name server
	AwaitsBroker   Await = "broker"   // another broker: shovel, federation
	AwaitsMetadata Await = "metadata" // the metadata store of the cluster, Mnesia or Khepri
	AwaitsLock     Await = "lock"     // a lock of the Erlang cluster
	AwaitsClient   Await = "client"   // the client that opened the connection
	AwaitsNode     Await = "node"     // other nodes: a call to a node, or the members of a replicated queue
	AwaitsDisk     Await = "disk"     // a file or the message store
	AwaitsChildren Await = "children" // a supervisor: the processes that it stops
	AwaitsWork     Await = "work"     // a channel or a queue: something else within its node
	AwaitsLogin    Await = "login"    // a connection in its login: its own node, and nothing else
)

// awaitWords say in a sentence what processes wait for.
var awaitWords = map[Await]string{
	AwaitsUnknown: "for something that is not known", AwaitsIdle: "for work",
	AwaitsLimit:   "for a free file descriptor or connection",
	AwaitsBackend: "for an authentication backend outside the broker", AwaitsDNS: "for a name server",
	AwaitsBroker: "for another broker", AwaitsMetadata: "for the metadata store of the cluster",
	AwaitsLock: "for a lock of the cluster", AwaitsClient: "for their clients", AwaitsNode: "for other nodes",
	AwaitsDisk: "for the disk", AwaitsChildren: "for processes that they stop", AwaitsWork: "in a channel or a queue",
	AwaitsLogin: "in their login, for their own node",
}

// Awaits lists every Await. If a stack fits several, the first in this order counts: what is outside the node comes
// before what is within it.
func Awaits() []Await {
	return []Await{
		AwaitsLimit, AwaitsBackend, AwaitsDNS, AwaitsBroker, AwaitsMetadata, AwaitsLock, AwaitsClient, AwaitsNode, AwaitsDisk,
		AwaitsChildren, AwaitsIdle, AwaitsWork, AwaitsLogin, AwaitsUnknown,
	}
}

func (a Await) String() string {
	if a == AwaitsUnknown {
		return "unknown"
	}
	return string(a)
}

// MarshalText gives the name, "unknown" for the zero value.
func (a Await) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote. A name that is not on the list becomes unknown.
func (a *Await) UnmarshalText(text []byte) error {
	*a = AwaitsUnknown
	for _, known := range Awaits() {
		if known.String() == string(text) {
			*a = known
		}
	}
	return nil
}

// Words say what n processes wait for, as the end of a sentence about them: "30 wait for their clients".
func (a Await) Words(n int) string {
	if n != 1 {
		return awaitWords[a]
	}
	return oneOf.Replace(awaitWords[a])
}

// oneOf turns the words of awaitWords for several processes into those for one.
var oneOf = strings.NewReplacer("their clients", "its client", "in their login, for their own node",
	"in its login, for its own node", "that they stop", "that it stops")

// Outside says whether what the process waits for is outside its node, or is the node's disk. A channel that waits
// for a queue that waits there looks like a channel that waits for a hanging queue.
func (a Await) Outside() bool {
	switch a {
	case AwaitsLimit, AwaitsBackend, AwaitsDNS, AwaitsMetadata, AwaitsLock, AwaitsNode, AwaitsDisk:
		return true
	case AwaitsUnknown, AwaitsIdle, AwaitsBroker, AwaitsClient, AwaitsChildren, AwaitsWork, AwaitsLogin:
	}
	return false
}

// Waits counts processes by what they wait for. In JSON the unknown is called "unknown".
type Waits map[Await]int

// Outside counts the processes that wait for something outside their node, or for its disk.
func (w Waits) Outside() int {
	n := 0
	for a, count := range w {
		if a.Outside() {
			n += count
		}
	}
	return n
}

// MarshalJSON writes an object of names and counts.
func (w Waits) MarshalJSON() ([]byte, error) {
	named := make(map[string]int, len(w))
	for a, n := range w {
		named[a.String()] += n
	}
	return json.Marshal(named)
}

// UnmarshalJSON reads what MarshalJSON wrote. A name that is not on the list becomes unknown.
func (w *Waits) UnmarshalJSON(data []byte) error {
	var named map[string]int
	if err := json.Unmarshal(data, &named); err != nil {
		return err
	}
	*w = make(Waits, len(named))
	for name, n := range named {
		var a Await
		_ = a.UnmarshalText([]byte(name)) // never fails
		(*w)[a] += n
	}
	return nil
}

// awaitRule says what a process waits for if its stack has a frame of this module and function anywhere. A module
// that ends in * means all modules with that beginning; an empty function means all functions.
type awaitRule struct {
	module, function string
	awaits           Await
}

// awaitRules is the table of stacks. It comes from the recordings in testdata and from the sources of RabbitMQ 3.7
// to 4.3 and of Erlang's own libraries. A stack that is not in the table is unknown.
var awaitRules = []awaitRule{
	{"file_handle_cache", "", AwaitsLimit},
	{"rabbit_networking", "setup_socket", AwaitsLimit}, // asks file_handle_cache for a descriptor (up to 3.13)
	{"ranch_conns_sup", "start_protocol", AwaitsLimit}, // an acceptor at connection_max

	{"rabbit_auth_backend_internal*", "", AwaitsUnknown}, // the broker's own, like the next
	{"rabbit_auth_backend_dummy", "", AwaitsUnknown},
	{"rabbit_auth_backend_*", "", AwaitsBackend},
	{"eldap*", "", AwaitsBackend},
	{"httpc*", "", AwaitsBackend},
	{"uaa_*", "", AwaitsBackend},
	{"oauth2_client", "", AwaitsBackend},
	{"rabbit_oauth2_*", "", AwaitsBackend},
	{"rabbit_trust_store*", "", AwaitsBackend},

	{"inet_res", "", AwaitsDNS},
	{"inet_gethost_native", "", AwaitsDNS},
	{"inet_db", "", AwaitsDNS},
	{"inet", "gethost*", AwaitsDNS},
	{"inet", "getaddr*", AwaitsDNS},
	{"rabbit_net", "tcp_host", AwaitsDNS},
	{"rabbit_net", "hostname", AwaitsDNS},
	{"rabbit_networking", "tcp_host", AwaitsDNS},

	{"amqp_*", "", AwaitsBroker}, // the Erlang client: shovel and federation
	{"rabbit_shovel*", "", AwaitsBroker},
	{"rabbit_federation*", "", AwaitsBroker},
	{"rabbit_exchange_federation*", "", AwaitsBroker},
	{"rabbit_queue_federation*", "", AwaitsBroker},

	{"mnesia*", "", AwaitsMetadata},
	{"khepri*", "", AwaitsMetadata},
	{"rabbit_khepri", "", AwaitsMetadata},
	{"rabbit_db*", "", AwaitsMetadata},
	{"rabbit_mnesia", "", AwaitsMetadata},
	{"rabbit_table", "", AwaitsMetadata},
	{"", "execute_mnesia_*", AwaitsMetadata},

	{"global", "", AwaitsLock},

	{"ssl*", "", AwaitsClient},
	{"tls_*", "", AwaitsClient},
	{"dtls_*", "", AwaitsClient},
	{"ranch", "", AwaitsClient}, // the handshake of a listener
	{"ranch_ssl", "", AwaitsClient},
	{"ranch_tcp", "", AwaitsClient},
	{"ranch_proxy*", "", AwaitsClient},
	{"rabbit_proxy_protocol*", "", AwaitsClient},
	{"prim_inet", "", AwaitsClient},
	{"prim_socket", "", AwaitsClient},
	{"gen_tcp*", "", AwaitsClient},
	{"rabbit_net", "", AwaitsClient},
	{"rabbit_writer", "", AwaitsClient},
	{"cow*", "", AwaitsClient}, // cowboy, cowlib: HTTP and web sockets
	{"rabbit_stream_reader", "", AwaitsClient},
	{"rabbit_mqtt_*", "", AwaitsClient},
	{"rabbit_stomp_*", "", AwaitsClient},
	{"rabbit_web_*", "", AwaitsClient},

	{"delegate*", "", AwaitsNode},
	{"rpc", "", AwaitsNode},
	{"erpc", "", AwaitsNode},
	{"gen", "*multi*", AwaitsNode},
	{"net_kernel", "", AwaitsNode},
	{"dist_util", "", AwaitsNode},
	{"auth", "", AwaitsNode},
	{"rabbit_nodes", "", AwaitsNode},
	{"rabbit_node_monitor", "", AwaitsNode},
	{"rabbit_mirror_queue_*", "", AwaitsNode},
	{"gm", "", AwaitsNode},
	{"ra", "", AwaitsNode},
	{"ra_server*", "", AwaitsNode},
	{"ra_leaderboard", "", AwaitsNode},
	{"rabbit_fifo*", "", AwaitsNode},
	{"rabbit_quorum_queue*", "", AwaitsNode},
	{"rabbit_stream_*", "", AwaitsNode},
	{"osiris*", "", AwaitsNode},

	{"prim_file", "", AwaitsDisk},
	{"file", "", AwaitsDisk},
	{"file_io_server", "", AwaitsDisk},
	{"disk_log*", "", AwaitsDisk},
	{"dets*", "", AwaitsDisk},
	{"ra_log*", "", AwaitsDisk},
	{"rabbit_msg_store*", "", AwaitsDisk},
	{"rabbit_queue_index", "", AwaitsDisk},
	{"rabbit_classic_queue_store*", "", AwaitsDisk},
	{"rabbit_classic_queue_index*", "", AwaitsDisk},

	{"supervisor*", "", AwaitsChildren},

	{"global_group", "global_group_check_dispatcher", AwaitsIdle},
	{"erts_code_purger", "wait_for_request", AwaitsIdle},
	{"memsup", "port_idle", AwaitsIdle},
	{"disksup", "port_idle", AwaitsIdle},
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
	awaits Await
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
	found := make(map[Await]bool, 2)
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
	for _, a := range Awaits() {
		if a != AwaitsUnknown && found[a] {
			r.awaits = a
			return r
		}
	}
	switch {
	case r.reader && allOwn:
		r.awaits = AwaitsLogin
	case r.work:
		r.awaits = AwaitsWork
	}
	return r
}

func awaitsIn(module, function string) Await {
	for _, rule := range awaitRules {
		if (rule.module == "" || fits(rule.module, module)) && (rule.function == "" || fits(rule.function, function)) {
			return rule.awaits
		}
	}
	return AwaitsUnknown
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
