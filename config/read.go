package config

import (
	"log/slog"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// The forms of names. They stand in paths of the API, in metrics and in the names of what is kept.
var (
	brokerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	nodeName   = regexp.MustCompile(`^[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,251}[a-zA-Z0-9])?$`)
)

// What the messages say of them.
const (
	wantBroker   = "a name of lower-case letters, digits and dashes, up to 63"
	wantNode     = "a name of letters, digits and . - _"
	wantFile     = "the path of a file"
	wantUsername = "the user's name"
)

// parse reads a whole configuration, over what c holds by default. Whatever is wrong is noted, and the rest read
// nevertheless.
func (d *decoder) parse(data []byte, c Config) Config {
	root, ok := d.document(data)
	if !ok {
		return c
	}
	s := d.section("", root)

	listen := s.sub("listen")
	listen.address("metrics", c.Listen.Metrics, true, &c.Listen.Metrics)
	listen.address("api", c.Listen.API, true, &c.Listen.API)
	listen.end()

	log := s.sub("log")
	log.oneOf("level", "info", []string{"debug", "info", "warn", "error"}, func(v string) {
		c.Log.Level = map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}[v]
	})
	log.oneOf("format", c.Log.Format, []string{"text", "json"}, func(v string) { c.Log.Format = v })
	log.end()

	s.text("data_dir", c.DataDir, "the path of a directory", &c.DataDir)

	shared := DefaultBroker()
	if d.listen == nil {
		forAll := s.sub("defaults")
		forAll.inherited(&shared)
		forAll.end()
	} else {
		d.listen("defaults", none, nil) // its keys are those of a broker
	}
	s.kubernetes(&c.Kubernetes)
	s.api(&c.API)
	c.Discovery = s.discovery(shared.clone())
	needed := required
	if c.Discovery != nil {
		needed = none
	}
	for _, e := range s.few("brokers", needed, "brokers", maxBrokers) {
		c.Brokers = append(c.Brokers, d.broker(e, shared.clone()))
	}
	apps, _ := s.list("apps", none, "applications")
	for _, e := range apps {
		c.Apps = append(c.Apps, d.app(e))
	}
	c.Environments = s.environments(c.Kubernetes)
	c.Notify = s.receivers()
	s.end()
	d.check(c)
	return c
}

// sub reads the section of a key; an empty one if it is not there.
func (s *section) sub(name string) *section { return s.section(s.key(name), s.take(name)) }

// broker reads one broker. What it does not say remains as it is in b.
func (d *decoder) broker(e element, b Broker) Broker {
	s := d.section(e.path, e.node)
	s.named("name", required, brokerName, wantBroker, &b.Name)
	s.missing("name", b.Name, wantBroker)
	s.inherited(&b)
	b.inTimeZone()
	if b.AuthMechanism == Plain && b.TokenFile == "" {
		if b.Username == "" && (b.Secret == nil || b.Secret.UsernameKey == "") {
			s.missingOneOf("username", "username_file")
		}
		if b.Secret == nil {
			s.missing("password_file", b.PasswordFile, wantFile+", or a secret")
		}
	}
	port := 5672
	if b.TLS != nil {
		port = 5671
	}
	b.Pods = s.pods(port)
	nodes, _ := s.list("nodes", none, "nodes")
	for _, e := range nodes {
		b.Nodes = append(b.Nodes, d.node(e, b.Name))
	}
	s.end()
	return b
}

// missingOneOf notes that neither of two keys is there. In a broker either may come from the defaults.
func (s *section) missingOneOf(first, second string) {
	for _, name := range []string{s.key(first), s.key(second), "defaults." + first, "defaults." + second} {
		if _, there := s.lines[name]; there {
			return
		}
	}
	s.problem(s.key(first), "missing: want %s, here or in the file that %s names", wantUsername, second)
}

func (d *decoder) node(e element, broker string) target.Node {
	n := target.Node{Target: broker}
	s := d.section(e.path, e.node)
	s.named("name", required, nodeName, wantNode, &n.Name)
	s.missing("name", n.Name, wantNode)
	s.address("address", required, false, &n.Address)
	s.missing("address", n.Address, "the host:port of its AMQP listener")
	s.end()
	return n
}

