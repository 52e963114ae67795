package config

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// Kubernetes says how to reach the cluster whose pods are watched, and where our own state is kept in it.
type Kubernetes struct {
	Kubeconfig string // a file; empty: the service account of the pod that we run in
	Context    string // of the kubeconfig; empty: its current one
	Namespace  string // of our own state; empty: that of the service account or of the context
	Lease      string // the name of the lease that decides which replica acts
	QPS        int    // requests per second to the API server, on average
	Burst      int    // and at once
}

// Pods says which pods the nodes of a broker, or those of an application, are.
type Pods struct {
	Namespace string
	Selector  string // a label selector
	Container string // the one whose log is read, and in which commands are run
	Port      int    // of the AMQP listener; an application has none

	// SkipPreStopChecks has a pod labelled so before it is deleted: the RabbitMQ cluster operator lets it go then.
	SkipPreStopChecks bool
}

// Secret names a Secret of the cluster, and two of its keys.
type Secret struct {
	Namespace   string // empty: that of the pods
	Name        string
	UsernameKey string // empty: the user's name stands elsewhere
	PasswordKey string
}

// App is an application whose pods write to their logs all the time, so that silence says that one is stuck.
type App struct {
	Name   string
	Pods   Pods
	Every  Schedule      // when to look at the log
	MaxAge time.Duration // of its last line
	Policy decide.Policy

	TimeZone *time.Location // of its maintenance windows, and of Every
}

// DefaultApp gives what holds for an application that says no more than it must.
func DefaultApp() App {
	a := App{
		Every: Every(30 * time.Second), MaxAge: 2 * time.Minute, Policy: decide.DefaultPolicy(), TimeZone: time.UTC,
	}
	a.Policy.App = true
	return a
}

// InCluster says whether anything of the configuration lives in Kubernetes.
func (c *Config) InCluster() bool {
	for _, b := range c.Brokers {
		if b.Pods != nil {
			return true
		}
	}
	return c.Discovery != nil || len(c.Apps) > 0 || len(c.Environments) > 0
}

// The forms of Kubernetes' names, and what the messages say of them. Sources: RFC 1123, and the syntax of label
// selectors.
var (
	objectName = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
	secretKey  = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)
	labelKey   = `[A-Za-z0-9]([-A-Za-z0-9_./]{0,315}[A-Za-z0-9])?`
	labelValue = `([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?`
	labelPart  = labelKey + ` *(==?|!=) *` + labelValue + `|!?` + labelKey + `|` + labelKey + ` +(in|notin) *\(` +
		labelValue + `( *, *` + labelValue + `)*\)`
	selectorForm = regexp.MustCompile(`^ *(` + labelPart + `)( *, *(` + labelPart + `))* *$`)
)

const (
	wantObject   = "a name as Kubernetes has them: lower-case letters, digits, dashes and dots"
	wantSelector = "a label selector such as app=rabbitmq,tier!=test"
	wantKey      = "a key of the secret: letters, digits and . - _"
)

// kubernetes reads the section of that name.
func (s *section) kubernetes(k *Kubernetes) {
	sub := s.sub("kubernetes")
	sub.text("kubeconfig", none, wantFile, &k.Kubeconfig)
	sub.text("context", none, "the name of a context", &k.Context)
	sub.named("namespace", none, objectName, wantObject, &k.Namespace)
	sub.named("lease", k.Lease, objectName, wantObject, &k.Lease)
	sub.count("qps", &k.QPS, 1, 1000)
	sub.count("burst", &k.Burst, 1, 10_000)
	sub.end()
}

// pods reads which pods to watch; nil if there is no such section. An application has no port.
func (s *section) pods(port int) *Pods {
	_, there := s.values["pods"]
	var p Pods
	sub := s.sub("pods")
	sub.named("namespace", required, brokerName, wantBroker, &p.Namespace)
	sub.named("selector", required, selectorForm, wantSelector, &p.Selector)
	sub.named("container", required, brokerName, wantBroker, &p.Container)
	if p.Port = port; port > 0 {
		sub.count("port", &p.Port, 1, 65535)
		sub.truth("skip_pre_stop_checks", &p.SkipPreStopChecks)
	}
	if there {
		sub.missing("namespace", p.Namespace, wantBroker)
		sub.missing("selector", p.Selector, wantSelector)
		sub.missing("container", p.Container, wantBroker)
	}
	sub.end()
	if !there {
		return nil
	}
	return &p
}

