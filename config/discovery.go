package config

import (
	"regexp"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// MaxBrokers is how many brokers there may be, those that are found included.
const MaxBrokers = maxBrokers

// Discovery says where brokers are looked for in Kubernetes, and what holds for those that are found.
type Discovery struct {
	Namespaces    []string // empty: all of them, which AllNamespaces asks for by name
	AllNamespaces bool

	RabbitmqClusters bool // find the resources of the RabbitMQ cluster operator
	StatefulSets     bool // find the StatefulSets that are labelled for it

	// MaxMode is the most that an annotation of a resource can ask for.
	MaxMode decide.Mode
	// Broker is what holds for each broker that is found: its Policy.Mode where no annotation says otherwise. Its
	// credentials and its TLS, where there are any, win over those that the resource names. It has no name and no pods.
	Broker Broker
}

// HasCredentials says whether the configuration names the credentials for the brokers that are found.
func (d *Discovery) HasCredentials() bool {
	b := d.Broker
	return b.Secret != nil || b.PasswordFile != "" || b.TokenFile != "" || b.AuthMechanism == External
}

// New gives a broker of its own with what holds for each that is found.
func (d *Discovery) New() Broker { return d.Broker.clone() }

// discovery reads the section of that name over what all brokers share; nil if there is none.
func (s *section) discovery(shared Broker) *Discovery {
	_, there := s.values["discovery"]
	found := Discovery{RabbitmqClusters: true, StatefulSets: true, Broker: shared}
	b := &found.Broker
	// A resource names its own user and its own TLS: what other brokers share is another matter. And that they may be
	// remediated says nothing of brokers that nobody has named.
	b.AuthMechanism, b.Username, b.UsernameFile, b.PasswordFile, b.TokenFile = Plain, "", "", "", ""
	b.Secret, b.TLS = nil, nil
	b.Policy.Mode = decide.Observe

	sub := s.sub("discovery")
	sub.texts("namespaces", none, "namespaces", wantBroker, brokerName.MatchString, &found.Namespaces)
	sub.truth("all_namespaces", &found.AllNamespaces)
	sub.truth("rabbitmq_clusters", &found.RabbitmqClusters)
	sub.truth("stateful_sets", &found.StatefulSets)
	sub.mode(&b.Policy.Mode)
	found.MaxMode = b.Policy.Mode
	sub.oneOf("max_mode", none, []string{"observe", "remediate"}, func(v string) {
		found.MaxMode = map[string]decide.Mode{"remediate": decide.Remediate}[v]
	})
	if s.listen == nil {
		forAll := sub.sub("defaults")
		forAll.shared(b)
		forAll.end()
		b.inTimeZone()
	} else {
		s.listen(sub.key("defaults"), none, nil) // its keys are those of a broker
	}
	sub.end()
	if !there {
		return nil
	}
	return &found
}

var discoveryPrefix = regexp.MustCompile(`^discovery\.defaults\.`)

// checkDiscovery notes what does not fit together in the section.
func (d *decoder) checkDiscovery(found *Discovery) {
	if found == nil {
		return
	}
	key := func(k string) string { return "discovery." + k }
	switch {
	case found.AllNamespaces && len(found.Namespaces) > 0:
		d.problem(key("all_namespaces"), "there are namespaces too: want one of them")
	case !found.AllNamespaces && len(found.Namespaces) == 0 && !d.wrong(key("namespaces")):
		d.problem(key("namespaces"), "missing: want a list of namespaces, or all_namespaces: true")
	}
	seen := make(map[string]bool)
	for _, n := range found.Namespaces {
		if seen[n] {
			d.problem(key("namespaces"), "%s comes twice: want it once", quote(n))
		}
		seen[n] = true
	}
	if !found.RabbitmqClusters && !found.StatefulSets {
		d.problem("discovery", "rabbitmq_clusters and stateful_sets are both false: want one of them to be looked for")
	}
	b := found.Broker
	if b.Policy.Mode == decide.Remediate && found.MaxMode == decide.Observe {
		d.problem(key("max_mode"),
			"observe: want remediate, for the mode is: without an annotation it would be more than with one")
	}
	named := b.Username != "" || b.UsernameFile != "" || b.Secret != nil && b.Secret.UsernameKey != ""
	needed := b.AuthMechanism == Plain && b.TokenFile == ""
	switch {
	case found.HasCredentials() && needed && !named:
		d.problem(key("defaults.username"),
			"missing: want %s, here or in the secret, for the password is not the resource's", wantUsername)
	case named && !found.HasCredentials():
		d.problem(key("defaults.password_file"),
			"missing: want %s, or a secret, for the user is not the resource's", wantFile)
	}
	at := func(keys ...string) string { return key("defaults." + joined(keys)) }
	d.checkTLS(at, b)
	d.checkProbes(at, b)
	d.checkEvidence(at, b)
	d.checkPolicy(func(k string) string { return at(k) }, b.Policy)
}

// Claimant gives the name of the broker or the application of the configuration whose selector fits pods with these
// labels; empty: there is none.
func (c *Config) Claimant(namespace string, pod map[string]string) string {
	fits := func(p Pods) bool {
		selector, err := labels.Parse(p.Selector)
		return err == nil && p.Namespace == namespace && selector.Matches(labels.Set(pod))
	}
	for _, b := range c.Brokers {
		if b.Pods != nil && fits(*b.Pods) {
			return b.Name
		}
	}
	for _, a := range c.Apps {
		if fits(a.Pods) {
			return a.Name
		}
	}
	return ""
}