// inherited reads what a broker may have from the section of defaults.
func (s *section) inherited(b *Broker) {
	s.shared(b)
	s.mode(&b.Policy.Mode)
}

// shared reads what brokers may have in common, but for the mode.
func (s *section) shared(b *Broker) {
	s.text("vhost", b.Vhost, "a vhost's name", &b.Vhost)
	s.credentials(b)
	s.tls(b)
	s.timeZone(&b.TimeZone)
	s.duration("handshake_timeout", &b.HandshakeTimeout, time.Second)
	s.probes(&b.Probes)
	s.policy(&b.Policy)
}

// mode reads whether to act.
func (s *section) mode(to *decide.Mode) {
	s.oneOf("mode", to.String(), []string{"observe", "remediate"}, func(v string) {
		*to = map[string]decide.Mode{"remediate": decide.Remediate}[v]
	})
}

func (s *section) probes(p *Probes) {
	all := s.sub("probes")

	login := all.sub("login")
	login.every(&p.Login.Every, false)
	login.duration("timeout", &p.Login.Timeout, time.Second)
	login.duration("while_suspect", &p.Login.WhileSuspect, time.Second)
	login.duration("while_confirmed", &p.Login.WhileConfirmed, time.Second)
	login.end()

	roundtrip := all.sub("roundtrip")
	roundtrip.every(&p.Roundtrip.Every, true)
	roundtrip.duration("timeout", &p.Roundtrip.Timeout, time.Second)
	roundtrip.end()

	maybeStuck := all.sub("maybe_stuck")
	maybeStuck.every(&p.MaybeStuck.Every, true)
	maybeStuck.duration("timeout", &p.MaybeStuck.Timeout, 15*time.Second) // the command takes 5.5 to 7 s
	maybeStuck.count("above_baseline", &p.MaybeStuck.AboveBaseline, 1, 1_000_000)
	maybeStuck.share("share", &p.MaybeStuck.Share)
	maybeStuck.end()

	log := all.sub("log")
	log.every(&p.Log.Every, true)
	log.duration("max_age", &p.Log.MaxAge, time.Second)
	log.end()

	all.end()
}

func (s *section) policy(p *decide.Policy) {
	k := s.sub("policy")
	k.confirming(p)
	k.duration("recheck_after", &p.RecheckAfter, time.Second)
	k.count("above_baseline", &p.AboveBaseline, 0, 1_000_000)
	k.duration("log_silence", &p.LogSilence, 0)
	k.acting(p)
	k.end()
}

// confirming reads when a node counts as stuck, as far as that holds for brokers and applications alike.
func (s *section) confirming(p *decide.Policy) {
	s.count("failure_threshold", &p.FailureThreshold, 1, 100)
	s.count("window", &p.Window, 1, 100)
	s.duration("min_duration", &p.MinDuration, time.Second)
	s.duration("result_ttl", &p.ResultTTL, time.Second)
	s.duration("evidence_ttl", &p.EvidenceTTL, time.Second)
}

// acting reads when a node that is stuck may be deleted.
func (s *section) acting(p *decide.Policy) {
	s.duration("startup_grace_period", &p.StartupGracePeriod, time.Second)
	s.duration("cooldown", &p.Cooldown, time.Second)
	s.duration("recovery_timeout", &p.RecoveryTimeout, time.Second)
	s.duration("grace_period", &p.GracePeriod, time.Second) // 0 would be to kill by force
	s.truth("single_node", &p.SingleNode)
	s.count("max_stuck", &p.MaxStuck, 1, 1000)
	s.duration("storm_cooldown", &p.StormCooldown, time.Second)
	s.count("per_node_per_day", &p.PerNodePerDay, 1, 100)
	s.count("per_target_per_day", &p.PerTargetPerDay, 1, 100)
	s.windows(&p.MaintenanceWindows)
}

func (s *section) windows(to *[]decide.MaintenanceWindow) {
	elements, there := s.list("maintenance_windows", none, "windows")
	if !there {
		return
	}
	*to = nil
	for _, e := range elements {
		if e.node.Kind != yaml.ScalarNode || isNull(e.node) {
			s.problem(e.path, "want %s", wantWindow)
			continue
		}
		w, err := parseWindow(e.node.Value)
		if err != nil {
			s.problem(e.path, "%v: want %s", err, wantWindow)
		}
		*to = append(*to, w)
	}
}
