package probe

// Kind names a kind of probe. It is also the metric label.
type Kind string

// The kinds of probes. The table below has a row for each.
const (
	Login      Kind = "login"
	Roundtrip  Kind = "roundtrip"
	MaybeStuck Kind = "maybe_stuck"
	LogAge     Kind = "log"
)

// Role is what the results of a kind of probe count as. The zero value counts for nothing.
type Role uint8

// The roles.
const (
	Information   Role = iota // people see it; by itself it decides nothing
	Liveness                  // whether the node is healthy: enough failures make it suspect
	Work                      // whether it works once a client has logged in: enough failures make it suspect, too
	Corroboration             // the second evidence, which must agree before a node is deleted
)

var roleNames = [...]string{
	Information: "information", Liveness: "liveness", Work: "work", Corroboration: "corroboration",
}

func (r Role) String() string { return roleNames[r] }

// KindRow is what we say about a Kind: its line in docs/verdicts.md. A node of a broker and a pod of an application
// have different roles for the same kind: an application has its log alone.
type KindRow struct {
	Kind  Kind
	Role  Role   // for a broker
	OfApp Role   // for an application; Information: the same as for a broker, or no application has this probe
	Does  string // what the probe does
	OK    string // what its OK means, if that is not what the verdict of OK says
}

var kinds = []KindRow{
	{Login, Liveness, Information, "It logs in over AMQP up to `connection.open-ok`, then closes politely.", ""},
	{Roundtrip, Work, Information, "It logs in, and sends a message through a queue of its own.", ""},
	{
		MaybeStuck, Corroboration, Information, "It runs `rabbitmq-diagnostics maybe_stuck` next to the node.",
		"No process is stuck, as far as this shows.",
	},
	{LogAge, Information, Liveness, "It looks how long the log has been silent.", "Its log tells of no trouble."},
}

// KindRows lists every Kind with its row, in the order of docs/verdicts.md.
func KindRows() []KindRow { return append([]KindRow(nil), kinds...) }

// Kinds lists every Kind.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i := range kinds {
		all[i] = kinds[i].Kind
	}
	return all
}

// Row gives the row of k, or one that counts for nothing if k is not on the list.
func (k Kind) Row() KindRow {
	for i := range kinds {
		if kinds[i].Kind == k {
			return kinds[i]
		}
	}
	return KindRow{Kind: k}
}

// Role is what results of k count as for a broker.
func (k Kind) Role() Role { return k.Row().Role }
