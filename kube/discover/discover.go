// Package discover finds brokers in a Kubernetes cluster: the RabbitmqCluster resources of the RabbitMQ cluster
// operator, and StatefulSets with a label of ours. What a resource says is read by pure functions; a Watcher keeps the
// resources up to date, and reads one afresh right before one of its pods is deleted.
//
// What cannot be read is a Refusal with one line for people, and costs nothing else.
package discover

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cjworkbench/unstuck/target"
)

// What people write on a resource. Each but Label is an annotation; those behind Mode are read on a StatefulSet alone,
// which has no other place for them.
const (
	Prefix = "unstuck.cjworkbench.org/"

	Label = Prefix + "discover" // of a StatefulSet, with the value true
	Mode  = Prefix + "mode"     // observe, remediate or ignore

	Container   = Prefix + "container"    // in which RabbitMQ runs
	Port        = Prefix + "port"         // of the AMQP listener
	SecretName  = Prefix + "secret"       // in which the password is
	UsernameKey = Prefix + "username-key" // of that Secret; default username
	PasswordKey = Prefix + "password-key" // of that Secret; default password
	Username    = Prefix + "username"     // in the place of a key
	CASecret    = Prefix + "ca-secret"    // with ca.crt, for a broker with TLS
)

// Asks is what a resource asks for by its annotation.
type Asks string

// Nothing, or one of the modes. What asks to be ignored is a Refusal.
const (
	AsksNothing   Asks = ""
	AsksObserve   Asks = "observe"
	AsksRemediate Asks = "remediate"
)

// Found is a broker as a resource describes it.
type Found struct {
	Source target.Source
	UID    string // of the resource
	Name   string // of the broker
	Asks   Asks

	Selector  string            // of its pods, in the namespace of the resource
	Labels    map[string]string // that its pods have for certain
	Container string
	Port      int

	TLS *TLS // nil: plain TCP will do
	// Secret is where the user and the password are; NoSecret, if it names none, is why.
	Secret   Secret
	NoSecret string

	Replicas          int           // how many nodes there should be, at least 1
	Grace             time.Duration // that its pods get by themselves; 0: it does not say
	SkipPreStopChecks bool          // the operator's hook knows the label by that name

	Notes []string // what is wrong with it all the same, a line each
}

// TLS is how a broker is reached by TLS.
type TLS struct {
	Required   bool   // it has no other listener
	CASecret   string // in the resource's namespace, with ca.crt; empty: none is named
	ServerName string // that its certificates are for; empty: it is not known
}

// Secret names a Secret in the resource's namespace.
type Secret struct {
	Name        string
	UsernameKey string // empty: the user is Username
	PasswordKey string
	Username    string
}

// Refusal is a resource that no broker is made of.
type Refusal struct {
	Source  target.Source
	UID     string
	Name    string // that the broker would have
	Ignored bool   // as its author wants it, or because there is nothing of it
	Why     string // one line, for people
}

// Error says what was refused, and why.
func (r *Refusal) Error() string { return r.Source.String() + ": " + r.Why }

// Read reads a resource of one of the two kinds: either it is a broker, or the refusal says why not.
func Read(o *unstructured.Unstructured) (Found, *Refusal) {
	source := target.Source{Kind: target.SourceKind(o.GetKind()), Namespace: o.GetNamespace(), Name: o.GetName()}
	f := Found{Source: source, UID: string(o.GetUID()), Name: nameOf(source.Namespace, source.Name)}
	refused := func(ignored bool, format string, args ...any) (Found, *Refusal) {
		why := fmt.Sprintf(format, args...)
		return Found{}, &Refusal{Source: source, UID: f.UID, Name: f.Name, Ignored: ignored, Why: why}
	}
	if !o.GetDeletionTimestamp().IsZero() {
		return refused(true, "it is being deleted")
	}
	switch mode := o.GetAnnotations()[Mode]; mode {
	case "":
	case "ignore":
		return refused(true, "its annotation %s says ignore", Mode)
	case string(AsksObserve), string(AsksRemediate):
		f.Asks = Asks(mode)
	default:
		f.Asks = AsksObserve
		f.Notes = append(f.Notes, fmt.Sprintf("its annotation %s is %s, so it is observed: want observe, remediate or ignore",
			Mode, short(mode)))
	}
	var err error
	switch source.Kind {
	case target.FromRabbitmqCluster:
		err = readCluster(o, &f)
	case target.FromStatefulSet:
		err = readStatefulSet(o, &f)
	case target.FromConfiguration:
		fallthrough
	default:
		err = fmt.Errorf("it is a %s: want a RabbitmqCluster or a StatefulSet", short(o.GetKind()))
	}
	switch {
	case errors.Is(err, errNoReplicas):
		return refused(true, "%v", err)
	case err != nil:
		return refused(false, "%v", err)
	}
	return f, nil
}

// errNoReplicas is why there is nothing to watch.
var errNoReplicas = errors.New("it has no replicas")

// longestName is how long the name of a broker may be.
const longestName = 63

// nameOf makes a broker's name, which the API, the metrics and the records know it by: NAMESPACE-NAME. If that does
// not do for a name, a hash of it makes it one.
func nameOf(namespace, name string) string {
	whole := namespace + "-" + name
	fit := strings.ReplaceAll(whole, ".", "-")
	if fit == whole && len(fit) <= longestName {
		return fit
	}
	sum := sha256.Sum256([]byte(namespace + "/" + name))
	const digits = 8
	if most := longestName - digits - 1; len(fit) > most {
		fit = fit[:most]
	}
	return strings.TrimRight(fit, "-") + "-" + hex.EncodeToString(sum[:])[:digits]
}

// into reads a part of an object into a value, and says in people's words which field has what type in the place of
// which. It quotes no value: it may be a secret that went astray.
func into(o map[string]any, v any) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	err = json.Unmarshal(data, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		got, _, _ := strings.Cut(wrong.Value, " ")
		return fmt.Errorf("%s is a %s: want %s", wrong.Field, got, wanted(wrong.Type.Kind().String()))
	}
	if err != nil {
		return errors.New("a field of it has a value that it cannot have")
	}
	return nil
}

// wanted says what kind of value a field has.
func wanted(kind string) string {
	switch kind {
	case "int", "int32", "int64":
		return "a whole number"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	case "slice":
		return "a list"
	}
	return "keys and values"
}

// short quotes what people wrote, cut off where nobody would read on.
func short(s string) string {
	const most = 40
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
