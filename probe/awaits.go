package probe

import (
	"encoding/json"
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