// secret reads which Secret holds the password, and perhaps the user's name; nil if there is no such section.
func (s *section) secret() *Secret {
	_, there := s.values["secret"]
	k := Secret{PasswordKey: "password"}
	sub := s.sub("secret")
	sub.secretName(there, &k.Namespace, &k.Name)
	sub.named("username_key", none, secretKey, wantKey, &k.UsernameKey)
	sub.named("password_key", k.PasswordKey, secretKey, wantKey, &k.PasswordKey)
	sub.end()
	if !there {
		return nil
	}
	return &k
}

// named reads a name of a given form.
func (s *section) named(name, byDefault string, fits *regexp.Regexp, want string, to *string) {
	f := form{"type": "string", "pattern": fits.String(), "description": want}
	s.value(name, byDefault, f, want, true, func(v string) bool {
		ok := fits.MatchString(v)
		if ok {
			*to = v
		}
		return ok
	})
}

// app reads one application.
func (d *decoder) app(e element) App {
	a := DefaultApp()
	s := d.section(e.path, e.node)
	s.named("name", required, brokerName, wantBroker, &a.Name)
	s.missing("name", a.Name, wantBroker)
	if p := s.pods(0); p != nil {
		a.Pods = *p
	} else if d.listen == nil {
		s.problem(s.key("pods"), "missing: want the pods of the application")
	}
	s.mode(&a.Policy.Mode)
	s.timeZone(&a.TimeZone)
	log := s.sub("log")
	log.every(&a.Every, false)
	log.duration("max_age", &a.MaxAge, time.Second)
	log.end()
	policy := s.sub("policy")
	policy.confirming(&a.Policy)
	policy.acting(&a.Policy)
	policy.end()
	s.end()
	a.Every = a.Every.in(a.TimeZone)
	inTimeZone(a.Policy.MaintenanceWindows, a.TimeZone)
	return a
}

// checkPlace sees to it that a broker's nodes are either listed or pods.
func (d *decoder) checkPlace(i int, b Broker) {
	switch {
	case b.Pods == nil && len(b.Nodes) == 0 && !d.wrong(at(i, "nodes")) && !d.wrong(at(i, "pods")):
		d.problem(at(i, "nodes"), "missing: want a list of nodes here, or pods")
	case b.Pods != nil && len(b.Nodes) > 0:
		d.problem(at(i, "pods"), "there are nodes too: want one of them")
	case b.Pods == nil && b.Secret != nil && b.Secret.Namespace == "":
		d.problem(at(i, "secret", "namespace"),
			"missing: want the secret's namespace, for the nodes are no pods and have none")
	}
}

// checkSecrets notes the Secrets that a broker names where nothing is in Kubernetes, and so nobody could read them.
func (d *decoder) checkSecrets(i int, b Broker) {
	const want = "want a file: nothing of this configuration is in Kubernetes, where secrets are"
	if b.Secret != nil {
		d.problem(at(i, "secret"), want)
	}
	if b.TLS != nil && b.TLS.CASecret != nil {
		d.problem(at(i, "tls", "ca_secret"), want)
	}
	if b.TLS != nil && b.TLS.CertSecret != nil {
		d.problem(at(i, "tls", "cert_secret"), want)
	}
}

// checkApps notes what cannot be in an application that is right key by key.
func (d *decoder) checkApps(apps []App, taken map[string]string) {
	for i, a := range apps {
		key := func(k string) string { return "apps[" + strconv.Itoa(i) + "]." + k }
		if other := taken[a.Name]; other != "" && a.Name != "" {
			d.problem(key("name"), "%s is the name of %s too: want another", quote(a.Name), other)
		}
		taken[a.Name] = fmt.Sprintf("apps[%d]", i)
		d.checkPolicy(key, a.Policy)
		gap := longestGap(a.Every)
		if a.Policy.ResultTTL <= gap {
			d.problem(key("policy.result_ttl"), "%s: want more than %s, the longest time between two looks at the log",
				span(a.Policy.ResultTTL), span(gap))
		}
		if least := max(time.Duration(a.Policy.FailureThreshold)*gap,
			a.Policy.MinDuration+gap); a.Policy.EvidenceTTL < least {
			d.problem(key("policy.evidence_ttl"),
				"%s: want at least %s, or the first of %d silent looks is forgotten before the last",
				span(a.Policy.EvidenceTTL), span(least), a.Policy.FailureThreshold)
		}
	}
}
