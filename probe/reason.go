package probe

// Reason says what a probe found. Reasons are a closed list. A reason is also the metric label, so free text never
// goes here. The zero value is no finding, and its Status is Unknown.
type Reason string

// The reasons. Each has one Status for good; docs/verdicts.md has a line for each.
const (
	OK Reason = "ok"

	AwaitStart        Reason = "await_start"
	AwaitTune         Reason = "await_tune"
	AwaitOpen         Reason = "await_open"
	AwaitChannel      Reason = "await_channel"
	AwaitDeclare      Reason = "await_declare"
	AwaitConfirm      Reason = "await_confirm"
	AwaitDelivery     Reason = "await_delivery"
	ToolsUnresponsive Reason = "tools_unresponsive"
	ProcessesStuck    Reason = "processes_stuck"
	Silent            Reason = "silent"

	Refused        Reason = "refused"
	AccessRefused  Reason = "access_refused"
	NotAllowed     Reason = "not_allowed"
	VhostDown      Reason = "vhost_down"
	InternalError  Reason = "internal_error"
	NoMetadata     Reason = "no_metadata_quorum"
	Blocked        Reason = "blocked"
	Slow           Reason = "slow"
	ClosedEarly    Reason = "closed_early"
	Protocol       Reason = "protocol"
	TLS            Reason = "tls"
	LogSilent      Reason = "log_silent"
	Full           Reason = "full"
	BackendAwaited Reason = "awaits_backend"

	Unreachable     Reason = "unreachable"
	ExecFailed      Reason = "exec_failed"
	Cancelled       Reason = "cancelled"
	NotRun          Reason = "not_run"
	MetadataAwaited Reason = "awaits_metadata"
	WorkWaits       Reason = "work_waits"
	ProcessesMove   Reason = "processes_move"
)

// Verdict is what we say about a Reason: its line in docs/verdicts.md, and the advice of `unstuck probe`.
type Verdict struct {
	Reason Reason
	Status Status
	Saw    string // what the probe saw
	Means  string // what that means
	Advice string // what a person should do
}

var verdicts = []Verdict{
	{OK, Healthy, "Everything that was asked for came.", "The node accepts logins.", "Nothing."},

	{
		AwaitStart, Stuck, "TCP (and TLS) accepted, then no `connection.start` until our deadline.",
		"The process is frozen, or wedged before it greets: a live one greets within milliseconds. Or something listens " +
			"there that is no broker.",
		"Check the port. Confirm with `rabbitmq-diagnostics ping` next to the node (exit code 69 after 14 s or more), then " +
			"restart it (on Kubernetes: delete the pod).",
	},
	{
		AwaitTune, Stuck, "Greeted, credentials sent, then silence beyond the broker's own handshake timeout.",
		"Login is wedged, or it waits for an authentication backend that does not answer (LDAP, or HTTP, which has 15 s by " +
			"default).",
		"If logins ask such a backend, look at that first. Otherwise confirm with `rabbitmq-diagnostics maybe_stuck` next " +
			"to the node, then restart it (on Kubernetes: delete the pod).",
	},
	{
		AwaitOpen, Stuck, "Authenticated, then no answer to `connection.open`.", "Opening the vhost hangs on this node.",
		"Confirm with `maybe_stuck`; if only this node does it, restart it (on Kubernetes: delete the pod).",
	},
	{
		AwaitChannel, Stuck, "Logged in, then no answer to `channel.open`.", "The node cannot start channels.",
		"Confirm with `maybe_stuck`; if only this node does it, restart it (on Kubernetes: delete the pod).",
	},
	{
		AwaitDeclare, Stuck, "Logged in, then no answer to `queue.declare`.",
		"Either this node's queue processes hang or, if every node does it, the cluster's metadata is locked or has no " +
			"majority.",
		"Look at the other nodes first. Everywhere at once: find who holds the lock (Mnesia) or which members are missing " +
			"(Khepri), do not restart. Here alone: restart the node (on Kubernetes: delete the pod).",
	},
	{
		AwaitConfirm, Stuck, "A message was published and never confirmed.", "The queue's or the channel's process hangs.",
		"Confirm with `maybe_stuck`; if only this node does it, restart it (on Kubernetes: delete the pod).",
	},
	{
		AwaitDelivery, Stuck, "A message was confirmed and never delivered.", "The queue's process hangs.",
		"Confirm with `maybe_stuck`; if only this node does it, restart it (on Kubernetes: delete the pod).",
	},
	{
		ToolsUnresponsive, Stuck, "The node's own command-line tool ran next to it and could not reach the node.",
		"With a login that hangs or cannot connect: the process is frozen. With a refused login: the node is down or " +
			"booting.", "With a hanging login: restart the node (on Kubernetes: delete the pod). Otherwise look at its log.",
	},
	{
		ProcessesStuck, Stuck,
		"`maybe_stuck` shows connections that hang in their login with a message waiting, for nothing outside their node.",
		"Logins do not get on within the node.",
		"With a hanging login: restart the node (on Kubernetes: delete the pod). Alone: read the stacks in the result.",
	},
	{
		Silent, Stuck,
		"No line for longer than allowed in the log of an application's pod, which writes all the time when it is healthy.",
		"It does nothing any more; or its lines get lost on their way.",
		"Ask it something. If it does not answer, delete the pod; if it does, look at the container runtime's log driver.",
	},

	{
		Refused, Faulty, "Connection refused.",
		"Nothing listens there: the wrong port, a dead process, or a node that boots, drains, was stopped (`stop_app`) or " +
			"paused by pause_minority.",
		"Check the address and port. Look at the node's log; wait for the boot, or run `rabbitmqctl start_app`. A restart " +
			"does not help a node that drains or waits for its peers.",
	},
	{
		AccessRefused, Faulty, "The broker refused the user name or password (403).",
		"Our credentials are wrong or were rotated; or the authentication backend (LDAP, HTTP) refuses them or is down.",
		"Compare the secret with the broker's user; if logins ask a backend, look at that and at the node's log. Never a " +
			"reason to delete.",
	},
	{
		NotAllowed, Faulty,
		"The broker closed with 530 (no such vhost, no permission on it, a connection limit), or refused a queue or an " +
			"exchange with 403.", "Configuration, not health.",
		"Read the detail: create the vhost, grant the permission, or raise the limit.",
	},
	{
		VhostDown, Faulty, "The broker closed with 541 or 320: the vhost is down on this node.",
		"The vhost's supervisor or message store failed there.",
		"Run `rabbitmqctl restart_vhost -p VHOST`; read the node's log.",
	},
	{
		InternalError, Faulty, "The broker closed with 541 (an internal error), and not over a vhost or its metadata.",
		"A process crashed in the broker over what we asked, or could not reach another node.",
		"Read the detail and the node's log at that time.",
	},
	{
		NoMetadata, Faulty,
		"The broker closed with 541: an operation on the metadata store (Khepri) timed out or has no majority.",
		"The cluster's metadata store has no majority, or is too slow. Neither a restart of this node nor `restart_vhost` " +
			"helps.",
		"Bring the other nodes back: `rabbitmqctl cluster_status` and `rabbitmq-diagnostics metadata_store_status` tell " +
			"which are missing.",
	},
	{
		Blocked, Faulty, "The broker answered a publish with `connection.blocked`.",
		"A memory or disk alarm is on somewhere in the cluster.",
		"Free memory or disk, or consume messages. A restart loses what is in memory and cures nothing.",
	},
	{
		Slow, Faulty, "The other side closed the connection at the broker's handshake timeout.",
		"The node is alive but too slow to finish a login; or a proxy between us has given up at about that time.",
		"Look at the node's CPU, disk and run queue, and at its authentication backend if it has one. If there is a proxy, " +
			"look whether it reaches the node.",
	},
	{
		ClosedEarly, Faulty,
		"The connection was closed or reset before the broker's handshake timeout, with a code that is none of the others' " +
			"or without a word.", "A proxy, a wrong port, TLS spoken on one side only, or a node that is going down.",
		"Check the address and port; look at the node's log.",
	},
	{
		Protocol, Faulty, "Something answered that was not AMQP 0-9-1, or did not take ours for it.",
		"A wrong port, another protocol version, or something between us that altered what we sent.",
		"Check the address, the port and the scheme (amqp or amqps). If the detail says so, ask whether the port expects " +
			"the PROXY protocol or a proxy adds it.",
	},
	{
		TLS, Faulty, "The TLS handshake failed.",
		"A certificate, a name or a version does not fit, or the port does not speak TLS (amqps where it should be amqp).",
		"Read the detail; check the port and the scheme, the CA file, the server name and the validity of the certificates.",
	},
	{
		LogSilent, Faulty, "No line in the log for longer than allowed, though logins succeed.",
		"Lines get lost on their way, or whatever should log does not run. Alone it proves nothing about the broker.",
		"Look at the container runtime's log driver and at the collector that reads standard output.",
	},
	{
		Full, Faulty, "Connections wait for a free file descriptor, or the acceptors for a free connection.",
		"The node has as many connections as it may have, and greets nobody else on purpose.",
		"Do not restart it: the clients come back. Raise its `ulimit -n` or `connection_max`, or find out which client " +
			"opens so many.",
	},
	{
		BackendAwaited, Faulty,
		"Logins wait for an authentication backend outside the broker (LDAP, HTTP, OAuth 2), or for a name server.",
		"The backend hangs or is slow, or this node cannot reach it.",
		"Look at the backend, and at the way from this node to it. A restart of the node cures neither.",
	},

	{
		Unreachable, Unknown, "Connecting timed out, or there was no route or no such name.",
		"A wrong name, the network or the host, or a node frozen for so long that its accept queue is full.",
		"No such name: check the address. Otherwise check the host and the network between (on Kubernetes: the pod's IP " +
			"and network policies). If `rabbitmq-diagnostics ping` next to the node exits with 69 after 14 s or more, it is " +
			"frozen.",
	},
	{
		ExecFailed, Unknown, "The command could not be run, or what came back was not its output.",
		"Our own fault or the API server's; says nothing about the broker.",
		"Check the right to exec, the container's name, and the API server.",
	},
	{
		Cancelled, Unknown, "We stopped before the answer could tell.",
		"Shutdown, our own deadline before the broker's, or our process was stalled.",
		"Nothing; if it persists, raise the timeout above the broker's handshake_timeout and look at our own CPU.",
	},
	{
		MetadataAwaited, Unknown, "Processes wait for the metadata store of the cluster, or for a lock of it.",
		"The store has no majority, or some node keeps it locked: this node or another.",
		"Look at the other nodes first. Bring back those that are down; find out who holds the lock.",
	},
	{
		WorkWaits, Unknown, "Channels or queues wait in a call with a message waiting.",
		"Something that they wait for does not answer, on this node or another. It says nothing about logins.",
		"See whether a round trip through this node hangs. Read the stacks in the result.",
	},
	{
		ProcessesMove, Unknown,
		"Two looks by `maybe_stuck` show connections that hang in their login, but not the same ones in the same place, or " +
			"too few of them.", "Logins get on, if slowly: slow, not stuck. Or they began to hang between the two looks.",
		"Run `maybe_stuck` once more, and compare with the later look (`unstuck diagnose`). Look at the node's CPU, disk " +
			"and run queue.",
	},
	{
		NotRun, Unknown, "The probe was not run, or failed for a reason of ours.", "Says nothing about the broker.",
		"Read the detail.",
	},
}

var verdictOf = func() map[Reason]Verdict {
	m := make(map[Reason]Verdict, len(verdicts))
	for _, v := range verdicts {
		m[v.Reason] = v
	}
	return m
}()

// Verdicts lists every Reason with its Status and its words, in the order of docs/verdicts.md.
func Verdicts() []Verdict { return append([]Verdict(nil), verdicts...) }

// Verdict gives the words for r, or those of NotRun if r is not on the list.
func (r Reason) Verdict() Verdict {
	if v, ok := verdictOf[r]; ok {
		return v
	}
	return verdictOf[NotRun]
}

// Status gives the health that r stands for, and Unknown if r is not on the list.
func (r Reason) Status() Status { return verdictOf[r].Status }
